package report

import (
	"cmp"
	"fmt"
	"html/template"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
)

// page is all that page.html shows, in its order.
type page struct {
	Style    template.CSS
	Title    string
	Subject  []string // where and when, one fact each
	Lead     string
	Figures  []figure
	Kinds    bars
	Map      treemap
	Largest  bars
	Lengths  columns
	LengthsS string
	Longest  []function
	Flow     columns
	FlowS    string
	Complex  []function
	Docs     columns
	DocsS    string
	Gaps     []gap
	Imports  bars
	ImportsS string
	CopiesS  string
	Copies   []family
	Packages []packageRow
	Problems []census.Problem
	Runs     bars
	Skip     string
}

type figure struct{ Value, Label, Note string }

type function struct {
	Name, Place                           string
	Lines, Cyclomatic, Cognitive, Nesting string
}

type gap struct{ Path, Missing, Exported, Coverage string }

type family struct {
	Name, Place, Members, Lines, Similarity string
	At                                      []member
}

type member struct{ Place, Name, Lines string }

type packageRow struct {
	Path, Files, Source, Test, Generated, Functions, Types, Generic, Exported, Coverage, Complex string
}

// kinds are the series of charts that tell hand-written source, tests and generated files apart.
func kinds() []legend {
	return []legend{{"source", "hand-written source"}, {"test", "tests"}, {"generated", "generated"}}
}

func newPage(title string, c census.Census) page {
	if title == "" {
		title = subject(c)
	}
	p := page{
		Style: template.CSS(styleSource), //nolint:gosec // our own file
		Title: title, Subject: provenance(c), Lead: lead(c), Figures: figures(c),
		Kinds: lineKinds(c.Total), Largest: largest(c.Packages),
		Map: newTreemap("map", "Packages by size, coloured by documentation",
			"Each rectangle is a package; its area is its hand-written lines of code.", c.Packages),
		Longest: functions(c.Longest), Complex: functions(c.MostComplex),
		Gaps: gaps(c.Packages), Packages: packageRows(c.Packages), Problems: c.Problems, Runs: runs(c.Shards),
		Skip: strings.Join(c.Skip, ", "),
	}
	p.Lengths, p.LengthsS = lengths(c.Lengths)
	p.Flow, p.FlowS = flow(c.Complexities)
	p.Docs, p.DocsS = documentation(c)
	p.Imports, p.ImportsS = imports(c)
	p.Copies, p.CopiesS = copies(c.Copies)
	return p
}

// subject names a tree by its module, or else by its directory.
func subject(c census.Census) string {
	switch c.Module {
	case "std":
		return "The Go standard library and toolchain"
	case "":
		return filepath.Base(c.Root)
	default:
		return c.Module
	}
}

func provenance(c census.Census) []string {
	out := []string{c.Root}
	if c.GoVersion != "" {
		out = append(out, c.GoVersion)
	}
	out = append(out, "taken "+c.TakenAt.Format("2 January 2006, 15:04 UTC"))
	if c.Skipped > 0 {
		out = append(out, count(c.Skipped, "directory", "directories")+" left out ("+strings.Join(c.Skip, ", ")+", and what Go ignores)")
	}
	return out
}

func lead(c census.Census) string {
	t := c.Total
	all := t.Lines().Total()
	return fmt.Sprintf("%s in %s hold %s. Of these lines, %s are hand-written source, %s are tests and %s are generated.",
		count(len(c.Packages), "package", "packages"), count(t.Files, "file", "files"), count(all, "line", "lines"),
		Percent(t.Source.Total(), all), Percent(t.Test.Total(), all), Percent(t.Generated.Total(), all))
}

