package census

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCountLines(t *testing.T) {
	for _, test := range []struct {
		name, src string
		want      Lines
	}{
		{"nothing", "", Lines{}},
		{"no newline at the end", "package p", Lines{Code: 1}},
		{"code with a comment is code", "package p // why\n", Lines{Code: 1}},
		{"comments and blanks", "// a\n\n/* b\n\nc */\npackage p\n\n", Lines{Code: 1, Comment: 4, Blank: 2}},
		{"a comment that ends before code", "/* a\nb */ package p\n", Lines{Code: 1, Comment: 1}},
		{"a raw string is code, blank lines and all", "package p\nvar s = `a\n\n// b\n`\n", Lines{Code: 5}},
		{"carriage returns", "package p\r\n\r\n// c\r\n", Lines{Code: 1, Comment: 1, Blank: 1}},
		{"carriage returns in a raw string", "package p\r\nvar s = `a\r\nb`\r\n", Lines{Code: 3}},
		{"what is no Go at all", "\x00\xff\n", Lines{Code: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := countLines([]byte(test.src)); got != test.want {
				t.Errorf("countLines = %+v, want %+v", got, test.want)
			}
		})
	}
}

func FuzzFile(f *testing.F) {
	f.Add("package p\n\nfunc F() {}\n")
	f.Add("package p\nvar s = `\r\n`\n/*")
	f.Add("//line x.go:9\npackage p; func (T[int]) M() { for { if a && b || c { goto x } } }")
	f.Fuzz(func(t *testing.T, src string) {
		lines := strings.Count(src, "\n")
		if src != "" && !strings.HasSuffix(src, "\n") {
			lines++
		}
		if got := countLines([]byte(src)).Total(); got != lines {
			t.Errorf("%d lines are classified, want %d", got, lines)
		}
		a := Analysis{Lengths: map[int]int{}, Complexities: map[int]int{}, Imports: map[string]int{}}
		p := newPackageReader(&a, ".")
		p.file("f.go", []byte(src))
		p.finish()
		vocabulary{}.read(".", "f.go", []byte(src))
	})
}

