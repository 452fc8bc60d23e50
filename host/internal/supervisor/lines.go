package supervisor

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxLine is the size in bytes at which a line of output is cut.
const maxLine = 64 << 10

// handshakeShape is "1|<protocol>|<network>|<address>|<transport>[|...]".
var handshakeShape = regexp.MustCompile(`^\d+\|\d+\|(unix|tcp)\|[^|]+\|[a-z]+(\|[^|]*)*\s*$`)

// isHandshake reports whether a line has the shape of go-plugin's handshake.
func isHandshake(line []byte) bool { return handshakeShape.Match(line) }

// lineSplitter cuts a byte stream into lines without line ends, each at most maxLine
// bytes long; the rest of a longer line is dropped.
type lineSplitter struct {
	emit      func(line []byte, truncated bool) // the slice is valid during the call
	partial   []byte
	truncated bool
}

func (s *lineSplitter) write(b []byte) {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			s.keep(b)
			return
		}
		if len(s.partial) == 0 && !s.truncated && i <= maxLine {
			s.emit(trimCR(b[:i]), false)
		} else {
			s.keep(b[:i])
			s.flush()
		}
		b = b[i+1:]
	}
}

func (s *lineSplitter) keep(b []byte) {
	room := maxLine - len(s.partial)
	if len(b) > room {
		b, s.truncated = b[:room], true
	}
	s.partial = append(s.partial, b...)
}

// flush emits an unfinished line.
func (s *lineSplitter) flush() {
	if len(s.partial) > 0 || s.truncated {
		s.emit(trimCR(s.partial), s.truncated)
	}
	s.partial, s.truncated = s.partial[:0], false
}

func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte{'\r'}) }

// readLines reads to the end and emits every line.
func readLines(r io.Reader, emit func(line []byte, truncated bool)) {
	s := &lineSplitter{emit: emit}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		s.write(buf[:n])
		if err != nil {
			s.flush()
			return
		}
	}
}

// lineWriter makes lines of what the library writes.
type lineWriter struct {
	mu       sync.Mutex
	splitter lineSplitter
}

var _ io.Writer = (*lineWriter)(nil)

func newLineWriter(emit func(line []byte, truncated bool)) *lineWriter {
	return &lineWriter{splitter: lineSplitter{emit: emit}}
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.splitter.write(b)
	return len(b), nil
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.splitter.flush()
}

// parsed is what one line of output says.
type parsed struct {
	level   string // empty = not said
	message string
	fields  json.RawMessage // JSON object, nil = none
}

// parseLine reads a line of an hclog JSON logger; anything else is its own message.
// It accepts every input: plugins write what they like.
func parseLine(line []byte) parsed {
	plain := parsed{message: strings.ToValidUTF8(string(line), "\uFFFD")}
	if len(line) == 0 || line[0] != '{' {
		return plain
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(line, &object) != nil {
		return plain
	}
	message, ok := object["@message"]
	if !ok {
		return plain
	}
	p := parsed{message: text(message), level: knownLevel(text(object["@level"]))}
	for _, key := range []string{"@message", "@level", "@timestamp"} {
		delete(object, key)
	}
	if len(object) > 0 {
		if fields, err := json.Marshal(object); err == nil {
			p.fields = fields
		}
	}
	return p
}

// text returns a JSON string's text, and any other JSON as it is written.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// knownLevel returns the level in lower case, empty when it is none.
func knownLevel(level string) string {
	level = strings.ToLower(level)
	if slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, level) {
		return level
	}
	return ""
}

// limiter lets a number of lines through per second, with a burst.
type limiter struct {
	perSecond  float64
	burst      float64
	tokens     float64
	last       time.Time
	suppressed int
}

// Lines of one process that reach its log: so many per second, and so many at once.
// Attempts log through their own channel and have their own allowance.
const (
	printedPerSecond = 500
	printedBurst     = 2_000
	loggedPerSecond  = 5_000
	loggedBurst      = 20_000
)

func newLimiter(perSecond, burst float64) limiter {
	return limiter{perSecond: perSecond, burst: burst, tokens: burst}
}

// allow reports whether a line passes, and how many were held back before it.
func (l *limiter) allow(now time.Time) (ok bool, suppressed int) {
	if !l.last.IsZero() {
		l.tokens = min(l.burst, l.tokens+now.Sub(l.last).Seconds()*l.perSecond)
	}
	l.last = now
	if l.tokens < 1 {
		l.suppressed++
		return false, 0
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}
