package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// point is one point of the curve.
type point struct {
	tasks     int
	took      time.Duration
	resident  int64 // bytes of the host's memory, the mapped file included
	anonymous int64 // without it
	file      int64 // bytes of the store
}

const csvHead = "tasks,seconds,resident_bytes,anonymous_bytes,file_bytes"

func (p point) csv() string {
	return fmt.Sprintf("%d,%.1f,%d,%d,%d", p.tasks, p.took.Seconds(), p.resident, p.anonymous, p.file)
}

// measure takes a point. Memory is what Linux says of this process.
func measure(store string, tasks int, took time.Duration) (point, error) {
	p := point{tasks: tasks, took: took}
	info, err := os.Stat(store)
	if err != nil {
		return p, err
	}
	p.file = info.Size()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return p, fmt.Errorf("memory is measured on Linux only: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			p.resident = kib << 10
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			p.anonymous = kib << 10
		}
	}
	return p, nil
}

// series are the lines of the curve.
func series() []struct {
	name, colour string
	of           func(point) int64
} {
	return []struct {
		name, colour string
		of           func(point) int64
	}{
		{"resident memory", "#1f77b4", func(p point) int64 { return p.resident }},
		{"anonymous memory", "#2ca02c", func(p point) int64 { return p.anonymous }},
		{"file", "#d62728", func(p point) int64 { return p.file }},
	}
}

// mean of a part of a line.
func mean(part []point, of func(point) int64) float64 {
	sum := 0.0
	for _, p := range part {
		sum += float64(of(p))
	}
	return sum / float64(max(len(part), 1))
}

// judge compares the last third of each line with the middle one; the first is warm-up.
func judge(curve []point, out io.Writer) error {
	third := len(curve) / 3
	if third == 0 {
		return fmt.Errorf("%d points of the curve are too few: run more tasks", len(curve))
	}
	middle, last := curve[third:2*third], curve[2*third:]
	var grown []string
	for _, s := range series() {
		m, l := mean(middle, s.of), mean(last, s.of)
		_, _ = fmt.Fprintf(out, "%s: %.1f MiB in the middle third, %.1f MiB in the last, x %.2f\n", s.name, m/(1<<20), l/(1<<20), l/m)
		if l > maxGrowth*m {
			grown = append(grown, s.name)
		}
	}
	end := curve[len(curve)-1]
	_, _ = fmt.Fprintf(out, "%d tasks of %d steps in %s, %.0f steps/s\n",
		end.tasks, stepsOfTask, end.took.Round(time.Second), float64(end.tasks*stepsOfTask)/end.took.Seconds())
	if len(grown) > 0 {
		return fmt.Errorf("grew by more than a fifth from the middle third to the last: %s", strings.Join(grown, ", "))
	}
	return nil
}

// The picture, in pixels.
const (
	width, height = 760, 320
	left, bottom  = 70, 40
	right, top    = 20, 20
)

// draw makes an SVG of the curve.
func draw(curve []point) []byte {
	most := int64(1)
	for _, p := range curve {
		for _, s := range series() {
			most = max(most, s.of(p))
		}
	}
	tasks := max(curve[len(curve)-1].tasks, 1)
	x := func(n int) float64 { return left + float64(n)/float64(tasks)*(width-left-right) }
	y := func(v int64) float64 { return height - bottom - float64(v)/float64(most)*(height-bottom-top) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	const lines = 4
	for i := range int64(lines + 1) {
		v := most * i / lines
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", left, width-right, y(v), y(v))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%d MiB</text>`+"\n", left-6, y(v)+4, v>>20)
		n := int(int64(tasks) * i / lines)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), height-bottom+18, n)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">tasks</text>`+"\n", width/2, height-6)
	for i, s := range series() {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, s.colour)
		for _, p := range curve {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(p.tasks), y(s.of(p)))
		}
		fmt.Fprintf(&b, `"/>`+"\n"+`<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+10+i*150, top-6, s.colour, s.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
