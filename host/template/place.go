package template

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// within returns the place in the file of a place in the text of n: a line and a column
// from 1, in characters. The text may be quoted, folded or a block, so the two are walked
// side by side; white space counts for nothing, because YAML may have changed it.
func (d *decoder) within(n *node, line, column int) pos {
	raw, at, ok := d.raw(n.at)
	if !ok {
		return n.at
	}
	target := offset(n.text, line, column)
	last := at
	for i, want := range n.text {
		if unicode.IsSpace(want) {
			continue
		}
		size, ok := raw.next(&at, want)
		if !ok {
			return n.at // not as it was thought to be written
		}
		if i >= target {
			return pos{at.line, at.column - size}
		}
		last = at
	}
	return last
}

// offset returns the index in text of a line and a column.
func offset(text string, line, column int) int {
	start := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(text[start:], '\n')
		if i < 0 {
			break
		}
		start += i + 1
	}
	for ; column > 1 && start < len(text); column-- {
		_, size := utf8.DecodeRuneInString(text[start:])
		start += size
	}
	return start
}

// rawText is what is left of the file behind the beginning of a text.
type rawText struct {
	rest  string
	quote byte // ', " or 0
}

// raw returns the file from the first character of a text on, and its place: behind the
// quote, or below the line of the sign of a block.
func (d *decoder) raw(at pos) (*rawText, pos, bool) {
	start := offset(d.source, at.line, at.column)
	if at.line < 1 || start >= len(d.source) {
		return nil, at, false
	}
	r := &rawText{rest: d.source[start:]}
	switch r.rest[0] {
	case '\'', '"':
		r.quote = r.rest[0]
		r.rest = r.rest[1:]
		at.column++
	case '|', '>':
		_, below, found := strings.Cut(r.rest, "\n")
		if !found {
			return nil, at, false
		}
		r.rest, at = below, pos{at.line + 1, 1}
	}
	return r, at, true
}

// next moves behind the next character that is no white space, which must be want, and
// returns how many columns it takes.
func (r *rawText) next(at *pos, want rune) (int, bool) {
	for r.rest != "" {
		c, size := utf8.DecodeRuneInString(r.rest)
		written := 1 // columns
		switch {
		case r.quote == '\'' && strings.HasPrefix(r.rest, "''"):
			size, written = 2, 2
		case r.quote == '"' && c == '\\':
			size = escapeLength(r.rest)
			written, c = size, want // what else it stands for is not of interest
			if size == 2 && strings.ContainsRune("nrt \n", rune(r.rest[1])) {
				c = ' '
			}
		}
		newline := strings.HasSuffix(r.rest[:size], "\n")
		r.rest = r.rest[size:]
		at.column += written
		if newline {
			*at = pos{at.line + 1, 1}
		}
		if !unicode.IsSpace(c) {
			return written, c == want
		}
	}
	return 0, false
}

// escapeLength is the length of the escape at the start of a text.
func escapeLength(s string) int {
	length := 2
	if len(s) > 1 {
		switch s[1] {
		case 'x':
			length = 4
		case 'u':
			length = 6
		case 'U':
			length = 10
		}
	}
	return min(length, len(s))
}
