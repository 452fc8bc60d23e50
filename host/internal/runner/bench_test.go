package runner_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/runner"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// nothing is a store that says of every commit that it is durable.
type nothing struct {
	store.Store

	commits chan func(store.Commit, error)
	ended   chan struct{} // receives for every task that ends
}

// Live implements [store.Store].
func (nothing) Live(context.Context, func(task.ID, *store.Aggregate, error) error) error { return nil }

// Submit implements [store.Store].
func (s nothing) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	s.commits <- done
	if ws.Task != nil && ws.Task.Status.Terminal() {
		s.ended <- struct{}{}
	}
}

// echoes is a plugin that answers every attempt with the same result, each list at once.
type echoes struct {
	runner *runner.Runner
	orders chan []task.Report
}

// Dispatch implements runner.Plugins.
func (e echoes) Dispatch(instance string, as []*task.Assignment) {
	reports := make([]task.Report, len(as))
	for i, a := range as {
		reports[i] = task.Report{ID: a.ID, Instance: instance, Kind: task.ReportSucceeded, Output: []byte(`{"ok":true}`)}
	}
	e.orders <- reports
}

// Cancel implements runner.Plugins.
func (echoes) Cancel(string, task.AttemptID, string) {}

// Join implements runner.Plugins.
func (echoes) Join(string, bool) bool { return true }

// Leave implements runner.Plugins.
func (echoes) Leave(string) {}

// BenchmarkRunner runs tasks of five steps in a row, 256 at once, with nothing but the
// engine and the runner's loop: the store keeps nothing and attempts cost nothing. The
// numbers are per task.
func BenchmarkRunner(b *testing.B) {
	const inFlight = 256
	s := nothing{commits: make(chan func(store.Commit, error), 2*inFlight), ended: make(chan struct{}, 2*inFlight)}
	r := runner.New(runner.Options{
		Store: s, Now: time.Now, Logger: hclog.NewNullLogger(),
		Engine: engine.Host{Epoch: 1, CancelGrace: time.Second, Rand: func() float64 { return 0.5 }},
	})
	e := echoes{runner: r, orders: make(chan []task.Report, 2*inFlight)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, e) }()
	go func() {
		for done := range s.commits {
			done(store.Commit{}, nil)
		}
	}()
	go func() {
		for reports := range e.orders {
			r.Reports(reports)
		}
	}()
	r.InstanceReady(task.Instance{ID: "p#1", Plugin: "p", Version: "1.0.0", Capacity: 1 << 14, Offers: offers("p")})
	spec := template.Template{Name: "linear", Version: "1.0.0"}
	for i := range 5 {
		step := template.Step{Name: task.StepName(fmt.Sprintf("s%d", i)), Handler: task.HandlerRef{Plugin: "p", Handler: "do"}}
		if i > 0 {
			step.DependsOn = []task.Ordinal{task.Ordinal(i - 1)}
		}
		spec.Steps = append(spec.Steps, step)
	}
	tmpl, err := template.New(spec)
	if err != nil {
		b.Fatal(err)
	}
	at, n := time.Now(), uint64(0)
	create := func() {
		n++
		id := storetest.ID(at, n)
		agg := engine.New(task.Spec{
			ID: id, Template: tmpl.Ref(), Input: task.Value{Inline: []byte(`{"order":4711}`)}, CorrelationID: string(id), CreatedAt: at,
		}, tmpl)
		if err := r.Create(ctx, agg); err != nil {
			b.Error(err)
		}
	}
	for range inFlight {
		create()
	}
	b.ReportAllocs()
	for b.Loop() {
		<-s.ended
		create()
	}
	for range inFlight {
		<-s.ended
	}
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	close(s.commits)
	close(e.orders)
}
