package hosttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// Stub stands in for a handler: it gets what the handler would, and its result is the step's. An error fails the
// attempt: a [task.Failure] as it says, [ErrCrash] with the plugin's process, any other one so that it is tried again.
type Stub func(ctx context.Context, a *task.Assignment) (any, error)

// Func is a stub from a function over the types of input and results, such as the handler's own.
func Func[In, Out any](f func(context.Context, In) (Out, error)) Stub {
	return func(ctx context.Context, a *task.Assignment) (any, error) {
		var in In
		if doc := a.Input.Inline; doc != nil {
			d := json.NewDecoder(bytes.NewReader(doc))
			if err := d.Decode(&in); err != nil {
				return nil, &task.Failure{Kind: task.KindPermanent, Code: "invalid_input", Message: err.Error(), Source: task.SourcePlugin}
			}
		}
		return f(ctx, in)
	}
}

// Result is a stub that always succeeds with v, which marshals to JSON.
func Result(v any) Stub {
	return func(context.Context, *task.Assignment) (any, error) { return v, nil }
}

// ErrCrash has a stub's plugin crash: the attempt is lost.
var ErrCrash = errors.New("the plugin crashes")

// Scenario is a task with stubs in place of the plugins. Only Template and Stubs are required.
type Scenario struct {
	// Template is the path of the template's file.
	Template string
	// Environment names an environment of the template. Empty = none.
	Environment string
	// Input is the task's input: anything that marshals to JSON. Nil = none.
	Input any
	// Stubs are by step, or by plugin/handler for all of its steps; a step that runs without one fails the test.
	Stubs map[string]Stub
	// Operations are what operators do, and when.
	Operations []host.SimulatedOperation
}

// Simulated is what a scenario led to.
type Simulated struct {
	*host.Simulated

	t       testing.TB
	history []Event
}

// Simulate runs a whole task in the real engine on a clock of its own, with Go functions in place of the plugins and
// without a process: retries, time limits and delays take no time.
func Simulate(tb testing.TB, s Scenario) *Simulated {
	tb.Helper()
	source, err := os.ReadFile(s.Template)
	if err != nil {
		tb.Fatalf("simulate: %v", err)
	}
	var input json.RawMessage
	if s.Input != nil {
		if input, err = json.Marshal(s.Input); err != nil {
			tb.Fatalf("simulate: input: %v", err)
		}
	}
	var missing []string
	got, err := host.Simulate(tb.Context(), host.Simulation{
		Request:    task.Request{Source: source, SourceName: s.Template, Environment: s.Environment, Input: input},
		Operations: s.Operations,
		Answer: func(a *task.Assignment) host.Answer {
			stub := s.stub(a)
			if stub == nil {
				missing = append(missing, fmt.Sprintf("step %s runs and has no stub (handler %s)", a.Step, a.Handler))
				return host.Answer{Failure: &task.Failure{Kind: task.KindPermanent, Message: "no stub", Source: task.SourcePlugin}}
			}
			return answer(stub(tb.Context(), a))
		},
	})
	if err != nil {
		tb.Fatalf("simulate %s: %v", s.Template, err)
	}
	slices.Sort(missing)
	for _, m := range slices.Compact(missing) {
		tb.Errorf("simulate %s: %s", s.Template, m)
	}
	out := &Simulated{Simulated: got, t: tb}
	for _, entry := range got.Events {
		e, err := DecodeEvent(entry)
		if err != nil {
			tb.Fatalf("simulate %s: %v", s.Template, err)
		}
		out.history = append(out.history, e)
	}
	return out
}

func (s *Scenario) stub(a *task.Assignment) Stub {
	if stub := s.Stubs[string(a.Step)]; stub != nil {
		return stub
	}
	return s.Stubs[a.Handler.Plugin+"/"+a.Handler.Handler]
}

// answer is how an attempt goes by what a stub returned.
func answer(v any, err error) host.Answer {
	f, isFailure := errors.AsType[*task.Failure](err)
	switch {
	case errors.Is(err, ErrCrash):
		return host.Answer{Crash: true}
	case isFailure:
		return host.Answer{Failure: f}
	case err != nil:
		return host.Answer{Failure: &task.Failure{
			Kind: task.KindRetryable, Message: err.Error(), Class: fmt.Sprintf("%T", err), Source: task.SourcePlugin,
		}}
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return host.Answer{Failure: &task.Failure{
			Kind: task.KindPermanent, Code: "invalid_result", Message: err.Error(), Source: task.SourcePlugin,
		}}
	}
	return host.Answer{Output: doc}
}

// History returns the events of the task in order.
func (s *Simulated) History() []Event { return slices.Clone(s.history) }

// WantTask fails the test unless the task has the status.
func (s *Simulated) WantTask(want task.Status) {
	s.t.Helper()
	if got := s.View.Status; got != want {
		s.t.Errorf("task is %s, want %s\n%s", got, want, Describe(s.View))
	}
}

// WantSteps is [Host.WantSteps].
func (s *Simulated) WantSteps(want string) {
	s.t.Helper()
	wantSteps(s.t, s.View, want)
}

// WantEvents fails the test unless these events are there in this order; others may lie between: "type" or
// "type(step)", where "type" is that of any step, separated by blanks.
func (s *Simulated) WantEvents(want string) {
	s.t.Helper()
	if diff := missingEvents(s.history, strings.Fields(want)); diff != "" {
		s.t.Errorf("events:\n%s", diff)
	}
}

// missingEvents shows where events stop to be there in order; empty = they are.
func missingEvents(events []Event, want []string) string {
	var b strings.Builder
	for _, e := range events {
		mark := " "
		if len(want) > 0 && (want[0] == e.Type || want[0] == e.String()) {
			mark, want = "+", want[1:]
		}
		fmt.Fprintf(&b, "  %s %s\n", mark, e)
	}
	if len(want) == 0 {
		return ""
	}
	fmt.Fprintf(&b, "  - %s, which is not there after those with a +", want[0])
	return b.String()
}

func wantSteps(tb testing.TB, v *task.View, want string) {
	tb.Helper()
	got := make([]string, len(v.Steps))
	for i := range v.Steps {
		st := &v.Steps[i]
		got[i] = fmt.Sprintf("%s=%s/%d", st.Name, st.Status, st.Attempts)
	}
	if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
		tb.Errorf("steps (-want +got):\n%s%s", diff, Describe(v))
	}
}
