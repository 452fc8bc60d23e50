package report

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
)

// sample is a census with something in every part.
func sample() census.Census {
	counts := census.Counts{
		Files: 9, TestFiles: 2, GeneratedFiles: 1, Source: census.Lines{Code: 1000, Comment: 300, Blank: 200},
		Test: census.Lines{Code: 400}, Generated: census.Lines{Code: 100}, Functions: 30, Methods: 12,
		TestFunctions: 8, Types: 5, GenericFuncs: 2, Exported: 20, Documented: 13, Complexity: 80, ComplexOver15: 3,
	}
	site := census.Site{At: "a/<b>/x.go:3 (*T).M", Lines: 40}
	return census.Census{
		Root: "/src/<tree>", Module: "example.com/<tree>", GoVersion: "go1.26", TakenAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Skip: []string{"testdata"}, Skipped: 1, Bytes: 5e6, Total: counts, Public: counts, PublicCount: 2, WithDoc: 1,
		Packages: []census.Package{
			{Path: "a/<b>", Name: "b", Public: true, Counts: counts},
			{Path: "a/c", Name: "c", Public: true, Doc: true, Counts: counts},
			{Path: "main", Name: "main", Counts: census.Counts{Files: 1, Source: census.Lines{Code: 3}}},
		},
		Lengths:      []census.Tally{{Value: 1, Count: 10}, {Value: 7, Count: 20}, {Value: 300, Count: 1}},
		Complexities: []census.Tally{{Value: 0, Count: 20}, {Value: 15, Count: 4}, {Value: 16, Count: 3}},
		Imports:      []census.Import{{Path: "fmt", Packages: 3}, {Path: "strings", Packages: 1}},
		Longest:      []census.Function{{Package: "a/<b>", Name: "(*T).M", File: "x.go", Line: 3, Lines: 300}},
		MostComplex:  []census.Function{{Package: "a/<b>", Name: "(*T).M", File: "x.go", Line: 3, Cognitive: 16}},
		Copies: census.Copies{Compared: 12, Functions: 2, Families: 1, Lines: 40, Largest: []census.Family{
			{Members: []census.Site{site, {At: "a/c/x.go:3 N", Lines: 40}}, Lines: 40, Similarity: 0.87},
		}},
		Problems: []census.Problem{{File: "a/bad.go", Error: `expected "}"`}},
		Shards:   []census.Run{{Shard: 0, Packages: 2, Files: 9, Bytes: 5e6, AnalyseMillis: 340, CompareMillis: 1200}},
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	var pages [][]byte
	for range 2 { // an attempt may run again
		files, err := Write(dir, "", sample())
		if err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(files.Page)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(files.Data)
		if err != nil {
			t.Fatal(err)
		}
		var back census.Census
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(back, sample()); diff != "" {
			t.Errorf("census.json (-got +want):\n%s", diff)
		}
		pages = append(pages, page)
	}
	if !bytes.Equal(pages[0], pages[1]) {
		t.Error("the same census gave two different pages")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(names, []string{"census.json", "index.html"}); diff != "" {
		t.Errorf("files in the directory (-got +want):\n%s", diff)
	}
}

func TestWriteReportsWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(filepath.Join(file, "report"), "", sample()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Write below a file = %v, want an error that names it", err)
	}
}

// TestPageStandsAlone: the page is well formed, fetches nothing, runs nothing, labels its charts, and shows
// what it is given as text.
func TestPageStandsAlone(t *testing.T) {
	for _, test := range []struct {
		name, title, wantTitle string
		census                 census.Census
	}{
		{"a census with everything", "", "example.com/<tree>", sample()},
		{"a title of one's own", `<script>alert("x")</script>`, `<script>alert("x")</script>`, sample()},
		{"an empty census", "", "empty", census.Census{Root: "/src/empty"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			page, err := Render(test.title, test.census)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"NaN", "Inf", "ZgotmplZ", "<no value>", "%!"} {
				if bytes.Contains(page, []byte(bad)) {
					t.Errorf("the page contains %q", bad)
				}
			}
			p := inspect(t, page)
			if p.title != test.wantTitle {
				t.Errorf("title = %q, want %q", p.title, test.wantTitle)
			}
			if len(p.charts) != 8 {
				t.Errorf("%d charts, want 8", len(p.charts))
			}
			for _, ref := range p.charts {
				if !p.ids[ref] {
					t.Errorf("a chart is labelled by %q, which is not there", ref)
				}
			}
		})
	}
}

type inspected struct {
	title  string
	ids    map[string]bool
	charts []string // the ids that label the charts, first of each
}

