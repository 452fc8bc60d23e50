package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Load is what is asked of a host: tasks of one request, until there are enough.
type Load struct {
	Request task.Request
	// Mix, when set, is taken instead of Request: its requests in turn.
	Mix []task.Request
	// MayFail says that a task that fails is an end like any other.
	MayFail bool
	// Tasks is how many tasks are created. 0 = as many as For allows.
	Tasks int
	// For is how long tasks are created; those that run then are waited for. 0 = until
	// there are Tasks.
	For time.Duration
	// InFlight is how many tasks run at once: the end of one begins the next. Ignored with
	// a Rate. 0 = 1.
	InFlight int
	// Rate is how many tasks are begun per second, whatever becomes of those before.
	// 0 = InFlight decides.
	Rate float64
}

// Sample is what a load gave.
type Sample struct {
	Tasks, Steps int           // that have ended
	Failed       int           // of the tasks
	Took         time.Duration // from the first creation to the last end
	// Events counts the events of these tasks by name.
	Events map[string]int
	// Task and Step are from the engine's time stamps: from task.initialized to
	// task.completed or task.failed, and from step.started to step.completed.
	Task, Step *hdrhistogram.Histogram
	// Observed is from the call that creates a task, or with a rate from when it was due,
	// to when its end was committed and seen.
	Observed *hdrhistogram.Histogram
	// Reading is what it cost this process to read the log of the run once, afterwards.
	Reading Usage
}

// creators is how many goroutines create tasks of an open loop, and due how many tasks may
// be waiting for one of them. Latencies count from when a task was due, so a shortage of
// either is seen and not hidden.
const (
	creators = 512
	due      = 1 << 16
)

// errUnbounded is returned for a load without an end.
var errUnbounded = errors.New("a load needs a number of tasks or a time")

// Drive puts a load on a host and waits until every task has ended. It fails when one does
// not end well.
func Drive(ctx context.Context, s host.Service, l Load) (*Sample, error) {
	if l.Tasks <= 0 && l.For <= 0 {
		return nil, errUnbounded
	}
	health, err := s.Health(ctx)
	if err != nil {
		return nil, err
	}
	from := health.Store.LastSeq + 1
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	d := &driver{
		service: s, load: l, waiting: make(map[string]wait), early: make(map[string]ending), observed: newHistogram(), fail: fail,
	}
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { d.watch(watched, from) })
	d.began = time.Now()
	if l.Rate > 0 {
		d.open(ctx)
	} else {
		d.closed(ctx)
	}
	took := time.Since(d.began)
	stop()
	watching.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	sample := &Sample{Took: took, Observed: d.observed, Task: newHistogram(), Step: newHistogram(), Events: make(map[string]int)}
	if err := sample.read(ctx, s, from); err != nil {
		return nil, err
	}
	if want := int(d.begun.Load()); sample.Tasks != want {
		return nil, fmt.Errorf("the log has the ends of %d tasks, want %d", sample.Tasks, want)
	}
	return sample, nil
}

// driver is one call of Drive.
type driver struct {
	service host.Service
	load    Load
	fail    context.CancelCauseFunc
	began   time.Time
	begun   atomic.Int64 // tasks that were created, or are about to be
	mixed   atomic.Int64 // of them, those that have chosen their request

	mu       sync.Mutex
	waiting  map[string]wait   // tasks that run
	early    map[string]ending // ends that came before the answer to the creation, or of tasks of others
	observed *hdrhistogram.Histogram
}

// wait is what waits for the end of a task.
type wait struct {
	since time.Time
	done  func()
}

// ending is how and when a task has ended.
type ending struct {
	at  time.Time
	err error // nil = well
}

// more says whether another task is begun.
func (d *driver) more() bool {
	if d.load.For > 0 && time.Since(d.began) >= d.load.For {
		return false
	}
	if n := d.begun.Add(1); d.load.Tasks > 0 && n > int64(d.load.Tasks) {
		d.begun.Add(-1)
		return false
	}
	return true
}

// closed keeps so many tasks in flight.
func (d *driver) closed(ctx context.Context) {
	var workers sync.WaitGroup
	for range max(d.load.InFlight, 1) {
		workers.Go(func() {
			ended := make(chan struct{}, 1)
			for ctx.Err() == nil && d.more() {
				if !d.create(ctx, time.Now(), func() { ended <- struct{}{} }) {
					return
				}
				select {
				case <-ended:
				case <-ctx.Done():
				}
			}
		})
	}
	workers.Wait()
}

