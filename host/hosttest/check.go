package hosttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Check replays the events of a task against the transition tables and compares what
// comes out with the task: nothing is missing, nothing is there twice, nothing happened
// in an order or from a status that the tables forbid, attempts are numbered without
// gaps, no step started before its dependencies were done, and custom events were
// recorded while their step ran, or with what their template wants them to stand for.
// Errors are all that it found.
func Check(v *task.View, events []Event) error {
	c := &checker{view: v, steps: make(map[task.StepName]*checkedStep, len(v.Steps))}
	for i := range v.Steps {
		c.steps[v.Steps[i].Name] = &checkedStep{status: task.StepPending, view: &v.Steps[i]}
	}
	for i, e := range events {
		if e.TaskID != v.ID || e.TaskSeq != uint64(i)+1 || e.ID != fmt.Sprintf("%s/%d", v.ID, i+1) {
			c.fault(e, "is number %d of task %s", i+1, v.ID)
		}
		if i > 0 && (e.At.Before(events[i-1].At) || e.Seq <= events[i-1].Seq) {
			c.fault(e, "is recorded before %s", events[i-1])
		}
	}
	for rest := c.custom(events); len(rest) > 0; {
		n := 1
		switch e := rest[0]; {
		case strings.HasPrefix(e.Type, "workflow."):
		case e.Step == "":
			c.task(e)
		default:
			n = c.step(rest)
		}
		rest = rest[n:]
	}
	c.outcome()
	return errors.Join(c.faults...)
}

// custom checks the custom events and returns the others.
func (c *checker) custom(events []Event) (others []Event) {
	running := make(map[task.StepName]bool)
	for _, e := range events {
		if _, known := event.Lookup(e.Type); known {
			others = append(others, e)
			if e.Step != "" {
				running[e.Step] = e.Type == event.NameStepStarted
			}
			continue
		}
		stands := false // a template's event for the one before it
		if len(others) > 0 {
			source := others[len(others)-1]
			stands = source.Step == e.Step && bytes.Equal(source.Payload, e.Payload)
		}
		if !running[e.Step] && !stands {
			c.fault(e, "while no attempt of its step runs")
		}
	}
	return others
}

type checker struct {
	view   *task.View
	status task.Status
	start  bool // task.started was there
	retry  bool // task.retry_requested was there, and what follows from it is going on
	steps  map[task.StepName]*checkedStep
	faults []error
}

type checkedStep struct {
	view     *task.StepView
	status   task.StepStatus
	attempts uint32
	failures uint32 // since the last operator's retry
}

// stepPayload is what the checker reads of a step's event.
type stepPayload struct {
	Attempt   uint32 `json:"attempt_number"`
	Limit     uint32 `json:"retry_limit"`
	Retryable bool   `json:"retryable"`
}

func (c *checker) fault(e Event, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("event %s %s "+format, append([]any{e.ID, e}, args...)...))
}

// task applies an event about the task itself.
func (c *checker) task(e Event) {
	c.retry = e.Type == "task.retry_requested"
	for _, row := range task.TaskTransitions() {
		if !slices.Equal(row.Events, []string{e.Type}) {
			continue
		}
		if again := row.Name == task.TaskStart && c.start; again {
			c.fault(e, "is there a second time")
		}
		c.start = c.start || row.Name == task.TaskStart
		first := row.From == nil && c.status == ""
		if !first && !slices.Contains(row.From, c.status) {
			c.fault(e, "while the task is %q", c.status)
		}
		if row.To != "" {
			c.status = row.To
		}
		return
	}
	c.fault(e, "is in no row of the table")
}

// step applies the longest row of the table that the next events are, and returns how
// many they are.
func (c *checker) step(events []Event) int {
	e := events[0]
	s := c.steps[e.Step]
	if s == nil {
		c.fault(e, "is about a step that the task does not have")
		return 1
	}
	var best *task.StepTransition
	for _, row := range task.StepTransitions() {
		if slices.Contains(row.From, s.status) && begins(events, row.Events) && (best == nil || len(row.Events) > len(best.Events)) {
			best = &row
		}
	}
	if best == nil {
		c.fault(e, "while the step is %s", s.status)
		return 1
	}
	var payload stepPayload
	if err := json.Unmarshal(e.Payload, &payload); err != nil {
		c.fault(e, "has no readable payload: %v", err)
	}
	byHand := best.Name == task.StepRetry || best.Name == task.StepRetryParked || best.Name == task.StepResolve
	c.retry = c.retry && byHand
	if byHand && !c.retry && !c.status.Terminal() && !c.open() {
		c.fault(e, "while nothing can run and the task has not ended")
	}
	s.status = best.To
	switch {
	case best.Name == task.StepClaim:
		c.claimed(e, s, payload)
	case byHand:
		s.failures = 0
		if c.status == task.Error {
			c.status = task.InProgress // the row reopen, which has no event of its own
		}
	case e.Type == "step.failed":
		c.failed(e, s, best.Name, payload)
	}
	return len(best.Events)
}

