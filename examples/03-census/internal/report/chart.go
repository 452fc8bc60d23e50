package report

import "math"

// Charts are laid out here, in the units of their viewBox, and drawn by the templates of page.html.

// bars is a chart of horizontal bars, one row for each thing, each bar made of segments.
type bars struct {
	ID, Title, Desc string
	Width, Height   float64
	PlotX           float64 // where the bars begin, right of the labels
	AxisY           float64
	Rows            []row
	Ticks           []tick
	Legend          []legend
}

type row struct {
	Label, Value string
	Y, LabelX    float64
	ValueX       float64
	Segments     []segment
}

type segment struct {
	X, W         float64
	Class, Title string
}

type tick struct {
	At    float64
	Label string
}

type legend struct{ Class, Label string }

// datum is what a row shows: its label and the value of each series.
type datum struct {
	label string
	value string // printed at the end of the bar
	parts []part
}

// part is the share that one series has in a bar.
type part struct {
	size  float64
	title string
}

const (
	chartWidth = 960
	rowHeight  = 24
	barHeight  = 16
)

// newBars lays out data, with one class and one legend entry for each series. No legend is drawn for one series.
func newBars(id, title, desc string, labelWidth float64, series []legend, data []datum) bars {
	c := bars{ID: id, Title: title, Desc: desc, Width: chartWidth, PlotX: labelWidth}
	if len(series) > 1 {
		c.Legend = series
	}
	longest := 0.0
	for _, d := range data {
		sum := 0.0
		for _, p := range d.parts {
			sum += p.size
		}
		longest = max(longest, sum)
	}
	step, end := scale(longest)
	plot := chartWidth - labelWidth - 70
	for i, d := range data {
		r := row{Label: d.label, Value: d.value, Y: float64(i * rowHeight), LabelX: labelWidth - 10}
		x := labelWidth
		for i, l := range series {
			p := d.parts[i]
			w := p.size / end * plot
			if w > 0 {
				r.Segments = append(r.Segments, segment{X: tenth(x), W: tenth(w), Class: l.Class, Title: p.title})
			}
			x += w
		}
		r.ValueX = tenth(x + 6)
		c.Rows = append(c.Rows, r)
	}
	c.AxisY = float64(len(data) * rowHeight)
	c.Height = c.AxisY + 22
	for v := 0.0; v <= end+step/2; v += step {
		c.Ticks = append(c.Ticks, tick{At: tenth(labelWidth + v/end*plot), Label: short(v)})
	}
	return c
}

// columns is a histogram.
type columns struct {
	ID, Title, Desc string
	Width, Height   float64
	PlotX, PlotEnd  float64
	BaseY           float64
	Unit            string // what the numbers below the columns are
	UnitX, UnitY    float64
	Columns         []column
	Ticks           []tick
}

type column struct {
	X, Y, W, H   float64
	Mid          float64
	Label, Value string
	ValueY       float64
	LabelY       float64
	Title        string
	Class        string
}

// bin is one column of a histogram.
type bin struct {
	label string
	count int
	title string
	class string
}

func newColumns(id, title, desc, unit string, bins []bin) columns {
	const plotX, top, plotHeight = 56.0, 22.0, 220.0
	c := columns{
		ID: id, Title: title, Desc: desc, Unit: unit, Width: chartWidth, PlotX: plotX, PlotEnd: chartWidth,
		BaseY: top + plotHeight, Height: top + plotHeight + 46,
	}
	c.UnitX, c.UnitY = (plotX+chartWidth)/2, c.BaseY+40
	highest := 0.0
	for _, b := range bins {
		highest = max(highest, float64(b.count))
	}
	step, end := scale(highest)
	slot := (chartWidth - plotX) / float64(max(len(bins), 1))
	for i, b := range bins {
		h := float64(b.count) / end * plotHeight
		x := plotX + float64(i)*slot
		c.Columns = append(c.Columns, column{
			X: tenth(x + slot*0.1), W: tenth(slot * 0.8), Y: tenth(c.BaseY - h), H: tenth(h), Mid: tenth(x + slot/2),
			Label: b.label, LabelY: c.BaseY + 18, Value: thousands(b.count), ValueY: tenth(c.BaseY - h - 6), Title: b.title, Class: b.class,
		})
	}
	for v := 0.0; v <= end+step/2; v += step {
		c.Ticks = append(c.Ticks, tick{At: tenth(c.BaseY - v/end*plotHeight), Label: short(v)})
	}
	return c
}

// scale chooses a round step and the multiple of it that covers a value, with three to six steps.
func scale(highest float64) (step, end float64) {
	if highest <= 0 {
		return 1, 1
	}
	raw := highest / 5
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if step = m * unit; step >= raw {
			break
		}
	}
	return step, step * math.Ceil(highest/step)
}

// tenth rounds a coordinate, which keeps the page small.
func tenth(v float64) float64 { return math.Round(v*10) / 10 }
