package census

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ErrShardMissing is returned by [Merge] when a shard is absent or given twice.
var ErrShardMissing = errors.New("the parts do not cover the tree")

// A Census is the whole tree, added up.
type Census struct {
	Root         string     `json:"root"`
	Module       string     `json:"module,omitempty"`
	GoVersion    string     `json:"go_version,omitempty"`
	TakenAt      time.Time  `json:"taken_at"` // UTC
	Skip         []string   `json:"skip"`
	Skipped      int        `json:"skipped"`
	Bytes        int64      `json:"bytes"`
	Total        Counts     `json:"total"`
	Packages     []Package  `json:"packages"`     // by path
	WithDoc      int        `json:"with_doc"`     // packages with a package comment
	Public       Counts     `json:"public"`       // the packages that others can import
	PublicCount  int        `json:"public_count"` // how many these are
	Lengths      []Tally    `json:"lengths"`      // hand-written functions by lines, ascending
	Complexities []Tally    `json:"complexities"` // hand-written functions by cognitive complexity, ascending
	Imports      []Import   `json:"imports"`      // most imported first
	Longest      []Function `json:"longest"`
	MostComplex  []Function `json:"most_complex"`
	Copies       Copies     `json:"copies"`
	Problems     []Problem  `json:"problems"`
	Shards       []Run      `json:"shards"`
}

// A Tally says how many functions have a value.
type Tally struct {
	Value int `json:"value"`
	Count int `json:"count"`
}

// An Import says how many packages import a path, outside of their tests.
type Import struct {
	Path     string `json:"path"`
	Packages int    `json:"packages"`
}

// Copies sums up the functions that resemble each other.
type Copies struct {
	Compared  int      `json:"compared"`  // functions long enough to be compared
	Functions int      `json:"functions"` // of these, members of a family
	Families  int      `json:"families"`
	Lines     int      `json:"lines"`   // of all members but the longest of each family
	Largest   []Family `json:"largest"` // by the lines beyond the longest member
}

// A Family is a group of functions, each linked to another one of it.
type Family struct {
	Members    []Site  `json:"members"`    // by place
	Lines      int     `json:"lines"`      // of all members but the longest
	Similarity float64 `json:"similarity"` // of the weakest link that holds it together
}

// A Run says what the work on one shard was.
type Run struct {
	Shard         int   `json:"shard"`
	Packages      int   `json:"packages"`
	Files         int   `json:"files"`
	Bytes         int64 `json:"bytes"`
	AnalyseMillis int64 `json:"analyse_ms"`
	CompareMillis int64 `json:"compare_ms"`
}

// Merge adds up the analyses and comparisons of all shards of a tree, given in any order. The error is
// [ErrShardMissing].
func Merge(tree Tree, analyses []Analysis, comparisons []Comparison) (Census, error) {
	analyses = slices.SortedFunc(slices.Values(analyses), func(a, b Analysis) int { return cmp.Compare(a.Shard, b.Shard) })
	comparisons = slices.SortedFunc(slices.Values(comparisons), func(a, b Comparison) int { return cmp.Compare(a.Shard, b.Shard) })
	if n := len(tree.Shards); len(analyses) != n || len(comparisons) != n {
		return Census{}, fmt.Errorf("%w: %d shards, %d analyses, %d comparisons", ErrShardMissing, n, len(analyses), len(comparisons))
	}
	c := Census{
		Root: tree.Root, Module: tree.Module, GoVersion: tree.GoVersion, TakenAt: tree.TakenAt,
		Skip: tree.Skip, Skipped: tree.Skipped, Bytes: tree.Bytes, Problems: []Problem{},
	}
	lengths, complexities, imports := map[int]int{}, map[int]int{}, map[string]int{}
	var links []Link
	for i, a := range analyses {
		b := comparisons[i]
		if a.Shard != i || b.Shard != i {
			return Census{}, fmt.Errorf("%w: no analysis or no comparison of shard %d", ErrShardMissing, i)
		}
		c.Packages = append(c.Packages, a.Packages...)
		c.Longest = append(c.Longest, a.Longest...)
		c.MostComplex = append(c.MostComplex, a.MostComplex...)
		c.Problems = append(c.Problems, a.Problems...)
		c.Shards = append(c.Shards, Run{i, len(a.Packages), a.Files, a.Bytes, a.ElapsedMillis, b.ElapsedMillis})
		c.Copies.Compared += b.Bodies
		links = append(links, b.Links...)
		sum(lengths, a.Lengths)
		sum(complexities, a.Complexities)
		sum(imports, a.Imports)
	}
	c.Longest, c.MostComplex = top(c.Longest, byLength), top(c.MostComplex, byComplexity)
	c.Lengths, c.Complexities, c.Imports = tallies(lengths), tallies(complexities), ranking(imports)
	c.addPackages()
	c.Copies.add(strongest(links))
	return c, nil
}

func (c *Census) addPackages() {
	slices.SortFunc(c.Packages, func(a, b Package) int { return cmp.Compare(a.Path, b.Path) })
	for _, p := range c.Packages {
		c.Total = c.Total.plus(p.Counts)
		if p.Doc {
			c.WithDoc++
		}
		if p.Public {
			c.Public = c.Public.plus(p.Counts)
			c.PublicCount++
		}
	}
}

// add groups linked functions into families.
func (c *Copies) add(links []Link) {
	heads := families{}
	for _, l := range links {
		heads.join(l.A.At, l.B.At)
	}
	groups := map[string]*Family{}
	member := map[Site]bool{}
	for _, l := range links {
		head := heads.head(l.A.At)
		g := groups[head]
		if g == nil {
			g = &Family{Similarity: 1}
			groups[head] = g
		}
		g.Similarity = min(g.Similarity, l.Similarity)
		for _, s := range []Site{l.A, l.B} {
			if !member[s] {
				member[s] = true
				g.Members = append(g.Members, s)
			}
		}
	}
	for _, g := range groups {
		slices.SortFunc(g.Members, func(a, b Site) int { return cmp.Compare(a.At, b.At) })
		longest := 0
		for _, m := range g.Members {
			g.Lines += m.Lines
			longest = max(longest, m.Lines)
		}
		g.Lines -= longest
		c.Functions += len(g.Members)
		c.Lines += g.Lines
		c.Largest = append(c.Largest, *g)
	}
	c.Families = len(groups)
	slices.SortFunc(c.Largest, func(a, b Family) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Members[0].At, b.Members[0].At))
	})
	c.Largest = first(c.Largest)
}

func sum[K comparable](into, from map[K]int) {
	for k, n := range from {
		into[k] += n
	}
}

func tallies(counts map[int]int) []Tally {
	out := make([]Tally, 0, len(counts))
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, Tally{v, counts[v]})
	}
	return out
}

func ranking(counts map[string]int) []Import {
	out := make([]Import, 0, len(counts))
	for p, n := range counts {
		out = append(out, Import{p, n})
	}
	slices.SortFunc(out, func(a, b Import) int {
		return cmp.Or(cmp.Compare(b.Packages, a.Packages), cmp.Compare(a.Path, b.Path))
	})
	return out
}
