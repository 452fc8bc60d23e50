package host_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

const simulated = `
name: trip
version: 1.0.0
defaults: {retry: {limit: 3, backoff: exponential, base: 1h, cap: 24h}}
steps:
- {name: book, handler: travel/book}
- {name: pay, handler: bank/pay, depends_on: [book], with: {amount: =results.book.price}, heartbeat_timeout: 1m, timeout: 2h}
- {name: fly, handler: travel/fly, depends_on: [pay]}
`

func simulate(t *testing.T, s host.Simulation) *host.Simulated {
	t.Helper()
	s.Request.Source, s.Request.SourceName = []byte(simulated), "trip.yaml"
	got, err := host.Simulate(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// course is what happened when: "step/attempt@time".
func course(s *host.Simulated) string {
	var out []string
	for _, a := range s.Attempts {
		out = append(out, fmt.Sprintf("%s/%d@%s", a.Step, a.Number, a.At))
	}
	return strings.Join(out, " ")
}

// TestSimulate: hours of retries, time limits and operators pass at once, the same way each time.
func TestSimulate(t *testing.T) {
	permanent := &task.Failure{Kind: task.KindPermanent, Message: "no", Source: task.SourcePlugin}
	retryable := &task.Failure{Kind: task.KindRetryable, Message: "later", Source: task.SourcePlugin}
	answers := func(all map[string][]host.Answer) func(*task.Assignment) host.Answer {
		return func(a *task.Assignment) host.Answer {
			list := all[string(a.Step)]
			if n := int(a.ID.Number); n <= len(list) {
				return list[n-1]
			}
			return host.Answer{Output: []byte(`{"price": 7}`)}
		}
	}
	tests := []struct {
		name       string
		answers    map[string][]host.Answer
		operations []host.SimulatedOperation
		status     task.Status
		course     string
		took       time.Duration
	}{
		{
			name: "all goes well", answers: map[string][]host.Answer{"book": {{After: time.Minute, Output: []byte(`{"price": 7}`)}}},
			status: task.Complete, course: "book/1@0s pay/1@1m0s fly/1@1m0s", took: time.Minute,
		},
		{
			name: "retries wait", answers: map[string][]host.Answer{"pay": {{Failure: retryable}, {After: time.Second, Failure: retryable}}},
			status: task.Complete, course: "book/1@0s pay/1@0s pay/2@1h0m0s pay/3@3h0m1s fly/1@3h0m1s", took: 3*time.Hour + time.Second,
		},
		{
			name: "a crash of the plugin", answers: map[string][]host.Answer{"pay": {{After: 90 * time.Second, Crash: true}}},
			status: task.Complete, course: "book/1@0s pay/1@0s pay/2@1m30s fly/1@1m30s", took: 90 * time.Second,
		},
		{
			name: "heartbeats keep an attempt alive until its time is over", answers: map[string][]host.Answer{"pay": {{Hangs: true}}},
			status: task.Complete, course: "book/1@0s pay/1@0s pay/2@3h0m0s fly/1@3h0m0s", took: 3 * time.Hour,
		},
		{
			name: "silence does not", answers: map[string][]host.Answer{"pay": {{Hangs: true, Silent: true}}},
			status: task.Complete, course: "book/1@0s pay/1@0s pay/2@1h1m0s fly/1@1h1m0s", took: time.Hour + time.Minute,
		},
		{
			name: "an operator retries", answers: map[string][]host.Answer{"fly": {{Failure: permanent}}},
			operations: []host.SimulatedOperation{{At: 48 * time.Hour, Kind: "retry", Operation: task.Operation{Step: "fly"}}},
			status:     task.Complete, course: "book/1@0s pay/1@0s fly/1@0s fly/2@48h0m0s", took: 48 * time.Hour,
		},
		{
			name: "a task that nobody ends", answers: map[string][]host.Answer{"fly": {{Hangs: true}}},
			status: task.InProgress, course: "book/1@0s pay/1@0s fly/1@0s",
		},
		{
			name: "an operator cancels", answers: map[string][]host.Answer{"fly": {{Hangs: true}}},
			operations: []host.SimulatedOperation{{At: time.Hour, Kind: "cancel"}},
			status:     task.Cancelled, course: "book/1@0s pay/1@0s fly/1@0s", took: time.Hour,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := simulate(t, host.Simulation{Answer: answers(tt.answers), Operations: tt.operations})
			if got.View.Status != tt.status || got.Took != tt.took {
				t.Errorf("the task is %s after %s, want %s after %s", got.View.Status, got.Took, tt.status, tt.took)
			}
			if c := course(got); c != tt.course {
				t.Errorf("course\n%s, want\n%s", c, tt.course)
			}
			if pay := got.View.Steps[1]; string(pay.Input) != `{"amount":7}` {
				t.Errorf("input of pay is %s", pay.Input)
			}
			if len(got.Events) == 0 {
				t.Error("no events")
			}
		})
	}
}

// TestSimulateRefuses: what a host would refuse, and what would never end.
func TestSimulateRefuses(t *testing.T) {
	answer := func(*task.Assignment) host.Answer { return host.Answer{Output: []byte(`{"price": 7}`)} }
	source := func(text string) task.Request { return task.Request{Source: []byte(text), SourceName: "t.yaml"} }
	tests := []struct {
		name string
		s    host.Simulation
		want string
	}{
		{"no template", host.Simulation{Answer: answer}, "no template"},
		{"a wrong template", host.Simulation{Request: source("name: x"), Answer: answer}, "t.yaml:1:1"},
		{"a wrong request", host.Simulation{Request: task.Request{Source: []byte(simulated), CorrelationID: "-"}, Answer: answer}, "correlation id"},
		{
			"an operation that cannot be",
			host.Simulation{Request: source(simulated), Answer: answer, Operations: []host.SimulatedOperation{{At: time.Hour, Kind: "pause"}}},
			"pause at 1h0m0s",
		},
		{
			"an operation that is not known",
			host.Simulation{Request: source(simulated), Answer: answer, Operations: []host.SimulatedOperation{{Kind: "dance"}}},
			`unknown operation "dance"`,
		},
		{
			"a task beyond the limit",
			host.Simulation{Request: source(simulated), Answer: func(*task.Assignment) host.Answer { return host.Answer{After: time.Hour} }, Limit: time.Minute},
			"longer than 1m0s",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := host.Simulate(t.Context(), tt.s)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, task.ErrInvalid) && !errors.Is(err, task.ErrTransition) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}