func figures(c census.Census) []figure {
	t := c.Total
	measured := 0
	for _, l := range c.Lengths {
		measured += l.Count
	}
	out := []figure{
		{thousands(t.Source.Code), "lines of code", "hand-written, without comments and blanks"},
		{thousands(t.Functions + t.Methods), "functions", thousands(t.Methods) + " of them methods"},
		{thousands(t.TestFunctions), "test functions", "helpers and benchmarks included"},
		{Percent(c.Public.Documented, c.Public.Exported), "documented", "of what " + count(c.PublicCount, "public package exports", "public packages export")},
		{Percent(t.ComplexOver15, measured), "hard to follow", "cognitive complexity over 15"},
		{Percent(c.Copies.Functions, c.Copies.Compared), "have a near-copy", "of " + thousands(c.Copies.Compared) + " longer functions"},
		{thousands(t.GenericFuncs + t.GenericTypes), "generic", count(t.GenericFuncs, "function", "functions") + ", " + count(t.GenericTypes, "type", "types")},
		{thousands(t.GoStatements), "go statements", count(t.Panics, "call", "calls") + " of panic"},
	}
	return out
}

func lineKinds(t census.Counts) bars {
	series := []legend{{"code", "code"}, {"comment", "comment only"}, {"blank", "blank"}}
	var data []datum
	for _, k := range []struct {
		label string
		lines census.Lines
	}{{"source", t.Source}, {"tests", t.Test}, {"generated", t.Generated}} {
		l := k.lines
		data = append(data, datum{
			label: k.label, value: thousands(l.Total()),
			parts: []part{
				{float64(l.Code), k.label + ": " + thousands(l.Code) + " lines of code (" + Percent(l.Code, l.Total()) + ")"},
				{float64(l.Comment), k.label + ": " + thousands(l.Comment) + " lines of comment (" + Percent(l.Comment, l.Total()) + ")"},
				{float64(l.Blank), k.label + ": " + thousands(l.Blank) + " blank lines (" + Percent(l.Blank, l.Total()) + ")"},
			},
		})
	}
	return newBars("kinds", "Lines by kind of file", "Lines of code, comment and blank in source, tests and generated files.", 90, series, data)
}

func largest(packages []census.Package) bars {
	packages = slices.SortedStableFunc(slices.Values(packages), func(a, b census.Package) int {
		return cmp.Compare(codeLines(b), codeLines(a))
	})
	var data []datum
	for _, p := range packages[:min(len(packages), 15)] {
		data = append(data, datum{
			label: trimPath(p.Path, 30), value: thousands(codeLines(p)),
			parts: []part{
				{float64(p.Source.Code), p.Path + ": " + thousands(p.Source.Code) + " hand-written"},
				{float64(p.Test.Code), p.Path + ": " + thousands(p.Test.Code) + " in tests"},
				{float64(p.Generated.Code), p.Path + ": " + thousands(p.Generated.Code) + " generated"},
			},
		})
	}
	return newBars("largest", "Largest packages", "Lines of code of the largest packages, by kind of file.", 210, kinds(), data)
}

func codeLines(p census.Package) int { return p.Source.Code + p.Test.Code + p.Generated.Code }

// lengths is the histogram of function lengths, in bins that double.
func lengths(tallies []census.Tally) (columns, string) {
	bins := doubling(tallies, "line", "lines")
	c := newColumns("lengths", "Functions by length", "How many hand-written functions have how many lines.", "lines, from func to the closing brace", bins)
	if len(tallies) == 0 {
		return c, "No function to measure."
	}
	long := 0
	for _, t := range tallies {
		if t.Value > 100 {
			long += t.Count
		}
	}
	return c, fmt.Sprintf("Half of all hand-written functions have %s or fewer, nine in ten have %d or fewer; the longest has %s. %s more than 100.",
		count(quantile(tallies, 0.5), "line", "lines"), quantile(tallies, 0.9), thousands(tallies[len(tallies)-1].Value),
		haveHas(long))
}

func haveHas(n int) string {
	if n == 1 {
		return "One has"
	}
	return thousands(n) + " have"
}

