package template

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const head = "name: t\nversion: 1.0.0\nsteps:\n  - name: a\n    handler: mock/noop\n"

// TestBounds reads files that would cost too much: each is refused with one diagnostic.
func TestBounds(t *testing.T) {
	for name, tc := range map[string]struct{ src, want string }{
		"file size":     {head + strings.Repeat("# comment\n", MaxFileSize/10), "the file is larger than 8388608 bytes"},
		"flow lists":    {head + "    config: " + strings.Repeat("[", 100_000), "nested more than 64 levels deep"},
		"flow maps":     {head + "    config: " + strings.Repeat("{a: ", 100_000), "nested more than 64 levels deep"},
		"dashes":        {head + "    config:\n      " + strings.Repeat("- ", 100_000) + "x", "nested more than 64 levels deep"},
		"blocks":        {head + blocks(300), "nested more than 64 levels deep"},
		"question mark": {strings.Repeat("? ", 100_000), `keys that begin with "?" are not supported`},
		"anchors":       {head + "    config: " + strings.Repeat("&a ", 100_000), "one value cannot have two anchors"},
		"tags":          {head + "    config: " + strings.Repeat("!a ", 100_000), "the tag !a is not supported"},
		"directives":    {strings.Repeat("%YAML 1.2\n", 10_000) + "---\n" + head, "YAML directives are not supported"},
		"keys":          {head + "    config:\n" + keys(MaxKeys+1), "more than 10000 keys in one map"},
		"long key":      {head + "    config: {" + strings.Repeat("k", MaxKeyLength+1) + ": 1}", "a key of 513 bytes: the limit is 512"},
		"long paths":    {head + longPaths(), "the keys are too long and too deeply nested"},
		"alias bomb":    {head + bomb(), "more than 1000000 values; aliases count as often as they are used"},
		"alias text":    {head + "    config:\n      - &a " + strings.Repeat("x", 1000) + strings.Repeat("\n      - *a", 20_000), "more than 16777216 bytes of text"},
		"alias depth":   {head + tower(), "nested more than 64 levels deep"},
		"steps":         {"name: t\nversion: 1.0.0\nsteps:\n" + strings.Repeat("  - {}\n", MaxSteps+1), "10001 steps: the limit is 10000"},
		"edges":         {edges(350), "more than 100000 dependencies"},
		"environments":  {head + "environments:\n" + environments(MaxEnvironments+1), "33 environments: the limit is 32"},
		"no UTF-8":      {head + "    description: caf\xe9\n", "t.yaml:6:21: the file is not UTF-8 text"},
		"NUL":           {"name: t\n\x00", "t.yaml:2:1: the file is not UTF-8 text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("t.yaml", []byte(tc.src), Options{})
			var ds Diagnostics
			if !errors.As(err, &ds) || len(ds) != 1 || !strings.Contains(ds[0].Error(), tc.want) {
				t.Errorf("got %.300v, want one diagnostic %q", err, tc.want)
			}
		})
	}
}

func blocks(n int) string {
	var b strings.Builder
	b.WriteString("    config:\n")
	for i := range n {
		fmt.Fprintf(&b, "%*sa:\n", i+6, "")
	}
	return b.String()
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "      k%d: 1\n", i)
	}
	return b.String()
}

func longPaths() string {
	var b strings.Builder
	b.WriteString("    config:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "%*s%s:\n", i+6, "", strings.Repeat("k", MaxKeyLength))
	}
	for i := range 6000 {
		fmt.Fprintf(&b, "%*sk%d: 1\n", 60, "", i)
	}
	return b.String()
}

