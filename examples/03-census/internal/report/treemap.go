package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/examples/03-census/internal/census"
)

// treemap shows the packages as areas, those below one top directory side by side.
type treemap struct {
	ID, Title, Desc string
	Width, Height   float64
	Groups          []group
	Legend          []legend
}

type group struct {
	X, Y, W, H     float64
	Label          string // "" where there is no room
	LabelX, LabelY float64
	Cells          []cell
}

type cell struct {
	X, Y, W, H     float64
	Class, Title   string
	Label          string // "" where there is no room
	LabelX, LabelY float64
}

// area is a rectangle that a weight is turned into.
type area struct {
	x, y, w, h float64
	weight     float64
	index      int
}

const (
	mapHeight   = 560
	groupHeader = 17
	letterWidth = 6.7 // of the 11px labels, generously
)

// newTreemap gives each package an area in proportion to its hand-written lines of code, and a colour by how
// much of what it exports is documented.
func newTreemap(id, title, desc string, packages []census.Package) treemap {
	m := treemap{ID: id, Title: title, Desc: desc, Width: chartWidth, Height: mapHeight, Legend: coverageLegend()}
	groups := map[string][]census.Package{}
	for _, p := range packages {
		if p.Source.Code > 0 {
			top, _, _ := strings.Cut(p.Path, "/")
			groups[top] = append(groups[top], p)
		}
	}
	names, weights := []string{}, []float64{}
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		weights = append(weights, codeOf(groups[name]))
	}
	for _, a := range squarify(weights, area{w: chartWidth, h: mapHeight}) {
		m.Groups = append(m.Groups, newGroup(names[a.index], groups[names[a.index]], a))
	}
	return m
}

func codeOf(packages []census.Package) float64 {
	n := 0
	for _, p := range packages {
		n += p.Source.Code
	}
	return float64(n)
}

func newGroup(name string, packages []census.Package, a area) group {
	g := group{X: tenth(a.x), Y: tenth(a.y), W: tenth(a.w), H: tenth(a.h)}
	inner := area{x: a.x + 1.5, y: a.y + 1.5, w: a.w - 3, h: a.h - 3}
	if len(packages) > 1 && a.h > 48 && fits(name, a.w) {
		g.Label, g.LabelX, g.LabelY = name, tenth(a.x+6), tenth(a.y+13)
		inner.y += groupHeader - 1.5
		inner.h -= groupHeader - 1.5
	}
	if inner.w <= 0 || inner.h <= 0 {
		return g
	}
	weights := make([]float64, len(packages))
	for i, p := range packages {
		weights[i] = float64(p.Source.Code)
	}
	for _, r := range squarify(weights, inner) {
		g.Cells = append(g.Cells, newCell(name, packages[r.index], r))
	}
	return g
}

func newCell(group string, p census.Package, a area) cell {
	c := cell{
		X: tenth(a.x + 0.5), Y: tenth(a.y + 0.5), W: tenth(max(a.w-1, 0.2)), H: tenth(max(a.h-1, 0.2)),
		Class: coverageClass(p.Counts), Title: p.Path + ": " + thousands(p.Source.Code) + " lines of code, " + coverageText(p.Counts),
	}
	label := strings.TrimPrefix(p.Path, group+"/")
	for !fits(label, a.w) && strings.Contains(label, "/") {
		_, label, _ = strings.Cut(label, "/")
	}
	if a.h > 16 && fits(label, a.w) {
		c.Label, c.LabelX, c.LabelY = label, tenth(a.x+5), tenth(a.y+13)
	}
	return c
}

func total(weights []float64) float64 {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	return sum
}

func fits(label string, width float64) bool { return float64(len(label))*letterWidth+8 < width }

// squarify fills a rectangle with one area for each weight, largest first, keeping them as square as it can:
// it adds areas to a strip along the shorter side as long as that makes the worst of them squarer.
func squarify(weights []float64, into area) []area {
	areas := make([]area, 0, len(weights))
	sum := total(weights)
	for i, w := range weights {
		if w > 0 {
			areas = append(areas, area{weight: w * into.w * into.h / sum, index: i})
		}
	}
	slices.SortStableFunc(areas, func(a, b area) int { return cmp.Compare(b.weight, a.weight) })
	for rest := areas; len(rest) > 0; {
		side := min(into.w, into.h)
		n, strip := 1, rest[0].weight
		for n < len(rest) && worst(rest[:n+1], strip+rest[n].weight, side) <= worst(rest[:n], strip, side) {
			strip += rest[n].weight
			n++
		}
		into = lay(rest[:n], strip, into)
		rest = rest[n:]
	}
	return areas
}

// worst is the largest ratio of the sides of the areas of a strip along a side.
func worst(areas []area, strip, side float64) float64 {
	depth := strip / side
	ratio := 0.0
	for _, a := range areas {
		length := a.weight / depth
		ratio = max(ratio, length/depth, depth/length)
	}
	return ratio
}

// lay places a strip along the shorter side of a rectangle and returns what is left of it.
func lay(areas []area, strip float64, into area) area {
	if into.w >= into.h {
		depth := strip / into.h
		y := into.y
		for i := range areas {
			h := areas[i].weight / depth
			areas[i].x, areas[i].y, areas[i].w, areas[i].h = into.x, y, depth, h
			y += h
		}
		into.x += depth
		into.w -= depth
		return into
	}
	depth := strip / into.w
	x := into.x
	for i := range areas {
		w := areas[i].weight / depth
		areas[i].x, areas[i].y, areas[i].w, areas[i].h = x, into.y, w, depth
		x += w
	}
	into.y += depth
	into.h -= depth
	return into
}