// flow is the histogram of cognitive complexity.
func flow(tallies []census.Tally) (columns, string) {
	bins := doubling(tallies, "point", "points")
	for i := range bins {
		if lower(bins[i].label) > 15 {
			bins[i].class = "warn"
		}
	}
	c := newColumns("flow", "Functions by cognitive complexity", "How many hand-written functions have which cognitive complexity.", "cognitive complexity", bins)
	straight := 0
	for _, t := range tallies {
		if t.Value == 0 {
			straight = t.Count
		}
	}
	return c, fmt.Sprintf("%s of the functions run straight through, without a branch or loop. Nine in ten stay at %d or below; what lies above 15, the red columns, deserves a second look.",
		Percent(straight, all(tallies)), quantile(tallies, 0.9))
}

// doubling sorts values into 0, 1, 2-3, 4-7, 8-15, ...; the zeros have no bin when there are none.
func doubling(tallies []census.Tally, one, many string) []bin {
	type bounds struct{ from, to int }
	var ranges []bounds
	highest := 0
	if len(tallies) > 0 {
		highest = tallies[len(tallies)-1].Value
		if tallies[0].Value == 0 {
			ranges = append(ranges, bounds{0, 0})
		}
	}
	for from, to := 1, 1; from <= highest; from, to = to+1, 2*to+1 {
		ranges = append(ranges, bounds{from, to})
	}
	out := make([]bin, len(ranges))
	for i, r := range ranges {
		out[i].label = strconv.Itoa(r.from)
		if r.to > r.from {
			out[i].label += "–" + strconv.Itoa(r.to)
		}
		for _, t := range tallies {
			if t.Value >= r.from && t.Value <= r.to {
				out[i].count += t.Count
			}
		}
		noun := many
		if r.to == 1 {
			noun = one
		}
		out[i].title = fmt.Sprintf("%s %s: %s (%s)", out[i].label, noun, count(out[i].count, "function", "functions"), Percent(out[i].count, all(tallies)))
	}
	return out
}

func lower(label string) int {
	from, _, _ := strings.Cut(label, "–")
	n, _ := strconv.Atoi(from)
	return n
}

func all(tallies []census.Tally) int {
	n := 0
	for _, t := range tallies {
		n += t.Count
	}
	return n
}

// quantile is the smallest value that a share q of the functions does not exceed.
func quantile(tallies []census.Tally, q float64) int {
	need, seen := q*float64(all(tallies)), 0
	for _, t := range tallies {
		if seen += t.Count; float64(seen) >= need {
			return t.Value
		}
	}
	return 0
}

func functions(fns []census.Function) []function {
	out := make([]function, len(fns))
	for i, f := range fns {
		out[i] = function{
			Name: f.Name, Place: path.Join(f.Package, f.File) + ":" + strconv.Itoa(f.Line),
			Lines: thousands(f.Lines), Cyclomatic: thousands(f.Cyclomatic), Cognitive: thousands(f.Cognitive), Nesting: strconv.Itoa(f.Nesting),
		}
	}
	return out
}

// documentation is the histogram of public packages by the documented share of their exported names.
func documentation(c census.Census) (columns, string) {
	bins := make([]bin, 11)
	for i := range 10 {
		bins[i].label = fmt.Sprintf("%d–%d %%", 10*i, 10*i+9)
	}
	bins[10].label = "100 %"
	full, exporting := 0, 0
	for _, p := range c.Packages {
		share, ok := p.Coverage()
		if !p.Public || !ok {
			continue
		}
		exporting++
		bins[int(share*10)].count++
		if p.Documented == p.Exported {
			full++
		}
	}
	for i := range bins {
		bins[i].class = "q" + strconv.Itoa(min(4, i/2))
		bins[i].title = bins[i].label + " documented: " + count(bins[i].count, "package", "packages")
	}
	chart := newColumns("docs", "Public packages by documentation", "How many public packages document which share of their exported names.", "share of exported names with a doc comment", bins)
	return chart, fmt.Sprintf("%s that can be imported from elsewhere export %s; %s have a doc comment. %s document every one. Of all packages, %s have a package comment.",
		count(exporting, "package", "packages"), count(c.Public.Exported, "name", "names"), Percent(c.Public.Documented, c.Public.Exported),
		thousands(full), Percent(c.WithDoc, len(c.Packages)))
}

