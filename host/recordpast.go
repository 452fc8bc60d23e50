package host

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// pastStep is what the log tells of a step. Its record keeps the last attempt only.
type pastStep struct {
	attempts map[uint32]*pastAttempt
	current  uint32 // that has started last
}

// pastAttempt is what the log tells of one attempt.
type pastAttempt struct {
	failure *recording.Error // nil = it did not fail
	other   string           // how it ended that is neither success nor failure
	ended   bool
	endedAt time.Time
	output  json.RawMessage
	large   bool // the output is not in the log
	backoff recording.Duration
	events  []recording.Event // custom ones of the plugin
}

// attempt returns what is known of an attempt; nothing is known of one whose events were cut.
func (p *pastStep) attempt(number uint32) *pastAttempt {
	if p == nil || p.attempts[number] == nil {
		return &pastAttempt{other: "its events were cut from the log"}
	}
	return p.attempts[number]
}

// unusable says why an attempt cannot be asked again; empty = it can.
func (p *pastAttempt) unusable() string {
	switch {
	case p.other != "":
		return p.other
	case !p.ended:
		return "it has not ended"
	}
	return ""
}

// failureBefore is the failure that an attempt was told of: the last one before it.
func (p *pastStep) failureBefore(number uint32) *recording.Error {
	for number--; number > 0; number-- {
		if before := p.attempts[number]; before != nil && before.failure != nil {
			failure := *before.failure
			return &failure
		}
	}
	return nil
}

// readPast reads what the log tells of a task's steps.
func readPast(ctx context.Context, s Service, v *task.View) (map[task.StepName]*pastStep, error) {
	steps, plugins := make(map[task.StepName]*pastStep), make(map[task.StepName]string)
	for i := range v.Steps {
		steps[v.Steps[i].Name] = &pastStep{attempts: make(map[uint32]*pastAttempt)}
		plugins[v.Steps[i].Name] = v.Steps[i].Handler.Plugin
	}
	err := s.Events(ctx, EventQuery{Task: string(v.ID)}, func(entry LogEntry) error {
		var e eventv1.Event
		err := proto.Unmarshal(entry.Encoded, &e)
		if err == nil && steps[task.StepName(e.GetStep())] != nil {
			err = steps[task.StepName(e.GetStep())].add(&e, plugins[task.StepName(e.GetStep())])
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", entry.Seq, err)
		}
		return nil
	})
	return steps, err
}

// add takes the next event of the step.
func (p *pastStep) add(e *eventv1.Event, plugin string) error {
	if family, _, _ := strings.Cut(e.GetType(), "."); family == plugin && !builtIn(e.GetType()) {
		if a := p.attempts[p.current]; a != nil {
			a.events = append(a.events, recording.Event{Name: e.GetType(), Payload: e.GetPayload()})
		}
		return nil
	}
	var told struct { // what the events of steps have
		AttemptNumber uint32          `json:"attempt_number"`
		Results       json.RawMessage `json:"results"`
		ResultsRef    *event.Ref      `json:"results_ref"`
		RetryAt       time.Time       `json:"retry_at"`
		Cause         string          `json:"cause"`
		event.Error
	}
	if !strings.HasPrefix(e.GetType(), "step.") {
		return nil
	}
	if err := json.Unmarshal(e.GetPayload(), &told); err != nil {
		return err
	}
	if e.GetType() == event.NameStepStarted {
		p.current = told.AttemptNumber
		p.attempts[p.current] = &pastAttempt{}
		return nil
	}
	a := p.attempts[told.AttemptNumber]
	if a == nil {
		return nil
	}
	at := time.Unix(0, e.GetAt())
	switch e.GetType() {
	case event.NameStepCompleted:
		a.ended, a.endedAt, a.output, a.large = true, at, told.Results, told.ResultsRef != nil
	case event.NameStepFailed:
		if told.Kind == string(task.KindTimeout) && told.Source == string(task.SourceHost) {
			a.other = "the host ended it: " + told.Message
		}
		a.ended, a.endedAt = true, at
		a.failure = &recording.Error{Kind: told.Kind, Code: told.Code, Message: told.Message, Details: told.Details, Partial: told.Partial}
	case event.NameStepRetryScheduled:
		if a.ended {
			a.backoff = recording.Duration(max(told.RetryAt.Sub(a.endedAt), 0))
		}
	case event.NameStepAttemptLost:
		a.other = "it was lost: " + told.Cause
	case event.NameStepCancelled:
		if !a.ended {
			a.other = "it was cancelled"
		}
	}
	return nil
}

func builtIn(name string) bool {
	_, ok := event.Lookup(name)
	return ok
}
