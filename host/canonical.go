package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/tasker-engine/tasker/host/task"
)

// canonicalInput returns the input with sorted keys and no blanks, {} for none, so that
// equal inputs have equal hashes. Numbers keep their digits.
func canonicalInput(input []byte) ([]byte, error) {
	if len(bytes.TrimSpace(input)) == 0 {
		return []byte("{}"), nil
	}
	if len(input) > task.MaxValue {
		return nil, fmt.Errorf("input has %d bytes, at most %d are allowed: %w", len(input), task.MaxValue, task.ErrTooLarge)
	}
	if !utf8.Valid(input) {
		return nil, fmt.Errorf("%w: input is no JSON: it is not in UTF-8", task.ErrInvalid)
	}
	if isCanonical(input) {
		return slices.Clone(input), nil
	}
	dec := json.NewDecoder(bytes.NewReader(input))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%w: input is no JSON: %w", task.ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // More would take a stray bracket for an end
		return nil, fmt.Errorf("%w: input holds more than one JSON document", task.ErrInvalid)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// isCanonical reports whether canonicalInput would return a document, in UTF-8, as it is.
// It says false also of what is rare: escapes, and much nesting.
func isCanonical(doc []byte) bool {
	s := scanner{doc}
	return s.value(maxScanned) && len(s.rest) == 0
}

// maxScanned is how deep a scanner looks.
const maxScanned = 32

// scanner reads a JSON document of which each part must be written in the one canonical way.
type scanner struct{ rest []byte }

func (s *scanner) value(depth int) bool {
	if len(s.rest) == 0 || depth == 0 {
		return false
	}
	switch s.rest[0] {
	case '{':
		return s.object(depth - 1)
	case '[':
		return s.list(depth - 1)
	case '"':
		_, ok := s.text()
		return ok
	case 't':
		return s.skip("true")
	case 'f':
		return s.skip("false")
	case 'n':
		return s.skip("null")
	default:
		return s.number()
	}
}

// object wants every key once, in order.
func (s *scanner) object(depth int) bool {
	if s.skip("{}") {
		return true
	}
	s.skip("{")
	for last, first := []byte(nil), true; ; first = false {
		key, ok := s.text()
		if !ok || !first && bytes.Compare(last, key) >= 0 || !s.skip(":") || !s.value(depth) {
			return false
		}
		last = key
		if !s.skip(",") {
			return s.skip("}")
		}
	}
}

func (s *scanner) list(depth int) bool {
	if s.skip("[]") {
		return true
	}
	s.skip("[")
	for s.value(depth) {
		if !s.skip(",") {
			return s.skip("]")
		}
	}
	return false
}

// text takes a string without escapes and without what must be escaped.
func (s *scanner) text() (content []byte, ok bool) {
	if !s.skip(`"`) {
		return nil, false
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			content, s.rest = s.rest[:i], s.rest[i+1:]
			return content, !bytes.Contains(content, []byte("\u2028")) && !bytes.Contains(content, []byte("\u2029"))
		case c < ' ' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// number takes a number; its digits are kept as they are.
func (s *scanner) number() bool {
	s.skip("-")
	if !s.skip("0") && !s.digits() {
		return false
	}
	if s.skip(".") && !s.digits() {
		return false
	}
	if s.skip("e") || s.skip("E") {
		_ = s.skip("+") || s.skip("-")
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	n := 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	s.rest = s.rest[n:]
	return n > 0
}

// skip takes what the rest begins with.
func (s *scanner) skip(prefix string) (ok bool) {
	if len(s.rest) < len(prefix) || string(s.rest[:len(prefix)]) != prefix {
		return false
	}
	s.rest = s.rest[len(prefix):]
	return true
}