func gaps(packages []census.Package) []gap {
	packages = slices.DeleteFunc(slices.Clone(packages), func(p census.Package) bool { return !p.Public || p.Exported == p.Documented })
	slices.SortStableFunc(packages, func(a, b census.Package) int {
		return cmp.Compare(b.Exported-b.Documented, a.Exported-a.Documented)
	})
	out := []gap{}
	for _, p := range packages[:min(len(packages), 10)] {
		out = append(out, gap{p.Path, thousands(p.Exported - p.Documented), thousands(p.Exported), Percent(p.Documented, p.Exported)})
	}
	return out
}

func imports(c census.Census) (bars, string) {
	var data []datum
	for _, i := range c.Imports[:min(len(c.Imports), 20)] {
		data = append(data, datum{
			label: trimPath(i.Path, 30), value: thousands(i.Packages),
			parts: []part{{float64(i.Packages), i.Path + ": imported by " + count(i.Packages, "package", "packages")}},
		})
	}
	chart := newBars("imports", "Most imported packages", "How many packages import each of these, outside of tests.", 210, []legend{{"source", "packages"}}, data)
	once := 0
	for _, i := range c.Imports {
		if i.Packages == 1 {
			once++
		}
	}
	return chart, fmt.Sprintf("%s are imported at all, %s of them by one package only.", count(len(c.Imports), "path", "different paths"), Percent(once, len(c.Imports)))
}

func copies(c census.Copies) ([]family, string) {
	out := []family{}
	for _, f := range c.Largest {
		v := family{Members: thousands(len(f.Members)), Lines: thousands(f.Lines), Similarity: strconv.Itoa(int(f.Similarity*100+0.5)) + " %"}
		for _, m := range f.Members {
			place, name, _ := strings.Cut(m.At, " ")
			if v.Name == "" {
				v.Name, v.Place = name, place
			}
			v.At = append(v.At, member{place, name, thousands(m.Lines)})
		}
		out = append(out, v)
	}
	if c.Families == 0 {
		return out, fmt.Sprintf("None of the %s compared resembles another one.", count(c.Compared, "function", "functions"))
	}
	return out, fmt.Sprintf("Each of %s (80 tokens and more) was compared with each other one. %s fall into %s whose members share at least four fifths of their text; all but one of each family make up %s.",
		count(c.Compared, "longer function", "longer functions"), thousands(c.Functions), count(c.Families, "family", "families"), count(c.Lines, "line", "lines"))
}

func packageRows(packages []census.Package) []packageRow {
	out := make([]packageRow, len(packages))
	for i, p := range packages {
		out[i] = packageRow{
			Path: p.Path, Files: thousands(p.Files), Source: thousands(p.Source.Code), Test: thousands(p.Test.Code), Generated: thousands(p.Generated.Code),
			Functions: thousands(p.Functions + p.Methods), Types: thousands(p.Types), Generic: thousands(p.GenericFuncs + p.GenericTypes),
			Exported: thousands(p.Exported), Coverage: Percent(p.Documented, p.Exported), Complex: thousands(p.ComplexOver15),
		}
	}
	return out
}

func runs(shards []census.Run) bars {
	var data []datum
	for _, r := range shards {
		data = append(data, datum{
			label: fmt.Sprintf("shard %d", r.Shard), value: millis(r.AnalyseMillis + r.CompareMillis),
			parts: []part{
				{float64(r.AnalyseMillis) / 1e3, fmt.Sprintf("analyse shard %d: %s, %s in %s", r.Shard, millis(r.AnalyseMillis), megabytes(r.Bytes), count(r.Files, "file", "files"))},
				{float64(r.CompareMillis) / 1e3, fmt.Sprintf("compare shard %d: %s", r.Shard, millis(r.CompareMillis))},
			},
		})
	}
	return newBars("runs", "Seconds spent on each shard", "Wall-clock seconds of the analyse and compare steps.", 90,
		[]legend{{"source", "analyse"}, {"test", "compare"}}, data)
}
