package template

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/tasker-engine/tasker/host/task"
)

// Diagnostic is one thing that is wrong with a file, and where.
type Diagnostic struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1; 0 = the file as a whole
	Column  int    `json:"column"` // from 1, in characters
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do about it, may be empty
}

// maxMessage is the length in bytes to which messages and hints are cut: they quote what
// is in the file.
const maxMessage = 2000

// diagnose makes a diagnostic whose text stays on one line.
func diagnose(file string, at pos, message, hint string) Diagnostic {
	return Diagnostic{File: file, Line: at.line, Column: at.column, Message: oneLine(message), Hint: oneLine(hint)}
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "..."
	}
	return s
}

// Error returns "file:line:column: message; hint".
func (d Diagnostic) Error() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
	}
	b.WriteString(": ")
	b.WriteString(d.Message)
	if d.Hint != "" {
		b.WriteString("; ")
		b.WriteString(d.Hint)
	}
	return b.String()
}

// Diagnostics is everything that is wrong with one or more files, sorted by position.
// As an error it wraps [task.ErrInvalid].
type Diagnostics []Diagnostic

// Error returns one line per diagnostic.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns [task.ErrInvalid].
func (ds Diagnostics) Unwrap() error { return task.ErrInvalid }

// sorted orders by position and drops repetitions.
func (ds Diagnostics) sorted() Diagnostics {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.order(), b.order()),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(ds)
}

// order is the line to sort by: the note that a list was cut comes last.
func (d Diagnostic) order() int {
	if d.Message == tooMany {
		return math.MaxInt
	}
	return d.Line
}
