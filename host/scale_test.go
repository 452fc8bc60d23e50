package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// layers writes a template of width*depth steps, in which every step depends on fan
// steps of the layer above.
func layers(width, depth, fan int) string {
	lines := make([]string, 0, width*depth)
	for d := range depth {
		for w := range width {
			var deps []string
			for f := range fan {
				if d > 0 {
					deps = append(deps, fmt.Sprintf("s%d_%d", d-1, (w+f)%width))
				}
			}
			lines = append(lines, fmt.Sprintf("s%d_%d <- %s | handler: mock/noop", d, w, strings.Join(deps, ", ")))
		}
	}
	return graph(lines...)
}

// fanIn is one step below n others.
func fanIn(n int) string {
	names, lines := make([]string, n), make([]string, n+1)
	for i := range n {
		names[i] = fmt.Sprintf("s%d", i)
		lines[i] = names[i] + " | handler: mock/noop"
	}
	lines[n] = "all <- " + strings.Join(names, ", ")
	return graph(lines...)
}

// awaitEnd waits for the event that ends a task, without reading the task meanwhile.
func awaitEnd(tb testing.TB, h *hosttest.Host, id task.ID) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hosttest.Patience)
	defer cancel()
	from, err := h.Health(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	q := host.EventQuery{Type: "task.*", From: from.Store.LastSeq, Follow: true}
	if v := h.View(id); v.Status.Terminal() {
		return
	}
	err = h.Events(ctx, q, func(entry host.LogEntry) error {
		e, err := hosttest.DecodeEvent(entry)
		if err == nil && e.TaskID == id && (e.Type == "task.completed" || e.Type == "task.failed") {
			return errSeen
		}
		return err
	})
	if !errors.Is(err, errSeen) {
		tb.Fatalf("task %s did not end: %v", id, err)
	}
}

// errSeen ends the reading of events at the one that was waited for.
var errSeen = errors.New("seen")

func TestScale(t *testing.T) {
	tests := []struct{ name, template string }{
		{"2,000 steps, 6,000 edges", layers(40, 51, 3)},
		{"fan-in of 1,100", fanIn(1100)},
		{"chain of 500", layers(1, 500, 1)},
	}
	h := hosttest.Start(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := h.With(t)
			id := h.Create(test.template)
			awaitEnd(t, h, id)
			v := h.Checked(id)
			h.WantTask(v, task.Complete)
			for i := range v.Steps {
				if n := v.Steps[i].Attempts; n != 1 {
					t.Errorf("step %s took %d attempts", v.Steps[i].Name, n)
				}
			}
		})
	}
}

// BenchmarkSteps measures what a step of a task costs by the size of its task: with
// 2,000 steps at most twice as much as with 20.
func BenchmarkSteps(b *testing.B) {
	for _, depth := range []int{2, 20, 200} {
		steps := 10 * depth
		template := layers(10, depth, 3)
		b.Run(fmt.Sprintf("steps=%d", steps), func(b *testing.B) {
			h := hosttest.Start(b)
			h.AwaitPlugin("mock")
			var end task.ID
			tasks := max(1, b.N/steps)
			b.ResetTimer()
			for range tasks {
				end = h.Create(template)
				awaitEnd(b, h, end)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(tasks*steps), "ns/step")
		})
	}
}
