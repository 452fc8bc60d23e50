package template

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestGraphGolden(t *testing.T) {
	for _, path := range glob(t, "testdata/valid/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			tmpl := parseFile(t, path, "")
			checkGolden(t, "testdata/graph/"+name+".mmd", []byte(tmpl.Mermaid()))
			checkGolden(t, "testdata/graph/"+name+".txt", []byte(tmpl.Text()))
		})
	}
}

// TestGraphOfAWideFanOutStaysSmall draws a thousand alike steps between two.
func TestGraphOfAWideFanOutStaysSmall(t *testing.T) {
	var b, all strings.Builder
	b.WriteString("name: wide\nversion: 1.0.0\nsteps:\n  - {name: first, handler: mock/noop}\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - {name: part_%d, handler: mock/noop, depends_on: [first]}\n", i)
		fmt.Fprintf(&all, "part_%d, ", i)
	}
	fmt.Fprintf(&b, "  - {name: last, handler: mock/noop, depends_on: [%s]}\n", all.String())
	tmpl, err := Parse("wide.yaml", []byte(b.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `default/wide@1.0.0: 1002 steps, 2000 dependencies, 3 levels

   1  first                             mock/noop

   2  part_0 ... part_999 (1000 steps)  mock/noop  <- first

   3  last                              mock/noop  <- part_0 ... part_999 (1000 steps)
`
	if got := tmpl.Text(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if lines := strings.Count(tmpl.Mermaid(), "\n"); lines != 6 {
		t.Errorf("Mermaid has %d lines, want 6:\n%s", lines, tmpl.Mermaid())
	}
}
