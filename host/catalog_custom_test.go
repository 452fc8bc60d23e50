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

// TestManyEmittedAtOnce: more immediate events than may be on their way wait for each
// other, and all are recorded in order, before the end of their attempt.
func TestManyEmittedAtOnce(t *testing.T) {
	t.Parallel()
	h := startEmitter(t)
	const n = 1000
	id := h.Create(graph(emitting("a", fmt.Sprintf("notices: %d", n))))
	h.WantTask(h.Checked(id), task.Complete)
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("emitter.noticed 1/%d", i))
	}
	wantCustom(t, h.History(id), want...)
}

// TestEmittedOverRestarts: what was recorded at once, and the numbers of what follows,
// outlive the host.
func TestEmittedOverRestarts(t *testing.T) {
	t.Parallel()
	h := startEmitter(t, hosttest.Expect("attempts were cut", "not noted"),
		hosttest.Options(func(o *host.Options) { o.Grace = 1 }))
	id := h.Create(graph(emitting("a", "notices: 1, dones: 1, holds: 1")))
	awaitEvent(t, h, "emitter.noticed")
	h.Restart()
	h.WantTask(h.Checked(id), task.Complete)
	wantCustom(t, h.History(id), "emitter.noticed 1/0", "emitter.noticed 2/0", "emitter.done 2/0")
}

// TestTemplateEvents: what a template declares is recorded right behind its source, with
// its payload; a failure counts when it is final.
func TestTemplateEvents(t *testing.T) {
	t.Parallel()
	h := startEmitter(t)
	keys := `events:
- {name: shape.paid, on: step.completed, step: a}
- {name: shape.broken, on: step.failed, step: b}
- {name: shape.left_out, on: step.skipped, step: c}
- {name: shape.lost, on: task.failed}
- {name: shape.done, on: task.completed}
`
	id := h.Create(graphWith(keys, emitting("a", "dones: 1"), emitting("b <- a", "fails: 2"),
		emitting("c <- b", "fails: 9")+", optional: true"))
	h.WantTask(h.Checked(id), task.Complete)
	h.WantHistory(id, `task.initialized task.started
		step.started(a) emitter.done(a) step.completed(a) shape.paid(a)
		step.started(b) step.failed(b) step.retry_scheduled(b) step.started(b) step.failed(b) step.retry_scheduled(b)
		step.started(b) step.completed(b)
		step.started(c) step.failed(c) step.retry_scheduled(c) step.started(c) step.failed(c) step.retry_scheduled(c)
		step.started(c) step.failed(c) step.max_retries_reached(c) step.skipped(c) shape.left_out(c)
		task.completed shape.done`)
	wantSamePayload(t, h.History(id), "step.completed", "shape.paid")
	wantSamePayload(t, h.History(id), "task.completed", "shape.done")
	id = h.Create(graphWith(keys, emitting("a", ""), emitting("b <- a", "fails: 9"), emitting("c <- b", "")))
	h.WantTask(h.Checked(id), task.Error)
	h.WantHistory(id, `task.initialized task.started
		step.started(a) step.completed(a) shape.paid(a)
		step.started(b) step.failed(b) step.retry_scheduled(b) step.started(b) step.failed(b) step.retry_scheduled(b)
		step.started(b) step.failed(b) shape.broken(b) step.max_retries_reached(b) task.failed shape.lost`)
	wantSamePayload(t, h.History(id), "task.failed", "shape.lost")
}

// wantSamePayload compares the payloads of the first events of two types.
func wantSamePayload(t *testing.T, events []hosttest.Event, source, derived string) {
	t.Helper()
	a, b := hosttest.Of(events, source, ""), hosttest.Of(events, derived, "")
	if len(a) == 0 || len(b) == 0 || !bytes.Equal(a[0].Payload, b[0].Payload) {
		t.Errorf("%s has the payload of %s not: %v, %v", derived, source, a, b)
	}
}