// open reports whether a step runs or could run.
func (c *checker) open() bool {
	for _, s := range c.steps {
		blocked := slices.ContainsFunc(s.view.DependsOn, func(dep task.StepName) bool { return !c.steps[dep].status.Satisfies() })
		if !s.status.Terminal() && (s.status != task.StepPending || !blocked) {
			return true
		}
	}
	return false
}

// failed checks that a step fails for good when its limit is reached, and not before.
func (c *checker) failed(e Event, s *checkedStep, row string, p stepPayload) {
	s.failures++
	reached := p.Limit > 0 && s.failures >= p.Limit
	limit := row == task.StepFailLimit || row == task.StepFailLimitOption
	switch {
	case limit && !reached:
		c.fault(e, "is the last one after %d failures, the limit is %d", s.failures, p.Limit)
	case reached && p.Retryable && (row == task.StepFailPermanent || row == task.StepFailOptional):
		c.fault(e, "reaches the limit, and step.max_retries_reached is missing")
	case reached && row == task.StepFailRetry:
		c.fault(e, "is followed by a retry after %d failures, the limit is %d", s.failures, p.Limit)
	}
}

// begins reports whether events begin with the types, all about one step.
func begins(events []Event, types []string) bool {
	if len(events) < len(types) {
		return false
	}
	for i, t := range types {
		if events[i].Type != t || events[i].Step != events[0].Step {
			return false
		}
	}
	return true
}

// joined reports whether a step waits for any of its dependencies and one has succeeded.
func (c *checker) joined(s *checkedStep) bool {
	return s.view.Join == string(template.JoinAny) && slices.ContainsFunc(s.view.DependsOn, func(dep task.StepName) bool {
		d := c.steps[dep].status
		return d == task.StepComplete || d == task.StepResolvedManually
	})
}

// claimed checks the start of an attempt.
func (c *checker) claimed(e Event, s *checkedStep, p stepPayload) {
	if s.attempts++; p.Attempt != s.attempts {
		c.fault(e, "starts attempt %d after %d attempts", p.Attempt, s.attempts-1)
	}
	if c.status != task.InProgress {
		c.fault(e, "while the task is %q", c.status)
	}
	for _, dep := range s.view.DependsOn {
		if d := c.steps[dep]; !d.status.Satisfies() && !c.joined(s) {
			c.fault(e, "while %s, on which it depends, is %s", dep, d.status)
		}
	}
}

// outcome compares where the events lead with the task as it is.
func (c *checker) outcome() {
	if c.status != c.view.Status {
		c.faults = append(c.faults, fmt.Errorf("task %s is %s, its events say %s", c.view.ID, c.view.Status, c.status))
	}
	for i := range c.view.Steps {
		v := &c.view.Steps[i]
		if s := c.steps[v.Name]; s.status != v.Status || s.attempts != v.Attempts {
			c.faults = append(c.faults, fmt.Errorf("step %s of task %s is %s after %d attempts, its events say %s after %d",
				v.Name, c.view.ID, v.Status, v.Attempts, s.status, s.attempts))
		}
	}
}

// ReadLedger reads what the handlers of plugins/mock wrote into their ledger: how often
// each attempt was started. A ledger that nobody wrote is empty.
func ReadLedger(path string) (starts map[task.AttemptID]int, err error) {
	starts = make(map[task.AttemptID]int)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return starts, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		id, what, _ := strings.Cut(lines.Text(), " ")
		attempt, err := task.ParseAttemptID(id)
		if err != nil {
			return nil, fmt.Errorf("ledger %s: %w", path, err)
		}
		if what == "start" {
			starts[attempt]++
		}
	}
	return starts, lines.Err()
}

// CheckLedger compares what handlers did for a task with what its events say: every
// attempt that was executed had been started, and was executed once. Attempts that were
// started need not have been executed: a crash may have come between.
func CheckLedger(v *task.View, starts map[task.AttemptID]int) error {
	var faults []error
	for id, n := range starts {
		switch {
		case id.Task != v.ID:
			continue
		case n > 1:
			faults = append(faults, fmt.Errorf("attempt %s was executed %d times", id, n))
		}
		if int(id.Ordinal) >= len(v.Steps) || id.Number > v.Steps[id.Ordinal].Attempts {
			faults = append(faults, fmt.Errorf("attempt %s was executed and never started", id))
		}
	}
	return errors.Join(faults...)
}
