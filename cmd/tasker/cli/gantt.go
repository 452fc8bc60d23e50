package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/cmd/tasker/cli/timeline"
	"github.com/tasker-engine/tasker/host/task"
)

// stroke is how a kind of bar is drawn. Where several fall into one cell, the weightier
// is seen.
type stroke struct {
	kind         timeline.Kind
	ascii, other string
	weight       int
	means        string
}

// strokes lists the kinds in the order of the legend.
func strokes() []stroke {
	return []stroke{
		{timeline.Waiting, ".", "·", 1, "waiting"},
		{timeline.Blocked, ".", "·", 1, "waits for other steps"},
		{timeline.Ready, ":", "░", 2, "ready: waits for a slot, a plugin or its task"},
		{timeline.Backoff, "~", "~", 3, "backs off before its next attempt"},
		{timeline.Parked, "?", "?", 4, "waits for an operator"},
		{timeline.Running, "=", "█", 5, "runs, from the attempt's number on"},
	}
}

// Marks at the end of an attempt that did not succeed, and after what goes on.
const (
	markFailed    = "x"
	markLost      = "!"
	markCancelled = "/"
	markOpen      = ">"
)

// The least that names and bars get of a line.
const (
	minName = 8
	maxName = 28
	minBars = 10
)

// drawGantt draws a timeline in so many columns: a scale, a line per step, and what the
// characters mean.
func drawGantt(t *timeline.Timeline, width int, ascii bool) []string {
	names, ends := 0, 0
	tails := make([]string, len(t.Rows))
	for i := range t.Rows {
		names = max(names, columns(t.Rows[i].Step))
		tails[i] = rowTail(&t.Rows[i])
		ends = max(ends, columns(tails[i]))
	}
	names = min(max(names, minName), maxName, max(width/4, minName))
	ends = min(ends, max(width*7/20, minName))
	g := &gantt{timeline: t, ascii: ascii, cells: max(width-names-ends-len("  ")-2*len("|")-len(" "), minBars)}
	lines := []string{strings.TrimRight(strings.Repeat(" ", names+2)+"|"+g.scale()+"|", " ")}
	for i := range t.Rows {
		r := &t.Rows[i]
		line := pad(cut(oneLine(r.Step), names), names) + "  |" + g.row(r) + "| " + cut(tails[i], ends)
		lines = append(lines, strings.TrimRight(line, " "))
	}
	if p := g.pauses(); p != "" {
		lines = append(lines, pad("(paused)", names)+"  |"+p+"|")
	}
	return append(append(lines, ""), g.legend(width)...)
}

// rowTail is how a step stands, and what came of its attempts when there were several.
func rowTail(r *timeline.Row) string {
	text := string(r.Status)
	attempts := 0
	var spent time.Duration
	for i := range r.Bars {
		if r.Bars[i].Kind == timeline.Running {
			attempts++
			spent += r.Bars[i].To.Sub(r.Bars[i].From)
		}
	}
	if attempts > 0 {
		text += " " + seconds(spent)
	}
	if attempts > 1 {
		text += fmt.Sprintf(" in %d", attempts)
	}
	return text
}

// gantt draws bars in cells of equal time.
type gantt struct {
	timeline *timeline.Timeline
	ascii    bool
	cells    int
	seen     []string // marks and strokes that were drawn
}

// cell is the cell that an instant lies in.
func (g *gantt) cell(at time.Time) int {
	whole := g.timeline.To.Sub(g.timeline.From)
	if whole <= 0 {
		return 0
	}
	n := int(float64(at.Sub(g.timeline.From)) / float64(whole) * float64(g.cells))
	return min(max(n, 0), g.cells-1)
}

// scale is a line of times since the beginning.
func (g *gantt) scale() string { return g.scaleIn(seconds) }

