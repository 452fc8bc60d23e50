package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/cmd/tasker/cli/timeline"
	"github.com/tasker-engine/tasker/host/task"
)

// second is so many seconds into a timeline.
func second(s int) time.Time { return time.Date(2026, 5, 4, 12, 0, s, 0, time.UTC) }

func barOf(kind timeline.Kind, from, to int) timeline.Bar {
	return timeline.Bar{Kind: kind, From: second(from), To: second(to)}
}

func attempt(n uint32, from, to int, outcome task.AttemptStatus) timeline.Bar {
	b := barOf(timeline.Running, from, to)
	b.Attempt, b.Outcome = n, outcome
	return b
}

func open(b timeline.Bar) timeline.Bar {
	b.Open = true
	return b
}

func TestGantt(t *testing.T) {
	drawn := &timeline.Timeline{
		From: second(0), To: second(20), Open: true,
		Pauses: []timeline.Bar{barOf(timeline.Parked, 4, 8)},
		Rows: []timeline.Row{
			{Step: "validate", Status: task.StepComplete, Bars: []timeline.Bar{
				barOf(timeline.Ready, 0, 2), attempt(1, 2, 6, task.AttemptSucceeded),
			}},
			{Step: "charge", Status: task.StepWaitingForRetry, Bars: []timeline.Bar{
				barOf(timeline.Blocked, 0, 6), attempt(1, 6, 10, task.AttemptFailed), barOf(timeline.Backoff, 10, 12),
				attempt(2, 12, 16, task.AttemptLost), open(barOf(timeline.Backoff, 16, 20)),
			}},
			{Step: "ship", Status: task.StepInProgress, Bars: []timeline.Bar{
				barOf(timeline.Blocked, 0, 6), open(attempt(1, 6, 20, task.AttemptRunning)),
			}},
			{Step: "notify", Status: task.StepCancelled, Bars: []timeline.Bar{
				barOf(timeline.Blocked, 0, 10), attempt(11, 10, 14, task.AttemptCancelled), barOf(timeline.Parked, 14, 16),
			}},
			{Step: "optional", Status: task.StepSkipped},
		},
	}
	want := []string{
		"          |0s            7.0s                 20.0s|",
		"validate  |::::1=======                            | complete 4.0s",
		"charge    |............1======x~~~~2======!~~~~~~~>| waiting_for_retry 8.0s in 2",
		"ship      |............1==========================>| in_progress 14.0s",
		"notify    |....................11=====/????        | cancelled 4.0s",
		"optional  |                                        | skipped",
		"(paused)  |        ????????                        |",
		"",
		". waits for other steps   : ready: waits for a slot, a plugin or its task",
		"~ backs off before its next attempt   ? waits for an operator",
		"= runs, from the attempt's number on   x failed   ! lost   / cancelled",
		"> goes on",
	}
	if diff := cmp.Diff(want, drawGantt(drawn, 80, true)); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, strings.Join(drawGantt(drawn, 80, true), "\n"))
	}
	if got := strings.Join(drawGantt(drawn, 80, false), "\n"); !strings.Contains(got, "|░░░░1███████  ") {
		t.Errorf("with all characters:\n%s", got)
	}
}

// TestGanttFits: whatever is drawn keeps to the width, and to ASCII when told to.
func TestGanttFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		width := rapid.IntRange(48, 200).Draw(rt, "width")
		end := rapid.IntRange(0, 1000).Draw(rt, "end")
		drawn := &timeline.Timeline{From: second(0), To: second(end)}
		for i := range rapid.IntRange(1, 5).Draw(rt, "rows") {
			r := timeline.Row{Step: strings.Repeat("s", rapid.IntRange(1, 64).Draw(rt, "name")) + fmt.Sprint(i), Status: task.StepWaitingForRetry}
			at := 0
			for n := range rapid.IntRange(0, 12).Draw(rt, "bars") {
				to := rapid.IntRange(at, end).Draw(rt, "to")
				b := attempt(uint32(n*n), at, to, task.AttemptFailed)
				b.Kind = rapid.SampledFrom([]timeline.Kind{timeline.Blocked, timeline.Ready, timeline.Running, timeline.Backoff, timeline.Parked, timeline.Waiting}).Draw(rt, "kind")
				r.Bars, at = append(r.Bars, b), to
			}
			drawn.Rows = append(drawn.Rows, r)
		}
		lines := drawGantt(drawn, width, true)
		for _, line := range lines {
			if columns(line) > width {
				rt.Errorf("%d columns, want at most %d: %s", columns(line), width, line)
			}
			if strings.Trim(line, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz{|}~") != "" {
				rt.Errorf("not ASCII: %q", line)
			}
		}
		first := strings.Index(lines[0], "|")
		for _, line := range lines[1 : len(drawn.Rows)+1] {
			if strings.Index(line, "|") != first {
				rt.Errorf("the bars do not begin below the scale:\n%s", strings.Join(lines, "\n"))
			}
		}
	})
}