func bomb() string {
	var b strings.Builder
	b.WriteString("    config:\n      a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 20 {
		fmt.Fprintf(&b, "      a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return b.String()
}

func tower() string {
	var b strings.Builder
	b.WriteString("    config:\n      a0: &a0 x\n")
	for i := range 80 {
		fmt.Fprintf(&b, "      a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	return b.String()
}

func environments(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  e%d: {}\n", i)
	}
	return b.String()
}

// edges returns two layers of n steps, each of the second depending on all of the first.
func edges(n int) string {
	var names, b strings.Builder
	b.WriteString("name: t\nversion: 1.0.0\nsteps:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: a%d, handler: mock/noop}\n", i)
		fmt.Fprintf(&names, "a%d, ", i)
	}
	for i := range n {
		fmt.Fprintf(&b, "  - {name: b%d, handler: mock/noop, depends_on: [%s]}\n", i, names.String())
	}
	return b.String()
}

// TestManyDiagnosticsAreCut checks that a file of nonsense ends in a bounded list.
func TestManyDiagnosticsAreCut(t *testing.T) {
	src := "name: t\nversion: 1.0.0\nsteps:\n" + strings.Repeat("  - {name: a, handler: mock/noop, depends_on: [bb, cc, dd]}\n", 2000)
	_, err := Parse("t.yaml", []byte(src), Options{})
	var ds Diagnostics
	if !errors.As(err, &ds) || len(ds) != maxDiagnostics+1 {
		t.Fatalf("got %d diagnostics, want %d", len(ds), maxDiagnostics+1)
	}
	if got, want := ds[maxDiagnostics].Error(), "t.yaml: too many problems: the rest is not listed"; got != want {
		t.Errorf("the last one: got %q, want %q", got, want)
	}
}

// TestYAML checks what is special about reading YAML.
func TestYAML(t *testing.T) {
	for name, tc := range map[string]struct{ config, want string }{
		"numbers":        {`[1, -2, 1.50, 0x1F, 0o17, 1_000, 1e3, -0.0, .5, 123456789012345678901234567890]`, `[1,-2,1.50,31,15,1000,1e3,-0.0,0.5,123456789012345678901234567890]`},
		"text":           {`[yes, "1", '2', 1.2.3, 1s, "", 2026-01-02, +x, 01a, +-1]`, `["yes","1","2","1.2.3","1s","","2026-01-02","+x","01a","+-1"]`},
		"booleans":       {`[true, false, True, FALSE]`, `[true,false,true,false]`},
		"null":           {`[null, ~, {a: }]`, `[null,null,{"a":null}]`},
		"keys":           {`{200: ok, true: b, 1.5: c, "x y": d, z: e}`, `{"1.5":"c","200":"ok","true":"b","x y":"d","z":"e"}`},
		"escapes":        {`"\u00e9 \ud83d\ude00 \/ \\ <&>"`, `"é 😀 / \\ <&>"`},
		"block text":     {"|\n      one\n      two\n", `"one\ntwo\n"`},
		"folded text":    {">-\n      one\n      two\n", `"one two"`},
		"anchor":         {`{a: &x {b: 1}, c: *x}`, `{"a":{"b":1},"c":{"b":1}}`},
		"merge key":      {"\n      a: &x {b: 1, c: 2}\n      d: {<<: *x, c: 3}\n", `{"a":{"b":1,"c":2},"d":{"b":1,"c":3}}`},
		"merge list":     {"\n      - &x {b: 1}\n      - &y {b: 2, c: 2}\n      - {<<: [*x, *y], d: 4}\n", `[{"b":1},{"b":2,"c":2},{"b":1,"c":2,"d":4}]`},
		"anchor again":   {`[&x 1, *x, &x 2, *x]`, `[1,1,2,2]`},
		"text in flow":   {`{a: b c, d: [e f]}`, `{"a":"b c","d":["e f"]}`},
		"comment":        {"\n      a: 1 # one\n      # two\n      b: 2\n", `{"a":1,"b":2}`},
		"windows lines":  {"\r\n      a: x\r\n      b: |\r\n        one\r\n", `{"a":"x","b":"one\n"}`},
		"plain number":   {`5`, `5`},
		"empty map":      {`{}`, `{}`},
		"null at top":    {`null`, ``},
		"deep but legal": {strings.Repeat("[", 40) + strings.Repeat("]", 40), strings.Repeat("[", 40) + strings.Repeat("]", 40)},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, err := Parse("t.yaml", []byte(head+"    config: "+tc.config+"\n"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(tmpl.Steps[0].Config)); diff != "" {
				t.Errorf("config differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJSONIsYAML reads the same template as JSON and with a byte order mark.
func TestJSONIsYAML(t *testing.T) {
	want, err := Parse("t.yaml", []byte(head), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string]string{
		"json":            `{"name": "t", "version": "1.0.0", "steps": [{"name": "a", "handler": "mock/noop"}]}`,
		"json with tabs":  "{\n\t\"name\": \"t\",\n\t\"version\": \"1.0.0\",\n\t\"steps\": [\n\t\t{\n\t\t\t\"name\": \"a\",\n\t\t\t\"handler\": \"mock/noop\"\n\t\t}\n\t]\n}\n",
		"byte order mark": "\xef\xbb\xbf" + head,
		"document marks":  "---\n" + head + "...\n",
		"null settings":   head + "    retry:\n    depends_on:\n    timeout: ~\ndefaults:\nenvironments:\nsubscriptions:\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("t.json", []byte(src), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Ref() != want.Ref() {
				t.Errorf("got %s, want %s", got.Snapshot(), want.Snapshot())
			}
		})
	}
}

// bigTemplate returns a template of n steps, most with three dependencies and a config.
func bigTemplate(n int) []byte {
	var b strings.Builder
	b.WriteString("name: big\nversion: 1.0.0\ndefaults: {retry: {limit: 5}}\nsteps:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: step_%d\n    handler: mock/echo\n    timeout: 30s\n    config: {n: %d, list: [a, b]}\n    depends_on: [", i, i)
		for d := max(0, i-3); d < i; d++ {
			fmt.Fprintf(&b, "step_%d, ", d)
		}
		b.WriteString("]\n")
	}
	return []byte(b.String())
}

// TestParseIsLinear counts what Parse allocates: a step costs the same among many.
func TestParseIsLinear(t *testing.T) {
	perStep := func(n int) float64 {
		src := bigTemplate(n)
		return testing.AllocsPerRun(1, func() {
			if _, err := Parse("big.yaml", src, Options{}); err != nil {
				t.Fatal(err)
			}
		}) / float64(n)
	}
	if few, many := perStep(100), perStep(4000); many > 1.3*few {
		t.Errorf("allocations per step: %.0f among 4000, %.0f among 100", many, few)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{20, 2000, MaxSteps} {
		b.Run(fmt.Sprintf("steps=%d", n), func(b *testing.B) {
			src := bigTemplate(n)
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, err := Parse("big.yaml", src, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/step")
		})
	}
}

func BenchmarkFromSnapshot(b *testing.B) {
	tmpl, err := Parse("big.yaml", bigTemplate(2000), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := FromSnapshot(tmpl.Snapshot()); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzParse looks for panics, for diagnostics outside the file, and for templates that
// do not survive a snapshot.
func FuzzParse(f *testing.F) {
	seeds := []string{head, inputTemplate, "", "a: &a [*a]", "<<: [<<]", "? a\n: b", "%TAG ! x", "- - -", "{a", "\"", "a: !!binary x", "\t"}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	for _, pattern := range []string{"testdata/valid/*", "testdata/diagnostics/*"} {
		addFiles(f, pattern)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 64<<10 {
			return
		}
		tmpl, err := Parse("f", src, Options{Environment: "dev"})
		var ds Diagnostics
		switch {
		case err == nil:
			if _, err := FromSnapshot(tmpl.Snapshot()); err != nil {
				t.Errorf("%v: %s", err, tmpl.Snapshot())
			}
			_, _ = tmpl.Mermaid(), tmpl.Text()
			if err := tmpl.ValidateInput([]byte(`{}`)); err != nil && err.Error() == "" {
				t.Error("an error without words")
			}
		case !errors.As(err, &ds) || len(ds) == 0:
			t.Errorf("got %T %v, want diagnostics", err, err)
		default:
			lines := strings.Count(string(src), "\n") + strings.Count(string(src), "\r") + 1
			for _, d := range ds {
				if d.Line > lines+1 || d.Line < 0 || strings.Contains(d.Error(), "\n") {
					t.Errorf("diagnostic %q in a file of %d lines", d.Error(), lines)
				}
			}
		}
	})
}

// addFiles adds the files of testdata to the corpus.
func addFiles(f *testing.F, pattern string) {
	f.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
}
