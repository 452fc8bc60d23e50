package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// busy starts a plugin that works: with a slow attempt where it has one.
func (t *trial) busy(ctx context.Context) (*session, *workStream, *attempt, error) {
	s, w, err := t.working(ctx, launch{})
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := t.slow()
	if err != nil {
		return s, w, nil, nil //nolint:nilerr // then it is idle
	}
	a, err := w.start(*c)
	if err != nil {
		return nil, nil, nil, err
	}
	return s, w, a, s.awaitInFlight(ctx)
}

// what says how busy the plugin was.
func (a *attempt) what() string {
	if a == nil {
		return "while idle"
	}
	return "while an attempt runs"
}

// checkSignals sends what a terminal or service manager sends to whole groups.
func checkSignals(ctx context.Context, t *trial) error {
	if len(requests()) == 0 {
		return skipf("there are no such signals on this system")
	}
	s, w, a, err := t.busy(ctx)
	if err != nil {
		return err
	}
	for _, sig := range requests() {
		if err := s.proc.cmd.Process.Signal(sig); err != nil {
			return fmt.Errorf("the process cannot be signalled: %w", err)
		}
	}
	// A signal is handled before the answer to a later call is read, or it is ignored.
	for range 3 {
		if err := s.alive(ctx); err != nil {
			return fmt.Errorf("after SIGTERM and SIGINT: %w", err)
		}
	}
	if s.proc.awaitExit(min(t.opts.Patience/20, time.Second/2)) {
		return fmt.Errorf("after SIGTERM and SIGINT the process has ended with %s", s.proc.exit())
	}
	if a != nil {
		select {
		case <-a.done:
			t.failf("after SIGTERM and SIGINT the attempt has ended: %s", outcome(a.result))
		default:
		}
		if err := w.stop(a); err != nil {
			return err
		}
	}
	t.sawf("SIGTERM and SIGINT %s: it goes on", a.what())
	return t.settle(w)
}

// checkDrain drains a plugin that works.
func checkDrain(ctx context.Context, t *trial) error {
	s, w, a, err := t.busy(ctx)
	if err != nil {
		return err
	}
	watch, err := s.watch(ctx)
	if err != nil {
		return err
	}
	type answer struct {
		resp *pluginv1.DrainResponse
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := s.plugin.Drain(ctx, &pluginv1.DrainRequest{Deadline: durationpb.New(time.Hour)})
		answered <- answer{resp, err}
	}()
	if a != nil {
		draining := func(st *pluginv1.Status) bool { return st.GetState() == pluginv1.State_STATE_DRAINING }
		if _, err := watch.await(ctx, s, "STATE_DRAINING after Drain", t.opts.Patience, draining); err != nil {
			return err
		}
		select {
		case <-a.done:
			t.failf("Drain ended the attempt that ran: %s; want it to go on to its end", outcome(a.result))
		case got := <-answered:
			return fmt.Errorf("drain: it returned (%v, %w) while an attempt ran, an hour before its deadline", got.resp, got.err)
		case <-time.After(min(t.opts.Patience/20, time.Second/2)): // the state and the result come on two streams, in any order
		}
		if err := w.stop(a); err != nil {
			return err
		}
	}
	select {
	case got := <-answered:
		if got.err != nil {
			return s.callError("Drain", got.err)
		}
		if n := got.resp.GetUnfinished(); n != 0 {
			t.failf("drain: unfinished is %d, want 0: everything had ended", n)
		}
	case <-time.After(t.opts.Patience):
		return fmt.Errorf("drain: no answer within %s after everything had ended", t.opts.Patience)
	}
	t.sawf("Drain %s: it waits for the end", a.what())
	return t.settle(w)
}

// checkDrainDeadline drains a plugin that works, for a short time only.
func checkDrainDeadline(ctx context.Context, t *trial) error {
	if _, err := t.slow(); err != nil {
		return err
	}
	s, w, a, err := t.busy(ctx)
	if err != nil {
		return err
	}
	limited, cancel := s.patient(ctx)
	defer cancel()
	const limit = 200 * time.Millisecond
	resp, err := s.plugin.Drain(limited, &pluginv1.DrainRequest{Deadline: durationpb.New(limit)})
	if err != nil {
		return fmt.Errorf("with a deadline of %s: %w", limit, s.callError("Drain", err))
	}
	if resp.GetUnfinished() != 1 {
		t.failf("drain: unfinished is %d, want 1: an attempt runs", resp.GetUnfinished())
	}
	t.sawf("unfinished is %d after %s", resp.GetUnfinished(), limit)
	if err := w.stop(a); err != nil {
		return err
	}
	if _, err := w.await(ctx, a, t.opts.Patience); err != nil {
		return err
	}
	return t.settle(w)
}

// checkDrained asks a plugin to end that is drained.
func checkDrained(ctx context.Context, t *trial) error {
	s, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	limited, cancel := s.patient(ctx)
	defer cancel()
	if _, err := s.plugin.Drain(limited, &pluginv1.DrainRequest{Deadline: durationpb.New(time.Second)}); err != nil {
		return s.callError("Drain", err)
	}
	if err := t.settle(w); err != nil {
		return err
	}
	how := "after Drain and the end of standard input"
	if sigs := requests(); len(sigs) > 0 {
		how = "after Drain and SIGTERM"
		if err := s.proc.cmd.Process.Signal(sigs[0]); err != nil {
			return fmt.Errorf("after Drain the process cannot be signalled: %w", err)
		}
	} else {
		s.disconnect()
		s.proc.cutLifeline()
	}
	return s.endsWell(how)
}

