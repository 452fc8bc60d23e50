package host_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// emitting is a step of the plugin emitter: see testdata/emitter.
func emitting(name, config string) string {
	return fmt.Sprintf("%s | handler: emitter/emit, config: {%s}, retry: {base: 1ms}", name, config)
}

func startEmitter(t *testing.T, options ...hosttest.Option) *hosttest.Host {
	t.Helper()
	return hosttest.Start(t, append(options, hosttest.Plugins("./testdata/emitter"))...)
}

// custom returns the custom events of a task: "type attempt/n".
func custom(t *testing.T, events []hosttest.Event) (got []string) {
	t.Helper()
	for _, e := range events {
		if strings.HasPrefix(e.Type, "emitter.") {
			p := payload[struct{ Attempt, N int }](t, e)
			got = append(got, fmt.Sprintf("%s %d/%d", e.Type, p.Attempt, p.N))
		}
	}
	return got
}

func wantCustom(t *testing.T, events []hosttest.Event, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, custom(t, events)); diff != "" {
		t.Errorf("custom events (-want +got):\n%s", diff)
	}
}

// TestEmittedWithSuccess: what a handler emits is recorded with the success of its
// attempt, right before it, and once, however often the step was tried.
func TestEmittedWithSuccess(t *testing.T) {
	t.Parallel()
	h := startEmitter(t)
	id := h.Create(graph(emitting("a", "dones: 2, fails: 2"), emitting("b <- a", "dones: 1")))
	h.WantTask(h.Checked(id), task.Complete)
	h.WantHistory(id, `task.initialized task.started
		step.started(a) step.failed(a) step.retry_scheduled(a) step.started(a) step.failed(a) step.retry_scheduled(a)
		step.started(a) emitter.done(a) emitter.done(a) step.completed(a)
		step.started(b) emitter.done(b) step.completed(b) task.completed`)
	events := h.History(id)
	wantCustom(t, events, "emitter.done 3/0", "emitter.done 3/1", "emitter.done 1/0")
	done := hosttest.Of(events, "emitter.done", "a")
	if want := `{"attempt":3,"n":0,"note":"<é>"}`; string(done[0].Payload) != want && !bytes.Equal(done[0].Payload, []byte(`{"attempt":3,"n":0,"note":"\u003cé\u003e"}`)) {
		t.Errorf("payload %s, want %s", done[0].Payload, want)
	}
	if log := h.Log(host.EventQuery{Type: "emitter.*"}); len(log) != 3 {
		t.Errorf("%d custom events in the log, want 3", len(log))
	}
}

// TestEmittedWithoutSuccess: an attempt that does not succeed leaves no event behind.
func TestEmittedWithoutSuccess(t *testing.T) {
	t.Parallel()
	h := startEmitter(t)
	id := h.Create(graph(emitting("a", "dones: 2, fails: 9")))
	h.WantTask(h.Checked(id), task.Error)
	wantCustom(t, h.History(id))
}

// TestEmittedAtOnce: an immediate event is recorded while its attempt runs, stays when the
// attempt is lost, and comes again with the next one.
func TestEmittedAtOnce(t *testing.T) {
	t.Parallel()
	h := startEmitter(t)
	id := h.Create(graph(emitting("a", "notices: 2, dones: 1, holds: 1, fails: 2")))
	awaitEvent(t, h, "emitter.noticed")
	if v := h.View(id); hosttest.Step(v, "a").Status != task.StepInProgress {
		t.Errorf("the step is %s, want in_progress", hosttest.Step(v, "a").Status)
	}
	h.KillPlugin("emitter")
	h.WantTask(h.Checked(id), task.Complete)
	events := h.History(id)
	wantCustom(t, events, "emitter.noticed 1/0", "emitter.noticed 1/1", "emitter.noticed 2/0", "emitter.noticed 2/1",
		"emitter.noticed 3/0", "emitter.noticed 3/1", "emitter.done 3/0")
}

// TestEmittedOverRestarts: what was recorded at once, and the numbers of what follows,
// outlive the host.
func TestEmittedOverRestarts(t *testing.T) {
	t.Parallel()
	h := startEmitter(t, hosttest.Expect("attempts were cut"), hosttest.Options(func(o *host.Options) { o.Grace = 1 }))
	id := h.Create(graph(emitting("a", "notices: 1, dones: 1, holds: 1")))
	awaitEvent(t, h, "emitter.noticed")
	h.Restart()
	h.WantTask(h.Checked(id), task.Complete)
	wantCustom(t, h.History(id), "emitter.noticed 1/0", "emitter.noticed 2/0", "emitter.done 2/0")
}
