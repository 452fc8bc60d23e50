package main

import (
	"bytes"
	"io"
	"strings"
)

const (
	maxLine = 8 << 10 // bytes of a line of standard error that are logged at once
	maxTail = 2 << 10 // bytes of standard error that are kept for the error
)

// limited keeps what is written, up to a limit.
type limited struct {
	buf      bytes.Buffer
	limit    int
	discard  bool
	exceeded func() // called when more is written
}

var _ io.Writer = (*limited)(nil)

// Write implements io.Writer. It never fails: the command is ended by other means, and so not by a broken pipe.
func (l *limited) Write(b []byte) (int, error) {
	switch {
	case l.discard:
	case l.buf.Len()+len(b) > l.limit:
		l.exceeded()
	default:
		l.buf.Write(b)
	}
	return len(b), nil
}

// lines hands on what is written line by line, and keeps the end of it.
type lines struct {
	line func(string)
	part []byte
	tail tail
}

var _ io.Writer = (*lines)(nil)

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	l.tail.add(b)
	for len(b) > 0 {
		room := maxLine - len(l.part)
		end := bytes.IndexByte(b[:min(room, len(b))], '\n')
		switch {
		case end >= 0:
			l.part = append(l.part, b[:end]...)
			b = b[end+1:]
		case len(b) < room:
			l.part = append(l.part, b...)
			return n, nil
		default:
			l.part = append(l.part, b[:room]...)
			b = b[room:]
		}
		l.flush()
	}
	return n, nil
}

// flush hands on what has no newline yet.
func (l *lines) flush() {
	if s := strings.TrimRight(string(l.part), "\r"); s != "" {
		l.line(s)
	}
	l.part = l.part[:0]
}

// tail keeps the end of what is added.
type tail struct{ b []byte }

func (t *tail) add(b []byte) {
	t.b = append(t.b, b[max(0, len(b)-maxTail):]...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
}

// String returns the end, from the beginning of a line if it was cut and there is one.
func (t *tail) String() string {
	s := strings.ToValidUTF8(string(t.b), "\uFFFD")
	if len(t.b) < maxTail {
		return s
	}
	if _, rest, ok := strings.Cut(s, "\n"); ok && rest != "" {
		return rest
	}
	return s
}
