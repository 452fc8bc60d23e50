package census

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"strings"
)

// sourceFile is one parsed file.
type sourceFile struct {
	name      string
	syntax    *ast.File
	positions *token.File
	test      bool
	generated bool // and no test
}

// parse returns what could be parsed, also beside an error.
func parse(name string, src []byte) (sourceFile, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, src, parser.ParseComments|parser.SkipObjectResolution)
	f := sourceFile{name: name, syntax: syntax, positions: set.File(syntax.FileStart), test: isTest(name)}
	f.generated = !f.test && ast.IsGenerated(syntax)
	return f, err
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// isGenerated looks no further than the package clause.
func isGenerated(name string, src []byte) bool {
	f, _ := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.PackageClauseOnly) // no clause, no answer
	return ast.IsGenerated(f)
}

// line is where a position lies in the file itself, whatever a line directive says.
func (f sourceFile) line(p token.Pos) int { return f.positions.PositionFor(p, false).Line }

// functions are the declared functions and methods that have a body.
func (f sourceFile) functions() []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range f.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			out = append(out, fn)
		}
	}
	return out
}

// written calls yield for each token that is written in src, comments included.
func written(src []byte, yield func(offset int, tok token.Token, text string)) {
	file := token.NewFileSet().AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	for {
		pos, tok, text := s.Scan()
		switch {
		case tok == token.EOF:
			return
		case tok == token.SEMICOLON && text == "\n":
			continue // put in by the scanner
		case tok.IsOperator():
			text = tok.String()
		}
		yield(file.Offset(pos), tok, text)
	}
}

// countLines classifies the lines of a file.
func countLines(src []byte) Lines {
	m := newLineMarks(src)
	written(src, func(offset int, tok token.Token, text string) {
		m.mark(offset, offset+len(text), tok == token.COMMENT)
	})
	return m.count()
}

// lineMarks notes for each line whether code or a comment is on it.
type lineMarks struct {
	src      []byte
	code     []bool
	comment  []bool
	at, line int // how far the marks have come
}

func newLineMarks(src []byte) *lineMarks {
	n := strings.Count(string(src), "\n")
	if len(src) > 0 && src[len(src)-1] != '\n' {
		n++
	}
	return &lineMarks{src: src, code: make([]bool, n), comment: make([]bool, n)}
}

// mark notes the lines of the text between two offsets, which is not before the last text marked.
func (m *lineMarks) mark(from, to int, comment bool) {
	for ; m.at < from; m.at++ {
		if m.src[m.at] == '\n' {
			m.line++
		}
	}
	kind := m.code
	if comment {
		kind = m.comment
	}
	kind[m.line] = true
	for ; m.at < min(to, len(m.src))-1; m.at++ {
		if m.src[m.at] == '\n' {
			m.line++
			kind[m.line] = true
		}
	}
}

func (m *lineMarks) count() Lines {
	var l Lines
	for i := range m.code {
		switch {
		case m.code[i]:
			l.Code++
		case m.comment[i]:
			l.Comment++
		default:
			l.Blank++
		}
	}
	return l
}
