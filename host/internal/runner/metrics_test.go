package runner_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const wait = 3 * time.Second
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 0)
		id := g.create(parse(t, "", "a, handler: p/do", "b, handler: p/do"))
		synctest.Wait()
		<-time.After(wait)
		m, err := g.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p := m.Plugins["p"]; p.Ready != 2 || p.OldestFor != wait || p.InFlight != 0 || p.QueueTime.Count != 0 {
			t.Errorf("while both wait: %+v, want 2 ready for %s and nothing in flight", p, wait)
		}
		if m.Live != 1 || m.Decisions == 0 || m.RoundTime.Count == 0 {
			t.Errorf("Metrics() = %+v, want 1 live task, decisions and rounds", m)
		}
		g.plugins.capacity("p#1", 1)
		g.end(id, task.Complete)
		if m, err = g.Metrics(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := m.Plugins["p"]
		if p.Ready != 0 || p.OldestFor != 0 || p.InFlight != 0 {
			t.Errorf("at the end: %+v, want nothing to do", p)
		}
		if p.QueueTime.Count != 2 || p.QueueTime.Sum < int64(2*wait) {
			t.Errorf("QueueTime = %+v, want that of 2 steps, %s each", p.QueueTime, wait)
		}
	})
}
