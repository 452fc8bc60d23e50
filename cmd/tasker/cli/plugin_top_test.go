package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// TestTop: what is between two glances, and how it is drawn.
func TestTop(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plugin := func(name string, pid int, finished uint64, cpu time.Duration) host.PluginInfo {
		p := host.PluginInfo{Name: name, Version: "1.0.0", State: task.PluginReady, PID: pid, Capacity: 16, InFlight: 3, Finished: finished}
		p.Usage = &host.PluginUsage{Memory: 12 << 20, CPUTime: cpu, OpenFiles: 11, Threads: 7}
		return p
	}
	before := glance{
		at:      begin,
		plugins: []host.PluginInfo{plugin("busy", 11, 100, time.Second), plugin("calm", 12, 7, time.Second), plugin("fresh", 13, 50, time.Minute)},
		events:  map[string]eventCount{"calm": {delivered: 10}},
	}
	now := glance{
		at: begin.Add(2 * time.Second),
		plugins: []host.PluginInfo{
			plugin("calm", 12, 7, time.Second), plugin("fresh", 14, 3, 200*time.Millisecond), plugin("busy", 11, 700, 4*time.Second),
			{Name: "gone", State: task.PluginStopped},
		},
		events: map[string]eventCount{"calm": {delivered: 30, behind: 1204}},
	}
	rows := between(before, now)
	type line struct {
		name          string
		steps, events float64
		cpu           float64
		behind        uint64
	}
	var got []line
	for _, r := range rows {
		got = append(got, line{r.Name, r.StepsPerSecond, r.EventsPerSecond, value(r.CPUPercent), r.BehindEvents})
	}
	want := []line{
		{"busy", 300, 0, 150, 0}, {"fresh", 1.5, 0, 10, 0}, // fresh is another process than before
		{"calm", 0, 10, 0, 1204}, {"gone", 0, 0, 0, 0},
	}
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("between (-got +want):\n%s", diff)
	}

	screen := &screen{size: func() (int, int) { return 80, 5 }}
	frame := topFrame(rows, screen, now.at)
	lines := strings.Split(frame, "\r\n")
	if len(lines) != 5 || lines[4] != "\x1b[J" { // four lines, and the cursor below them
		t.Errorf("a frame for five lines is %q", lines)
	}
	for _, l := range lines {
		if plain := strings.NewReplacer("\x1b[H", "", "\x1b[K", "", "\x1b[J", "").Replace(l); columns(plain) > 80 {
			t.Errorf("line %q is wider than the screen", plain)
		}
	}
	if !strings.Contains(lines[3], "busy") || !strings.Contains(lines[3], "3/16") || !strings.Contains(lines[3], "150.0") {
		t.Errorf("the first plugin is drawn as %q", lines[3])
	}
}
