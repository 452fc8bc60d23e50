package census

import (
	"fmt"
	"go/doc"
	"go/token"
	"hash/fnv"
	"path"
	"slices"
	"strconv"
)

// minTokens is the size from which a body is worth comparing: below it, equal bodies are idiom, not copies.
const minTokens = 80

// body is a function body as a sequence of token numbers.
type body struct {
	site  Site
	shape uint64  // equal for bodies that differ in names only
	seq   []int32 // the tokens as they are written, numbered by a [vocabulary]
	bag   []int32 // seq, sorted
}

// vocabulary numbers tokens; bodies are comparable when they were read with the same one.
type vocabulary map[string]int32

func (v vocabulary) number(word string) int32 {
	n, seen := v[word]
	if !seen {
		n = int32(len(v)) //nolint:gosec // a source tree has fewer than 2^31 different words
		v[word] = n
	}
	return n
}

// read returns the bodies of a file that are long enough to be compared. Tests and generated files have none.
func (v vocabulary) read(dir, name string, src []byte) []body {
	if isTest(name) || isGenerated(name, src) {
		return nil
	}
	f, _ := parse(name, src) // what does not parse is reported by the analysis; the rest still counts
	var out []body
	for _, d := range f.functions() {
		from, to := f.positions.Offset(d.Body.Pos()), f.positions.Offset(d.Body.End())
		first, last := f.line(d.Pos()), f.line(d.End())
		b := body{site: Site{
			At:    fmt.Sprintf("%s:%d %s", path.Join(dir, name), first, displayName(d)),
			Lines: last - first + 1,
		}}
		if v.fill(&b, src[from:to]); len(b.seq) >= minTokens {
			out = append(out, b)
		}
	}
	return out
}

// fill takes the tokens of a body. In its shape, names are numbered by first appearance; literals, predeclared
// names and whatever follows a dot stay as they are.
func (v vocabulary) fill(b *body, src []byte) {
	names := map[string]int{}
	afterDot := false
	var shape []byte
	written(src, func(_ int, tok token.Token, text string) {
		if tok == token.COMMENT || tok == token.SEMICOLON {
			return
		}
		b.seq = append(b.seq, v.number(text))
		if tok == token.IDENT && !afterDot && !doc.IsPredeclared(text) {
			n, seen := names[text]
			if !seen {
				n = len(names)
				names[text] = n
			}
			shape = strconv.AppendInt(append(shape, '$'), int64(n), 10)
		} else {
			shape = append(shape, text...)
		}
		shape = append(shape, 0)
		afterDot = tok == token.PERIOD
	})
	h := fnv.New64a()
	_, _ = h.Write(shape) // a hash never fails
	b.shape = h.Sum64()
	b.bag = slices.Sorted(slices.Values(b.seq))
}