func inspect(t *testing.T, page []byte) inspected {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	p := inspected{ids: map[string]bool{}}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "img", "link", "iframe", "object":
			t.Errorf("the page has a <%s>", n.Data)
		case "h1":
			p.title = n.FirstChild.Data
		}
		for _, a := range n.Attr {
			switch a.Key {
			case "id":
				if p.ids[a.Val] {
					t.Errorf("the id %q is there twice", a.Val)
				}
				p.ids[a.Val] = true
			case "aria-labelledby":
				p.charts = append(p.charts, strings.Fields(a.Val)[0])
			case "href":
				if !strings.HasPrefix(a.Val, "#") && a.Val != "census.json" {
					t.Errorf("the page links to %q", a.Val)
				}
			case "src", "style", "onclick":
				t.Errorf("the page has the attribute %s", a.Key)
			}
		}
	}
	return p
}

// TestSquarify: the areas fill the rectangle, in proportion, without overlap.
func TestSquarify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Float64Range(1, 1e5), 1, 40).Draw(t, "weights")
		into := area{x: 10, y: 20, w: rapid.Float64Range(10, 1000).Draw(t, "w"), h: rapid.Float64Range(10, 1000).Draw(t, "h")}
		areas := squarify(weights, into)
		if len(areas) != len(weights) {
			t.Fatalf("%d areas, want %d", len(areas), len(weights))
		}
		const e = 1e-6
		for i, a := range areas {
			want := weights[a.index] / total(weights) * into.w * into.h
			if math.Abs(a.w*a.h-want) > e*want+e {
				t.Errorf("area %d is %v, want %v", i, a.w*a.h, want)
			}
			if a.x < into.x-e || a.y < into.y-e || a.x+a.w > into.x+into.w+e || a.y+a.h > into.y+into.h+e {
				t.Errorf("area %d %+v leaves %+v", i, a, into)
			}
			for _, b := range areas[:i] {
				if a.x+e < b.x+b.w && b.x+e < a.x+a.w && a.y+e < b.y+b.h && b.y+e < a.y+a.h {
					t.Errorf("%+v and %+v overlap", a, b)
				}
			}
		}
	})
}

func TestScale(t *testing.T) {
	for _, test := range []struct{ highest, step, end float64 }{
		{0, 1, 1}, {3, 1, 3}, {7, 2, 8}, {94, 20, 100}, {284, 100, 300}, {15158, 5000, 20000}, {955227, 200000, 1e6}, {0.34, 0.1, 0.4},
	} {
		if step, end := scale(test.highest); math.Abs(step-test.step) > 1e-9 || math.Abs(end-test.end) > 1e-9 {
			t.Errorf("scale(%v) = %v, %v; want %v, %v", test.highest, step, end, test.step, test.end)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{thousands(0), "0"},
		{thousands(999), "999"},
		{thousands(1000), "1,000"},
		{thousands(1234567), "1,234,567"},
		{thousands(-1234), "-1,234"},
		{short(0), "0"},
		{short(250), "250"},
		{short(1500), "1.5k"},
		{short(2e6), "2M"},
		{Percent(0, 0), "–"},
		{Percent(0, 7), "0 %"},
		{Percent(7, 7), "100 %"},
		{Percent(1, 3), "33 %"},
		{Percent(1, 100000), "0.1 %"},
		{Percent(99999, 100000), "99.9 %"},
		{Percent(1, 20), "5.0 %"},
		{count(1, "file", "files"), "1 file"},
		{count(2000, "file", "files"), "2,000 files"},
		{trimPath("net/http", 30), "net/http"},
		{trimPath("github.com/example/project/internal/things", 30), "…/project/internal/things"},
		{trimPath("averyveryverylongsinglename", 10), "averyveryverylongsinglename"},
		{coverageClass(census.Counts{}), "none"},
		{coverageClass(census.Counts{Exported: 5, Documented: 1}), "q1"},
		{coverageClass(census.Counts{Exported: 5, Documented: 5}), "q4"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestDoubling(t *testing.T) {
	var got []string
	for _, b := range doubling([]census.Tally{{Value: 0, Count: 1}, {Value: 1, Count: 2}, {Value: 3, Count: 3}, {Value: 15, Count: 4}, {Value: 16, Count: 5}}, "point", "points") {
		got = append(got, b.title)
	}
	want := []string{
		"0 points: 1 function (6.7 %)", "1 point: 2 functions (13 %)", "2–3 points: 3 functions (20 %)", "4–7 points: 0 functions (0 %)",
		"8–15 points: 4 functions (27 %)", "16–31 points: 5 functions (33 %)",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("doubling (-got +want):\n%s", diff)
	}
}

func TestQuantile(t *testing.T) {
	tallies := []census.Tally{{Value: 1, Count: 50}, {Value: 2, Count: 40}, {Value: 9, Count: 10}}
	for q, want := range map[float64]int{0: 1, 0.5: 1, 0.51: 2, 0.9: 2, 0.91: 9, 1: 9} {
		if got := quantile(tallies, q); got != want {
			t.Errorf("quantile(%v) = %d, want %d", q, got, want)
		}
	}
}