// checkLifeline closes standard input and nothing else.
func checkLifeline(ctx context.Context, t *trial) error {
	s, _, a, err := t.busy(ctx)
	if err != nil {
		return err
	}
	s.proc.cutLifeline()
	return s.endsWell("after the end of standard input " + a.what())
}

// checkHostKilled does to the plugin what the death of its host does.
func checkHostKilled(ctx context.Context, t *trial) error {
	s, _, a, err := t.busy(ctx)
	if err != nil {
		return err
	}
	s.vanish()
	if !s.proc.awaitExit(t.opts.Patience) {
		return fmt.Errorf("after all pipes and the connection broke %s the process has not ended within %s", a.what(), t.opts.Patience)
	}
	t.sawf("all pipes and the connection broke %s: %s", a.what(), s.proc.exit())
	return nil
}

// checkChildren looks for processes that a plugin leaves behind.
func checkChildren(ctx context.Context, t *trial) error {
	s, err := t.ready(ctx, launch{})
	if err != nil {
		return err
	}
	if err := s.exercise(ctx); err != nil {
		return err
	}
	s.disconnect()
	s.proc.cutLifeline()
	if !s.proc.awaitExit(t.opts.Patience) {
		return fmt.Errorf("after the end of standard input the process has not ended within %s", t.opts.Patience)
	}
	limited, cancel := s.patient(ctx)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		alive, ok := leftovers(s.proc)
		if !ok {
			return skipf("this system does not tell which processes a plugin has started")
		}
		if len(alive) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return fmt.Errorf("%d processes are left behind: %s", len(alive), strings.Join(alive, ", "))
		}
	}
}

// checkFlood has a handler write a lot to standard error.
func checkFlood(ctx context.Context, t *trial) error {
	c, err := t.needed("flood", t.opts.Fixtures.Roles.Flood, "a handler that floods standard error")
	if err != nil {
		return err
	}
	s, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	a, err := w.start(*c)
	if err != nil {
		return err
	}
	r, err := w.await(ctx, a, t.opts.Patience)
	if err != nil {
		return err
	}
	if r.GetError() != nil {
		t.failf("%s, want an output", outcome(r))
	}
	if err := s.alive(ctx); err != nil {
		return fmt.Errorf("after the flood: %w", err)
	}
	s.proc.stderr.mu.Lock()
	t.sawf("%d KiB on standard error: %s", s.proc.stderr.total>>10, outcome(r))
	s.proc.stderr.mu.Unlock()
	return t.settle(w)
}

// checkLog judges the form of what is on standard error.
func checkLog(ctx context.Context, t *trial) error {
	s, err := t.ready(ctx, launch{level: "trace"})
	if err != nil {
		return err
	}
	if err := s.exercise(ctx); err != nil {
		return err
	}
	s.disconnect()
	s.proc.cutLifeline()
	if !s.proc.awaitExit(t.opts.Patience) {
		s.proc.kill()
	}
	<-s.proc.ended
	lines, plain := s.proc.stderr.lines(), 0
	for _, line := range lines {
		if len(line) > longLine {
			t.failf("a line has %d bytes: hosts cut at %d", len(line), longLine)
		}
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(line), &object) != nil {
			plain++
			continue
		}
		for _, key := range []string{"@message", "@level", "@timestamp"} {
			var text string
			if raw, ok := object[key]; !ok || json.Unmarshal(raw, &text) != nil {
				t.failf("the line %s: want a text in %s", cut(line), key)
			}
		}
	}
	t.sawf("%d lines, %d of them plain text", len(lines), plain)
	return nil
}

// exercise calls each handler and delivers each event once.
func (s *session) exercise(ctx context.Context) error {
	_, err := s.exerciseHeard(ctx)
	return err
}

// exerciseHeard is exercise, and returns what was said in updates and answers.
func (s *session) exerciseHeard(ctx context.Context) (string, error) {
	var heard strings.Builder
	w, err := s.work(ctx)
	if err != nil {
		return "", err
	}
	calls, _ := s.t.calls()
	for _, c := range calls {
		a, err := w.start(c)
		if err != nil {
			return "", err
		}
		r, err := w.result(ctx, a)
		if err != nil {
			return "", err
		}
		w.mu.Lock()
		fmt.Fprintln(&heard, r, string(r.GetOutput()), string(r.GetError().GetDetails()), a.logs)
		w.mu.Unlock()
	}
	if err := w.finish(); err != nil {
		return "", err
	}
	for _, f := range s.t.feeds() {
		d, err := s.deliver(ctx, f)
		if err != nil {
			return "", err
		}
		if err := d.sendAll(ctx, f.events); err != nil {
			return "", err
		}
		d.mu.Lock()
		fmt.Fprintln(&heard, d.texts)
		d.mu.Unlock()
		d.cancel()
	}
	return heard.String(), nil
}
