package bench

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
)

// Plot is a chart of lines.
type Plot struct {
	Title string
	X, Y  Axis
	Lines []Line
}

// Axis is one of a plot's two.
type Axis struct {
	Label string
	Log   bool // values are greater than 0
	// Ticks are where the axis says something; nil = at round values.
	Ticks []Tick
}

// Tick is one mark of an axis.
type Tick struct {
	At    float64
	Label string
}

// Line is one series of points, by ascending X.
type Line struct {
	Name   string
	Points []Point
}

// Point is a place in a plot.
type Point struct{ X, Y float64 }

// The measures of a plot, in pixels.
const (
	plotWidth, plotHeight = 900, 480
	plotLeft, plotRight   = 80, 260 // the names of the lines are on the right
	plotTop, plotBottom   = 50, 60
	plotRow               = 18 // between two names
	plotTicks             = 5
)

// WriteSVG writes the plot as a document that stands alone and can be read in a dark and in
// a light page. Its colours can be told apart by people who see few of them.
func (p Plot) WriteSVG(w io.Writer) error {
	colours := []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a0522d"}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#ffffff"/>
<text x="%d" y="28" font-size="16" font-weight="bold">%s</text>
`, plotWidth, plotHeight, plotLeft, html.EscapeString(p.Title))
	x := scaleOf(p.X, p.values(func(q Point) float64 { return q.X }), plotLeft, plotWidth-plotRight)
	y := scaleOf(p.Y, p.values(func(q Point) float64 { return q.Y }), plotHeight-plotBottom, plotTop)
	for _, t := range x.ticks {
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#e0e0e0"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x.at(t.At), plotTop, plotHeight-plotBottom, x.at(t.At), plotHeight-plotBottom+plotRow, html.EscapeString(t.Label))
	}
	for _, t := range y.ticks {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#e0e0e0"/><text x="%d" y="%.1f" text-anchor="end" dy="4">%s</text>`+"\n",
			plotLeft, y.at(t.At), plotWidth-plotRight, plotLeft-8, y.at(t.At), html.EscapeString(t.Label))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (plotLeft+plotWidth-plotRight)/2, plotHeight-16, html.EscapeString(p.X.Label))
	fmt.Fprintf(&b, `<text transform="translate(20 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (plotTop+plotHeight-plotBottom)/2, html.EscapeString(p.Y.Label))
	for i, l := range p.Lines {
		colour, dash := colours[i%len(colours)], ""
		if i >= len(colours) {
			dash = ` stroke-dasharray="5 3"`
		}
		fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="2"%s d="%s"/>`+"\n", colour, dash, x.path(y, l.Points))
		row := plotTop + plotRow*i
		fmt.Fprintf(&b, `<path d="M%d %dh18" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d" dy="4">%s</text>`+"\n",
			plotWidth-plotRight+10, row, colour, dash, plotWidth-plotRight+34, row, html.EscapeString(l.Name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Plot) values(of func(Point) float64) (all []float64) {
	for _, l := range p.Lines {
		for _, q := range l.Points {
			all = append(all, of(q))
		}
	}
	return all
}

// scale maps values to pixels.
type scale struct {
	low, high float64 // logarithms, if log
	from, to  float64
	log       bool
	ticks     []Tick
}

func scaleOf(a Axis, values []float64, from, to float64) scale {
	s := scale{from: from, to: to, log: a.Log, ticks: a.Ticks}
	if len(values) == 0 {
		values = []float64{1}
	}
	s.low, s.high = s.measure(slices.Min(values)), s.measure(slices.Max(values))
	if !a.Log {
		s.low = min(s.low, 0) // so that heights can be compared
	}
	if s.ticks == nil {
		s.ticks = s.round()
	}
	if n := len(s.ticks); n > 0 {
		s.low, s.high = min(s.low, s.measure(s.ticks[0].At)), max(s.high, s.measure(s.ticks[n-1].At))
	}
	if s.high <= s.low {
		s.high = s.low + 1
	}
	return s
}

func (s scale) measure(v float64) float64 {
	if s.log {
		return math.Log10(max(v, math.SmallestNonzeroFloat64))
	}
	return v
}

func (s scale) at(v float64) float64 {
	return s.from + (s.measure(v)-s.low)/(s.high-s.low)*(s.to-s.from)
}

// round returns ticks at powers of ten, or at round distances.
func (s scale) round() (ticks []Tick) {
	if s.log {
		for e := math.Floor(s.low); e <= math.Ceil(s.high); e++ {
			ticks = append(ticks, Tick{math.Pow(10, e), brief(math.Pow(10, e))})
		}
		return ticks
	}
	rough := max(s.high-s.low, 1e-9) / plotTicks
	unit := math.Pow(10, math.Floor(math.Log10(rough)))
	step := unit * slices.MinFunc([]float64{1, 2, 5, 10}, func(a, b float64) int {
		return cmp.Compare(math.Abs(a-rough/unit), math.Abs(b-rough/unit))
	})
	for i := math.Floor(s.low / step); i <= math.Ceil(s.high/step); i++ {
		ticks = append(ticks, Tick{i * step, brief(i * step)})
	}
	return ticks
}

// path draws points; s is the scale of X.
func (s scale) path(y scale, points []Point) string {
	var b strings.Builder
	for i, q := range points {
		letter := 'L'
		if i == 0 {
			letter = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", letter, s.at(q.X), y.at(q.Y))
	}
	return b.String()
}

// brief writes a number for an axis.
func brief(v float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.of {
			return fmt.Sprintf("%.4g%s", v/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%.4g", v)
}

// LatencyPlot draws how long tasks took, as their creators see it, by percentile: one line
// for each run that has a distribution.
func LatencyPlot(results []*Result) Plot {
	const ms = 1e6
	p := Plot{
		Title: "How long tasks take, from their creation to their committed end",
		X: Axis{Label: "percentile", Log: true, Ticks: []Tick{
			{1, "0"}, {2, "50"}, {10, "90"}, {100, "99"}, {1000, "99.9"},
		}},
		Y: Axis{Label: "milliseconds", Log: true},
	}
	const most = 1000 // beyond the 99.9th percentile single tasks speak
	for _, r := range results {
		line := Line{Name: r.Title()}
		for _, q := range r.Observed.Percentiles {
			if beyond := 100 / (100 - q.Percentile); q.Percentile < 100 && beyond <= most {
				line.Points = append(line.Points, Point{beyond, float64(q.Ns) / ms})
			}
		}
		if len(line.Points) > 1 {
			p.Lines = append(p.Lines, line)
		}
	}
	return p
}

// Title names a run in few words.
func (r *Result) Title() string {
	load := fmt.Sprintf("%d in flight", r.InFlight)
	if r.Rate > 0 {
		load = fmt.Sprintf("%.0f/s", r.Rate)
	}
	title := fmt.Sprintf("%s, %s", r.Workload, load)
	if r.Payload >= 1<<10 {
		title += fmt.Sprintf(", %d KB", r.Payload>>10)
	}
	if r.Subscribers != targetSubscribers {
		title += fmt.Sprintf(", %d subs", r.Subscribers)
	}
	return title
}