// open begins tasks by the clock.
func (d *driver) open(ctx context.Context) {
	times := make(chan time.Time, due)
	var workers, running sync.WaitGroup
	for range creators {
		workers.Go(func() {
			for at := range times {
				running.Add(1)
				if ctx.Err() != nil || !d.create(ctx, at, running.Done) {
					running.Done()
				}
			}
		})
	}
	every := time.Duration(float64(time.Second) / d.load.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for at := d.began; ctx.Err() == nil && d.more(); at = at.Add(every) {
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		times <- at
	}
	close(times)
	workers.Wait()
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }() // ends with the last task, or with what the watcher gives up
	select {
	case <-ended:
	case <-ctx.Done():
		d.abandon()
		<-ended
	}
}

// create begins one task; done is called at its end, unless create says false.
func (d *driver) create(ctx context.Context, since time.Time, done func()) bool {
	request := d.load.Request
	if n := len(d.load.Mix); n > 0 {
		request = d.load.Mix[(int(d.mixed.Add(1))-1)%n]
	}
	created, err := d.service.CreateTask(ctx, request)
	if err != nil {
		d.fail(err)
		return false
	}
	id := string(created.ID)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting[id] = wait{since, done}
	if e, ok := d.early[id]; ok {
		delete(d.early, id)
		d.settle(id, e)
	}
	return true
}

// end notes that a task has ended. Those of others, which the log has too, change nothing.
func (d *driver) end(id string, err error) {
	e := ending{time.Now(), err}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.waiting[id]; !ok {
		d.early[id] = e
		return
	}
	d.settle(id, e)
}

// settle is called with the lock held.
func (d *driver) settle(id string, e ending) {
	w := d.waiting[id]
	delete(d.waiting, id)
	if e.err != nil {
		d.fail(e.err)
	}
	record(d.observed, e.at.Sub(w.since))
	w.done()
}

// abandon lets go of the tasks that will not end.
func (d *driver) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, w := range d.waiting {
		delete(d.waiting, id)
		w.done()
	}
}

// watch reads the log for the ends of tasks.
func (d *driver) watch(ctx context.Context, from uint64) {
	var e eventv1.Event
	err := d.service.Events(ctx, host.EventQuery{From: from, Type: "task.*", Follow: true}, func(entry host.LogEntry) error {
		e.Reset()
		if err := proto.Unmarshal(entry.Encoded, &e); err != nil {
			return err
		}
		switch e.GetType() {
		case event.NameTaskCompleted:
			d.end(e.GetTaskId(), nil)
		case event.NameTaskFailed, event.NameTaskCancelled:
			if d.load.MayFail {
				d.end(e.GetTaskId(), nil)
				return nil
			}
			d.end(e.GetTaskId(), fmt.Errorf("%s: task %s: %s", e.GetType(), e.GetTaskId(), e.GetPayload()))
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		d.fail(err)
	}
}

// read takes the time stamps of the run from the log.
func (s *Sample) read(ctx context.Context, service host.Service, from uint64) error {
	type step struct{ task, name string }
	tasks, steps := make(map[string]int64), make(map[step]int64)
	before := Measure()
	var e eventv1.Event
	err := service.Events(ctx, host.EventQuery{From: from}, func(entry host.LogEntry) error {
		e.Reset()
		if err := proto.Unmarshal(entry.Encoded, &e); err != nil {
			return err
		}
		id := e.GetTaskId()
		if e.GetType() == event.NameTaskInitialized {
			tasks[id] = e.GetAt()
			return nil
		}
		began, ok := tasks[id]
		if !ok {
			return nil // a task from before this load
		}
		s.Events[e.GetType()]++
		switch e.GetType() {
		case event.NameTaskCompleted, event.NameTaskFailed:
			record(s.Task, time.Duration(e.GetAt()-began))
			delete(tasks, id)
			s.Tasks++
			if e.GetType() == event.NameTaskFailed {
				s.Failed++
			}
		case event.NameStepStarted:
			steps[step{id, e.GetStep()}] = e.GetAt()
		case event.NameStepCompleted:
			key := step{id, e.GetStep()}
			record(s.Step, time.Duration(e.GetAt()-steps[key]))
			delete(steps, key)
			s.Steps++
		}
		return nil
	})
	s.Reading = Measure().since(before)
	return err
}
