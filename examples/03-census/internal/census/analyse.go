package census

import (
	"cmp"
	"context"
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"time"
)

// Ranked is how many functions each ranking of an [Analysis] and a [Census] holds.
const Ranked = 20

// Progress hears how far long work is: the share that is done, 0 to 1, and a note for people.
type Progress func(share float64, note string)

// Analyse reads the packages of one shard below root, and reports progress after each file. A file that does not parse is kept as a [Problem]; a file or
// directory that cannot be read is an error, and so is the end of ctx, which is looked at before each file.
func Analyse(ctx context.Context, root string, index int, shard Shard, progress Progress) (Analysis, error) {
	start := time.Now()
	a := Analysis{
		Shard: index, Packages: []Package{},
		Lengths: map[int]int{}, Complexities: map[int]int{}, Imports: map[string]int{},
	}
	var p *packageReader
	err := eachFile(ctx, root, shard, func(dir, name string, src []byte) {
		if p == nil || p.pkg.Path != dir {
			p.finish()
			p = newPackageReader(&a, dir)
		}
		p.file(name, src)
		progress(float64(a.Files)/float64(shard.Files), fmt.Sprintf("%d of %d files read", a.Files, shard.Files))
	})
	if err != nil {
		return Analysis{}, err
	}
	p.finish()
	a.Longest = top(a.Longest, byLength)
	a.MostComplex = top(a.MostComplex, byComplexity)
	a.ElapsedMillis = time.Since(start).Milliseconds()
	return a, nil
}

// packageReader gathers one directory into an analysis.
type packageReader struct {
	into     *Analysis
	pkg      Package
	exported map[string]bool // exported name -> has a doc comment in some file
	imports  map[string]bool
}

func newPackageReader(into *Analysis, dir string) *packageReader {
	return &packageReader{
		into: into, pkg: Package{Path: dir},
		exported: map[string]bool{}, imports: map[string]bool{},
	}
}

// file adds one source file.
func (p *packageReader) file(name string, src []byte) {
	p.into.Files++
	p.into.Bytes += int64(len(src))
	f, err := parse(name, src)
	if err != nil {
		p.into.Problems = append(p.into.Problems, Problem{File: path.Join(p.pkg.Path, name), Error: err.Error()})
	}
	p.pkg.Files++
	lines := countLines(src)
	switch {
	case f.test:
		p.pkg.TestFiles++
		p.pkg.Test = p.pkg.Test.plus(lines)
	case f.generated:
		p.pkg.GeneratedFiles++
		p.pkg.Generated = p.pkg.Generated.plus(lines)
	default:
		p.pkg.Source = p.pkg.Source.plus(lines)
	}
	if f.test {
		p.pkg.TestFunctions += len(f.functions())
		return
	}
	p.declarations(f)
	if !f.generated {
		p.functions(f)
	}
}

// declarations adds what a file that is no test declares and imports.
func (p *packageReader) declarations(f sourceFile) {
	if p.pkg.Name == "" {
		p.pkg.Name = f.syntax.Name.Name
	}
	if hasText(f.syntax.Doc) {
		p.pkg.Doc = true
	}
	for _, spec := range f.syntax.Imports {
		p.imports[strings.Trim(spec.Path.Value, "`\"")] = true
	}
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			p.function(d)
		case *ast.GenDecl:
			p.general(d)
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			p.pkg.GoStatements++
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "panic" {
				p.pkg.Panics++
			}
		}
		return true
	})
}

func (p *packageReader) function(d *ast.FuncDecl) {
	name := d.Name.Name
	if d.Recv == nil {
		p.pkg.Functions++
	} else {
		owner := receiver(d)
		if owner != "" {
			p.pkg.Methods++
		}
		if !ast.IsExported(owner) {
			return
		}
		name = owner + "." + name
	}
	if d.Type.TypeParams != nil {
		p.pkg.GenericFuncs++
	}
	if d.Name.IsExported() {
		p.export(name, d.Doc)
	}
}

func (p *packageReader) general(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			p.pkg.Types++
			if s.TypeParams != nil {
				p.pkg.GenericTypes++
			}
			if !s.Name.IsExported() {
				continue
			}
			if d.Lparen.IsValid() {
				p.export(s.Name.Name, s.Doc, s.Comment)
			} else {
				p.export(s.Name.Name, s.Doc, s.Comment, d.Doc)
			}
		case *ast.ValueSpec:
			for _, n := range s.Names {
				if n.IsExported() {
					p.export(n.Name, s.Doc, s.Comment, d.Doc) // a comment on a group of values speaks for all
				}
			}
		}
	}
}

// export notes an exported name; it is documented when any of its declarations has a comment.
func (p *packageReader) export(name string, comments ...*ast.CommentGroup) {
	p.exported[name] = p.exported[name] || slices.ContainsFunc(comments, hasText)
}

// functions measures the hand-written functions of a file.
func (p *packageReader) functions(f sourceFile) {
	for _, d := range f.functions() {
		first, last := f.line(d.Pos()), f.line(d.End())
		m := measure(d)
		fn := Function{
			Package: p.pkg.Path, Name: displayName(d), File: f.name, Line: first, Lines: last - first + 1,
			Cyclomatic: m.cyclomatic, Cognitive: m.cognitive, Nesting: m.deepest,
		}
		p.into.Lengths[fn.Lines]++
		p.into.Complexities[fn.Cognitive]++
		p.pkg.Complexity += fn.Cognitive
		if fn.Cognitive > 15 {
			p.pkg.ComplexOver15++
		}
		p.into.Longest = append(p.into.Longest, fn)
		p.into.MostComplex = append(p.into.MostComplex, fn)
	}
	if len(p.into.Longest) > 50*Ranked {
		p.into.Longest = top(p.into.Longest, byLength)
		p.into.MostComplex = top(p.into.MostComplex, byComplexity)
	}
}

// finish adds the package to the analysis; a nil reader has none.
func (p *packageReader) finish() {
	if p == nil {
		return
	}
	p.pkg.Exported = len(p.exported)
	for _, documented := range p.exported {
		if documented {
			p.pkg.Documented++
		}
	}
	for i := range p.imports {
		p.into.Imports[i]++
	}
	p.pkg.Public = p.pkg.Name != "" && p.pkg.Name != "main" && !slices.Contains(strings.Split(p.pkg.Path, "/"), "internal")
	p.into.Packages = append(p.into.Packages, p.pkg)
}

func hasText(c *ast.CommentGroup) bool { return c.Text() != "" }

// receiver is the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	if len(d.Recv.List) == 0 {
		return "" // the file broke off here
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// displayName is how godoc readers know a function: "Copy", "Conn.Read", "(*Conn).Read".
func displayName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	if _, pointer := d.Recv.List[0].Type.(*ast.StarExpr); pointer {
		return "(*" + receiver(d) + ")." + d.Name.Name
	}
	return receiver(d) + "." + d.Name.Name
}

// top keeps the [Ranked] first functions in the given order.
func top(fns []Function, order func(a, b Function) int) []Function {
	slices.SortFunc(fns, func(a, b Function) int {
		return cmp.Or(order(a, b), cmp.Compare(a.Package, b.Package), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return first(fns)
}

// first keeps the [Ranked] first elements and lets go of the rest.
func first[T any](s []T) []T { return slices.Clone(s[:min(len(s), Ranked)]) }

func byLength(a, b Function) int { return cmp.Compare(b.Lines, a.Lines) }

func byComplexity(a, b Function) int {
	return cmp.Or(cmp.Compare(b.Cognitive, a.Cognitive), cmp.Compare(b.Cyclomatic, a.Cyclomatic))
}
