package bench_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/bench"
)

// TestPlot: plots are well-formed documents with a path for each line, whatever is drawn.
func TestPlot(t *testing.T) {
	const paths = `fill="none"`
	for _, tt := range []struct {
		name  string
		plot  bench.Plot
		lines int
		texts []string
	}{
		{"nothing", bench.Plot{Title: "a < b & c"}, 0, []string{"a &lt; b &amp; c"}},
		{"one point", bench.Plot{Lines: []bench.Line{{Name: "one", Points: []bench.Point{{1, 1}}}}}, 1, []string{">one<"}},
		{"all alike", bench.Plot{Y: bench.Axis{Log: true}, Lines: []bench.Line{{Name: "flat", Points: []bench.Point{{0, 5}, {1, 5}}}}}, 1, nil},
		{"large", bench.Plot{Lines: []bench.Line{{Name: "up", Points: []bench.Point{{0, 0}, {1e6, 2.5e9}}}}}, 1, []string{">1M<", ">2.5G<"}},
		{"latencies", bench.LatencyPlot([]*bench.Result{
			{Workload: "linear", InFlight: 64, Payload: 10 << 10, Subscribers: 3, Observed: bench.Latency{Percentiles: []bench.Percentile{
				{Percentile: 0, Ns: 1e6, Count: 1}, {Percentile: 50, Ns: 2e6, Count: 5}, {Percentile: 99, Ns: 9e6, Count: 9}, {Percentile: 100, Ns: 1e7, Count: 10},
			}}},
			{Workload: "rate", Rate: 100, Subscribers: 1},
		}), 1, []string{"linear, 64 in flight, 10 KB, 3 subs", ">99.9<"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := tt.plot.WriteSVG(&out); err != nil {
				t.Fatal(err)
			}
			svg := out.String()
			if n := strings.Count(svg, paths); n != tt.lines {
				t.Errorf("%d lines, want %d", n, tt.lines)
			}
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("places that are none:\n%s", svg)
			}
			for _, text := range tt.texts {
				if !strings.Contains(svg, text) {
					t.Errorf("%q is missing:\n%s", text, svg)
				}
			}
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
