package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// echoed is the part of mock/echo's result that is looked at here.
type echoed struct {
	Input json.RawMessage `json:"input"`
}

// inputs returns the inputs that the steps of a task made for themselves.
func inputs(v *task.View) map[string]string {
	out := make(map[string]string)
	for i := range v.Steps {
		if len(v.Steps[i].Input) > 0 {
			out[string(v.Steps[i].Name)] = string(v.Steps[i].Input)
		}
	}
	return out
}

// TestWith: a step gets what its mapping makes, in every attempt, and it can be seen.
func TestWith(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph(
		"first",
		`second <- first | f1, with: {order: "=results.first.input.id", cents: "=input.price * 100", who: [a, "=task.template"]}`,
		`third <- second | with: "=results.first"`,
	), hosttest.Input(`{"id": "A-17", "price": 12.5}`))
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "first=complete/1 second=complete/2 third=complete/1")
	want := map[string]string{
		"second": `{"cents":1250,"order":"A-17","who":["a","shape"]}`,
		"third":  `{"input":{"id":"A-17","price":12.5},"results":{}}`,
	}
	if diff := cmp.Diff(want, inputs(v)); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	var third echoed
	if err := json.Unmarshal(hosttest.Step(v, "third").Output, &third); err != nil || string(third.Input) != want["third"] {
		t.Errorf("the handler got %s, %v", third.Input, err)
	}
	for _, e := range hosttest.Of(h.History(id), "step.started", "second") {
		var started event.StepStarted
		if err := json.Unmarshal(e.Payload, &started); err != nil || string(started.Inputs) != want["second"] {
			t.Errorf("step.started with %s, %v", started.Inputs, err)
		}
	}
}

// TestWithLargeValues: what expressions read and make may be of any size up to the limit,
// also after a restart of the host between the steps.
func TestWithLargeValues(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	const size = 300 << 10
	id := h.Create(graph(
		fmt.Sprintf("big | handler: mock/big, config: {bytes: %d}", size),
		"wait | handler: mock/sleep, config: {for: 1s}",
		`copy <- big, wait | when: results.big.data != "", with: {data: =results.big.data, size: =size(results.big.data), text: =input.text}`,
	), hosttest.Input(`{"text":"`+strings.Repeat("i", size)+`"}`))
	h.AwaitStep(id, "big", task.StepComplete)
	h.Restart()
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	s := hosttest.Step(v, "copy")
	var in struct {
		Data string `json:"data"`
		Text string `json:"text"`
		Size int    `json:"size"`
	}
	if err := json.Unmarshal(s.Input, &in); err != nil || len(in.Data) != size || len(in.Text) != size || in.Size != size {
		t.Errorf("an input of %d bytes, %v", len(s.Input), err)
	}
	var out echoed
	if err := json.Unmarshal(s.Output, &out); err != nil || string(out.Input) != string(s.Input) {
		t.Errorf("the handler got %d bytes, %v; want %d", len(out.Input), err, len(s.Input))
	}
	if s.Attempt.Input.Ref == nil || s.Attempt.Input.Ref.N != task.StepInputBlob(s.Ordinal) {
		t.Errorf("the input lies at %+v", s.Attempt.Input.Ref)
	}
	for _, e := range hosttest.Of(h.History(id), "step.started", "copy") {
		var started event.StepStarted
		if err := json.Unmarshal(e.Payload, &started); err != nil {
			t.Fatal(err)
		}
		doc, err := h.Value(context.Background(), id, started.InputsRef.Ref)
		if err != nil || string(doc) != string(s.Input) {
			t.Errorf("%s holds %d bytes, %v", started.InputsRef.Ref, len(doc), err)
		}
	}
}

// TestWhen: a condition that is false skips its step, with the reason.
func TestWhen(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph(
		"check",
		"manual <- check | when: results.check.input.total >= 100",
		"auto <- check | when: results.check.input.total < 100",
		"after <- manual",
		"ship <- manual, auto",
	), hosttest.Input(`{"total": 20}`))
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "check=complete/1 manual=skipped/0 auto=complete/1 after=skipped/0 ship=complete/1")
	got := []string{hosttest.Step(v, "manual").Reason.Text, hosttest.Step(v, "after").Reason.Text}
	want := []string{
		"skipped: when results.check.input.total >= 100 was false", "skipped: the conditions of all its dependencies were false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	failed := h.Checked(h.Create(graph("a | when: input.absent"), hosttest.Input(`{}`)))
	h.WantTask(failed, task.Error)
	if f := hosttest.Step(failed, "a").Failure; f.Code != task.CodeWhenFailed {
		t.Errorf("failure %+v", f)
	}
	unmade := h.Checked(h.Create(graph("a | with: {x: =input.absent}", "b"), hosttest.Input(`{}`)))
	h.WantTask(unmade, task.Error)
	h.WantSteps(unmade, "a=error/0 b=complete/1")
	if f := hosttest.Step(unmade, "a").Failure; f.Code != task.CodeWithFailed {
		t.Errorf("failure %+v", f)
	}
}

// TestJoinAny: the step starts with the first dependency that succeeds; the others go on.
func TestJoinAny(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph(
		"fast", "slow | handler: mock/sleep, config: {for: 2s}",
		"next <- fast, slow | join: any, with: {fast: =results.fast.input.n, slow: =has(results.slow)}",
	), hosttest.Input(`{"n": 1}`))
	h.AwaitStep(id, "next", task.StepComplete)
	if s := h.View(id).Steps[1]; s.Status != task.StepInProgress {
		t.Errorf("slow is %s while next is complete", s.Status)
	}
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "fast=complete/1 slow=complete/1 next=complete/1")
	if got, want := inputs(v)["next"], `{"fast":1,"slow":false}`; got != want {
		t.Errorf("input %s, want %s", got, want)
	}
}

// TestValuesFitHandlers: a task whose expressions cannot fit what its handlers declare is
// not created.
func TestValuesFitHandlers(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	h.AwaitPlugin("mock")
	src := graph("big | handler: mock/big, config: {bytes: 10}", "next <- big | with: {ok: =results.big.data, typo: =results.big.dta}")
	_, err := h.CreateTask(context.Background(), task.Request{Source: []byte(src), SourceName: "order.yaml", RequireHandlers: true})
	want := `order.yaml:6:104: step next: with.typo: there is no "dta": did you mean "data"?`
	if !errors.Is(err, task.ErrInvalid) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