func TestMeasure(t *testing.T) {
	type complexity struct{ Cyclomatic, Cognitive, Nesting int }
	for _, test := range []struct {
		name, body string
		want       complexity
	}{
		{"straight", `a(); b()`, complexity{1, 0, 0}},
		{"if", `if a { b() }`, complexity{2, 1, 1}},
		{"if else", `if a { b() } else { c() }`, complexity{2, 2, 1}},
		{"else if chain nests no deeper", `if a { } else if b { } else if c { } else { }`, complexity{4, 4, 1}},
		{"nested", `for { if a { for range b { } } }`, complexity{4, 6, 3}},
		{"switch costs once, its cases decide", `switch a { case 1: case 2: default: }`, complexity{3, 1, 1}},
		{"type switch", `switch a.(type) { case int: if b { } }`, complexity{3, 3, 2}},
		{"select", `select { case <-a: case <-b: default: }`, complexity{3, 1, 1}},
		{"one thought", `if a && b && c { }`, complexity{4, 2, 1}},
		{"three thoughts", `if a && b || c && d { }`, complexity{5, 4, 1}},
		{"parentheses are transparent", `if a && (b && c) { }`, complexity{4, 2, 1}},
		{"a negation begins anew", `if a && !(b && c) { }`, complexity{4, 3, 1}},
		{"comparison inside", `if a == b && g(c && d) { }`, complexity{4, 3, 1}},
		{"labelled jumps", `x: for { continue x }; goto x`, complexity{2, 3, 1}},
		{"plain jumps are free", `for { break }`, complexity{2, 1, 1}},
		{"a literal nests", `g(func() { if a { } })`, complexity{2, 2, 2}},
		{"recursion", `f(1); f(2)`, complexity{1, 1, 0}},
		{"conditions in every part", `for i := a && b; c || d; i = e && g { }`, complexity{5, 4, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := parse("p.go", []byte("package p\nfunc f(n int) { "+test.body+" }\n"))
			if err != nil {
				t.Fatal(err)
			}
			g := measure(f.functions()[0])
			if got := (complexity{g.cyclomatic, g.cognitive, g.deepest}); got != test.want {
				t.Errorf("measure = %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestMethodsOfOtherTypesAreNoRecursion(t *testing.T) {
	f, err := parse("p.go", []byte("package p\nfunc (T) f() { f(); T{}.f() }\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := measure(f.functions()[0]).cognitive; got != 0 {
		t.Errorf("cognitive = %d, want 0: the method calls a function of the same name", got)
	}
}

func TestDisplayName(t *testing.T) {
	for want, decl := range map[string]string{
		"F":         "func F() {}",
		"T.M":       "func (T) M() {}",
		"(*T).M":    "func (t *T) M() {}",
		"(*L).Push": "func (l *L[E]) Push() {}",
		"P.Of":      "func (p P[K, V]) Of() {}",
	} {
		f, err := parse("p.go", []byte("package p\n"+decl))
		if err != nil {
			t.Fatal(err)
		}
		fn, ok := f.syntax.Decls[0].(*ast.FuncDecl)
		if !ok {
			t.Fatalf("%s is no function", decl)
		}
		if got := displayName(fn); got != want {
			t.Errorf("displayName(%s) = %q, want %q", decl, got, want)
		}
	}
}

// TestRing: over all shards, each pair of shards is compared exactly once, and no shard does much more than
// another.
func TestRing(t *testing.T) {
	for n := 1; n <= 12; n++ {
		seen := map[[2]int]int{}
		for i := range n {
			partners := ring(i, n)
			if partners[0] != i {
				t.Errorf("ring(%d, %d) = %v, want itself first", i, n, partners)
			}
			if len(partners) > n/2+1 || len(partners) < (n+1)/2 {
				t.Errorf("ring(%d, %d) = %v, want about half of the shards", i, n, partners)
			}
			for _, j := range partners {
				seen[[2]int{min(i, j), max(i, j)}]++
			}
		}
		for i := range n {
			for j := i; j < n; j++ {
				if got := seen[[2]int{i, j}]; got != 1 {
					t.Errorf("of %d shards, %d and %d are compared %d times, want once", n, i, j, got)
				}
			}
		}
	}
}

// slowLCS is the definition.
func slowLCS(a, b []int32) int {
	switch {
	case len(a) == 0 || len(b) == 0:
		return 0
	case a[0] == b[0]:
		return 1 + slowLCS(a[1:], b[1:])
	default:
		return max(slowLCS(a[1:], b), slowLCS(a, b[1:]))
	}
}

func TestCommonSubsequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 9)
		a, b := words.Draw(t, "a"), words.Draw(t, "b")
		want := slowLCS(a, b)
		var rows lcsRows
		rows.common([]int32{1, 2, 3, 1, 2, 3}, []int32{3, 2, 1}) // the space is used again
		if got := rows.common(a, b); got != want {
			t.Errorf("common(%v, %v) = %d, want %d", a, b, got, want)
		}
		// The bound never cuts off a pair that is alike.
		if got := inBoth(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)), want); got < want {
			t.Errorf("inBoth(%v, %v) = %d, want at least %d", a, b, got, want)
		}
	})
}

func TestStrongest(t *testing.T) {
	l := func(a, b string, s float64) Link { return newLink(Site{At: a}, Site{At: b}, s) }
	got := strongest([]Link{l("a", "b", 0.8), l("b", "c", 0.9), l("a", "c", 1), l("x", "y", 0.85), l("b", "a", 0.95)})
	want := []Link{l("a", "c", 1), l("a", "b", 0.95), l("x", "y", 0.85)}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("strongest (-got +want):\n%s", diff)
	}
}