// scaleIn is a scale in units of one's own.
func (g *gantt) scaleIn(unit func(time.Duration) string) string {
	whole := g.timeline.To.Sub(g.timeline.From)
	last := unit(whole)
	line := "0s"
	const step = 14 // columns between two times
	for at := step; at+step <= g.cells; at += step {
		text := unit(time.Duration(float64(whole) * float64(at) / float64(g.cells)))
		line = pad(line, at) + text
	}
	if columns(line)+columns(last)+1 > g.cells {
		return pad(cut(line, g.cells), g.cells)
	}
	return pad(line, g.cells-columns(last)) + last
}

// row draws the bars of a step.
func (g *gantt) row(r *timeline.Row) string {
	cells := slices.Repeat([]string{" "}, g.cells)
	weights := make([]int, g.cells)
	for i := range r.Bars {
		b := &r.Bars[i]
		at := slices.IndexFunc(strokes(), func(s stroke) bool { return s.kind == b.Kind })
		if at < 0 {
			continue
		}
		s := strokes()[at]
		from, to := g.span(b)
		for c := from; c <= to; c++ {
			if s.weight >= weights[c] {
				cells[c], weights[c] = g.char(s), s.weight
			}
		}
		g.note(s.means)
		if b.Kind == timeline.Running {
			g.label(cells, b, from, to)
		}
		if b.Open && b.Kind != timeline.Running {
			cells[to] = markOpen
			g.note(markOpen)
		}
	}
	return strings.Join(cells, "")
}

// span is the first and the last cell of a bar. One that ends where a cell begins does not
// reach into it.
func (g *gantt) span(b *timeline.Bar) (from, to int) {
	from, to = g.cell(b.From), g.cell(b.To)
	if whole := g.timeline.To.Sub(g.timeline.From); to > from && whole > 0 && !b.Open && b.To.Before(g.timeline.To) {
		to = g.cell(b.To.Add(-1))
	}
	return from, max(from, to)
}

// label writes the number of an attempt at its beginning and how it ended at its end.
func (g *gantt) label(cells []string, b *timeline.Bar, from, to int) {
	mark := ""
	switch {
	case b.Open:
		mark = markOpen
	case b.Outcome == task.AttemptFailed || b.Outcome == task.AttemptTimedOut:
		mark = markFailed
	case b.Outcome == task.AttemptLost:
		mark = markLost
	case b.Outcome == task.AttemptCancelled:
		mark = markCancelled
	}
	number := fmt.Sprint(b.Attempt)
	if b.Attempt > 0 && len(number) <= to-from+1 {
		for i := range number {
			cells[from+i] = number[i : i+1]
		}
	}
	if mark != "" && (to > from || b.Attempt == 0 || len(number) > 1) {
		cells[to] = mark
	}
	if mark != "" {
		g.note(mark)
	}
}

func (g *gantt) char(s stroke) string {
	if g.ascii {
		return s.ascii
	}
	return s.other
}

func (g *gantt) note(what string) {
	if !slices.Contains(g.seen, what) {
		g.seen = append(g.seen, what)
	}
}

// pauses draws when the task was held, empty when it never was.
func (g *gantt) pauses() string {
	if len(g.timeline.Pauses) == 0 {
		return ""
	}
	r := timeline.Row{Bars: g.timeline.Pauses}
	return g.row(&r)
}

// legend says what the characters mean, as far as they occur.
func (g *gantt) legend(width int) []string {
	var parts []string
	for _, s := range strokes() {
		if slices.Contains(g.seen, s.means) {
			parts = append(parts, g.char(s)+" "+s.means)
		}
	}
	for _, m := range []struct{ mark, means string }{
		{markFailed, "failed"},
		{markLost, "lost"},
		{markCancelled, "cancelled"},
		{markOpen, "goes on"},
	} {
		if slices.Contains(g.seen, m.mark) {
			parts = append(parts, m.mark+" "+m.means)
		}
	}
	var lines []string
	line := ""
	for _, p := range parts {
		if line != "" && columns(line)+columns(p)+3 > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += "   "
		}
		line += p
	}
	return append(lines, line)
}
