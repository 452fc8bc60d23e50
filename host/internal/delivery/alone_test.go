package delivery_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/company"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// suspicious delivers the first event of a log until the next end of its process would put
// it aside, and connects an instance that has steps in flight and plays its part.
func suspicious(w *world, play func(p *plugin, e *pluginv1.SequencedEvent) bool) (j *journal, steps *company.Company) {
	w.tb.Helper()
	j = &journal{}
	for n := range delivery.MaxKills - 1 {
		name := fmt.Sprintf("p#%d", n)
		w.instance(name, handler(j, func(p *plugin, _ *pluginv1.SequencedEvent) bool { p.err = errDied; return false }))
		w.Connect(name, []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		w.Lost(name)
		synctest.Wait()
	}
	must(w, "before", j.all(), "1/1 1/2")
	steps = company.New(func() { go w.Room("p#9") })
	w.mu.Lock()
	w.companies["p#9"] = steps
	w.mu.Unlock()
	if !steps.Join("steps", false) {
		w.tb.Fatal("a new process has no room")
	}
	w.instance("p#9", handler(j, play))
	w.Connect("p#9", []delivery.Subscription{sub("p/all")})
	synctest.Wait()
	return j, steps
}

func must(w *world, what, got, want string) {
	w.tb.Helper()
	if got != want {
		w.tb.Fatalf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}

// TestSuspectedEventsGoAlone: an event that the next end of its process puts aside waits
// until nothing else is in flight there, and nothing is begun beside it.
func TestSuspectedEventsGoAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started")
		handled := make(chan struct{})
		j, steps := suspicious(w, func(p *plugin, _ *pluginv1.SequencedEvent) bool {
			select {
			case <-handled:
			case <-p.ctx.Done():
			}
			return true
		})
		w.add("step.started")
		synctest.Wait()
		must(w, "beside steps", j.all(), "1/1 1/2")
		if steps.Join("steps", false) {
			t.Error("one more step comes in before the event")
		}
		steps.Leave("steps")
		synctest.Wait()
		must(w, "without steps", j.all(), "1/1 1/2 1/3")
		if steps.Join("steps", false) {
			t.Error("a step comes in beside the event")
		}
		close(handled)
		wait(pause)
		if !steps.Join("steps", false) {
			t.Error("no step comes in when the event is done")
		}
		must(w, "in the end", j.all(), "1/1 1/2 1/3 2/1")
		must(w, "told", strings.Join(w.told(), "\n"), "")
		steps.Leave("steps")
		wait(2 * time.Second) // the cursor is written
		if c := m.cursor("p/all"); c.Through != 2 || len(c.Failing) != 0 {
			t.Errorf("the cursor is %+v, want nothing to fail", c)
		}
		if !steps.Close() {
			t.Error("somebody is in, or waits, although all is done")
		}
	})
}

// TestSuspectedEventsGiveUp: an event that waits to be alone and is not to be sent any more
// leaves the process to others.
func TestSuspectedEventsGiveUp(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, w *world)
	}{
		{"paused", func(t *testing.T, w *world) {
			t.Helper()
			if err := w.Pause(t.Context(), "p/all", task.Operation{By: "ann"}); err != nil {
				t.Error(err)
			}
		}},
		{"passed over", func(t *testing.T, w *world) {
			t.Helper()
			if _, err := w.Rewind(t.Context(), "p/all", delivery.Position{Seq: 2}); err != nil {
				t.Error(err)
			}
		}},
		{"narrowed", func(_ *testing.T, w *world) {
			w.Rebind([]delivery.Binding{{Subscription: "p/all", Source: "tasker.yaml", Events: []string{"task.failed"}, Enabled: true}})
		}},
		{"drained", func(_ *testing.T, w *world) { w.Disconnect("p#9") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, w := bubble(t)
				w.add("task.started")
				j, steps := suspicious(w, func(*plugin, *pluginv1.SequencedEvent) bool { return true })
				if steps.Join("steps", false) {
					t.Fatal("one more step comes in before the event")
				}
				tt.change(t, w)
				synctest.Wait()
				steps.Leave("steps") // where nobody knows before its turn
				wait(pause)
				if !steps.Join("steps", false) {
					t.Error("no step comes in, although no event waits")
				}
				must(w, "delivered", j.all(), "1/1 1/2")
				steps.Leave("steps")
				if !steps.Close() {
					t.Error("somebody is in, or waits, although all is done")
				}
			})
		})
	}
}
