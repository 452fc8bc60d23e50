package conform

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// watcher reads a Watch stream.
type watcher struct {
	mu      sync.Mutex
	said    []*pluginv1.Status
	times   []time.Time
	changed chan struct{} // closed and replaced with each status
	err     error
}

// watch opens a Watch stream.
func (s *session) watch(ctx context.Context) (*watcher, error) {
	stream, err := s.plugin.Watch(ctx, &pluginv1.WatchRequest{})
	if err != nil {
		return nil, s.callError("Watch", err)
	}
	w := &watcher{changed: make(chan struct{})}
	go w.read(stream)
	return w, nil
}

func (w *watcher) read(stream grpc.ServerStreamingClient[pluginv1.WatchResponse]) {
	for {
		got, err := stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
		} else {
			w.said, w.times = append(w.said, got.GetStatus()), append(w.times, time.Now())
		}
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until a status is accepted, and returns it.
func (w *watcher) await(ctx context.Context, s *session, what string, d time.Duration, ok func(*pluginv1.Status) bool) (*pluginv1.Status, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for seen := 0; ; {
		w.mu.Lock()
		news, changed, err := w.said[seen:], w.changed, w.err
		w.mu.Unlock()
		for _, st := range news {
			seen++
			if ok(st) {
				return st, nil
			}
		}
		if err != nil {
			return nil, s.callError("Watch", err)
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, fmt.Errorf("watch: no status %s within %s", what, d)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// awaitInFlight waits until the plugin says that it holds an attempt. The first status of a
// stream comes at once, so it asks with new ones.
func (s *session) awaitInFlight(ctx context.Context) error {
	ctx, cancel := s.starting(ctx)
	defer cancel()
	const pause = 20 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		now, err := s.status(ctx)
		if err != nil {
			return fmt.Errorf("waiting until the attempt runs (in_flight 1): %w", err)
		}
		if now.GetInFlight() > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("an attempt was sent, and Watch does not say in_flight 1 within %s", s.t.opts.StartTimeout)
		}
	}
}

// status returns the first status of a new Watch stream.
func (s *session) status(ctx context.Context) (*pluginv1.Status, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.plugin.Watch(ctx, &pluginv1.WatchRequest{})
	if err != nil {
		return nil, s.callError("Watch", err)
	}
	got, err := stream.Recv()
	if err != nil {
		return nil, s.callError("Watch", err)
	}
	return got.GetStatus(), nil
}

// checkFirst waits for the first status of a plugin that does nothing.
func checkFirst(ctx context.Context, t *trial) error {
	s, err := t.ready(ctx, launch{})
	if err != nil {
		return err
	}
	w, err := s.watch(ctx)
	if err != nil {
		return err
	}
	st, err := w.await(ctx, s, "at all", t.opts.StartTimeout, func(*pluginv1.Status) bool { return true })
	if err != nil {
		return err
	}
	switch st.GetState() {
	case pluginv1.State_STATE_READY, pluginv1.State_STATE_UNSPECIFIED:
	case pluginv1.State_STATE_DEGRADED:
		if st.GetMessage() == "" {
			t.failf("the first status is STATE_DEGRADED without a message")
		}
	default:
		t.failf("the first status is %s: want STATE_READY", st.GetState())
	}
	if st.GetInFlight() != 0 {
		t.failf("the first status tells of %d attempts: there are none", st.GetInFlight())
	}
	t.sawf("%s", st.GetState())
	return nil
}

// Ticks that are waited for, and the longest silence between them that is no failure:
// what a plugin owes is 3 seconds, what a host minds 10.
const (
	ticks      = 2
	maxSilence = 6 * time.Second
)

// checkTicks watches while attempts run and others come and go.
func checkTicks(ctx context.Context, t *trial) error {
	c, err := t.slow()
	if err != nil {
		return err
	}
	s, work, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	w, err := s.watch(ctx)
	if err != nil {
		return err
	}
	if _, err := w.await(ctx, s, "at all", t.opts.StartTimeout, func(*pluginv1.Status) bool { return true }); err != nil {
		return err
	}
	held, err := work.start(*c)
	if err != nil {
		return err
	}
	if err := s.awaitInFlight(ctx); err != nil {
		return err
	}
	loaded, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() { t.load(loaded, work) })
	silence, err := w.beats(ctx, s)
	stop()
	load.Wait()
	if err != nil {
		return err
	}
	if silence > maxSilence {
		t.failf("the longest silence was %s: want a status every 3 s while attempts run", silence.Round(time.Millisecond))
	}
	t.sawf("the longest silence was %s", silence.Round(100*time.Millisecond))
	if err := work.stop(held); err != nil {
		return err
	}
	if _, err := work.await(ctx, held, t.opts.Patience); err != nil {
		return err
	}
	return t.settle(work)
}

// load calls a quick handler again and again until ctx ends.
func (t *trial) load(ctx context.Context, w *workStream) {
	c, err := t.quick()
	if err != nil || t.width(c.handler, 2) < 2 {
		return
	}
	for ctx.Err() == nil {
		a, err := w.start(*c)
		if err != nil {
			return // what waits for ticks says why
		}
		if _, err := w.result(ctx, a); err != nil {
			return
		}
	}
}

// beats waits for ticks and returns the longest silence before and between them.
func (w *watcher) beats(ctx context.Context, s *session) (silence time.Duration, err error) {
	begin := time.Now()
	w.mu.Lock()
	from := len(w.said)
	w.mu.Unlock()
	n := 0
	_, err = w.await(ctx, s, fmt.Sprintf("number %d while attempts run", ticks), ticks*s.t.opts.Patience, func(st *pluginv1.Status) bool {
		n++
		return n >= from+ticks
	})
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last := begin
	for i, at := range w.times[from:] {
		silence, last = max(silence, at.Sub(last)), at
		if w.said[from+i].GetInFlight() == 0 {
			return silence, errors.New("a status says in_flight 0 while an attempt runs")
		}
	}
	return silence, nil
}
