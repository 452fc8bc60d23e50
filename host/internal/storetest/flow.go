package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Start is the time at which flows begin unless they are told otherwise.
func Start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC) }

// ID returns the n-th task id of a millisecond; ids grow with at, then with n.
func ID(at time.Time, n uint64) task.ID {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(at)); err != nil {
		panic(fmt.Sprintf("storetest: time %s cannot be in an id: %v", at, err))
	}
	binary.BigEndian.PutUint64(id[len(id)-8:], n)
	return task.ID(id.String())
}

// Flow drives one task through its life: each method makes the next write set, with
// the events that belong to it, and changes Task accordingly. A flow knows nothing of
// handlers or dependencies; it does what it is told.
type Flow struct {
	Task     task.Task // as it is after the last write set that was made
	Template []byte
	now      time.Time
}

// NewFlow returns a flow of the n-th task created at Start, with so many steps. change
// may alter the spec before anything is made of it.
func NewFlow(n uint64, steps int, change ...func(*task.Spec)) *Flow {
	f := &Flow{Template: []byte("namespace: shop\nname: order\nversion: 1.0.0\n")}
	sum := sha256.Sum256(f.Template)
	input := []byte(`{"order":1}`)
	f.Task.Spec = task.Spec{
		Template: task.TemplateRef{Namespace: "shop", Name: "order", Version: "1.0.0", Hash: hex.EncodeToString(sum[:])},
		Input:    task.Value{Inline: input}, InputHash: Hash(input), CreatedAt: Start(),
	}
	for _, c := range change {
		c(&f.Task.Spec)
	}
	if f.Task.ID == "" {
		f.Task.ID = ID(f.Task.CreatedAt, n)
	}
	if f.Task.CorrelationID == "" {
		f.Task.CorrelationID = string(f.Task.ID)
	}
	f.Task.Status = task.Pending
	f.Task.Steps = make([]task.Step, steps)
	for i := range f.Task.Steps {
		f.Task.Steps[i].Ordinal, f.Task.Steps[i].Status = task.Ordinal(i), task.StepPending
	}
	f.now = f.Task.CreatedAt
	return f
}

// Hash returns the SHA-256 of b in hex.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Clone returns an independent flow in the same state, for a decision that is made
// twice.
func (f *Flow) Clone() *Flow {
	c := *f
	c.Task.Steps = slices.Clone(f.Task.Steps)
	return &c
}

// Blob returns the value that refers to data as a blob of the task, and the blob.
func Blob(n uint32, data []byte) (task.Value, store.Blob) {
	ref := &task.BlobRef{N: n, Size: int64(len(data)), SHA256: Hash(data)}
	return task.Value{Ref: ref}, store.Blob{N: n, Data: data}
}

// set is a write set in the making.
type set struct {
	f     *Flow
	ws    *store.WriteSet
	steps map[task.Ordinal]bool
}

func (f *Flow) begin() *set {
	f.now = f.now.Add(time.Millisecond)
	return &set{f: f, ws: &store.WriteSet{TaskID: f.Task.ID, Expected: f.Task.Revision}, steps: make(map[task.Ordinal]bool)}
}

func (s *set) publish(kind string) {
	t := &s.f.Task
	t.Seq++
	s.ws.Events = append(s.ws.Events, Event(t.ID, t.Seq, kind, s.f.now))
}

// Event returns an encoded event; id is empty for events without a task.
func Event(id task.ID, seq uint64, kind string, at time.Time) store.Event {
	e := &eventv1.Event{Id: fmt.Sprintf("%s/%d", id, seq), Type: kind, At: at.UnixNano(), TaskId: string(id), TaskSeq: seq}
	if id == "" {
		e.Id, e.TaskSeq = fmt.Sprintf("host/1/%d", seq), 0
	}
	encoded, err := proto.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("storetest: encode event: %v", err))
	}
	return store.Event{Type: kind, Encoded: encoded}
}

// step returns a step that the set changes.
func (s *set) step(o task.Ordinal) *task.Step {
	s.steps[o] = true
	return &s.f.Task.Steps[o]
}

func (s *set) claim(o task.Ordinal) {
	t := &s.f.Task
	if t.Status == task.Pending {
		t.Status, t.StartedAt = task.InProgress, s.f.now
		s.ws.Task = t
		s.publish("task.started")
	}
	st := s.step(o)
	st.Status, st.Attempts = task.StepInProgress, st.Attempts+1
	if st.StartedAt.IsZero() {
		st.StartedAt = s.f.now
		st.Settings = &task.Settings{HandlerVersion: 1, Retryable: true, Timeout: time.Minute, OnCrash: task.OnCrashRetry}
	}
	st.Attempt = &task.Attempt{Number: st.Attempts, Status: task.AttemptRunning, Epoch: 1, Instance: "mock#1", StartedAt: s.f.now}
	s.publish("step.started")
}

func (s *set) finish() *store.WriteSet {
	t := &s.f.Task
	t.Revision++
	t.UpdatedAt = s.f.now
	s.ws.Revision, s.ws.Seq = t.Revision, t.Seq
	if s.ws.Task != nil { // copies: a flow may go on before the set is submitted
		now := *t
		s.ws.Task = &now
	}
	for i := range t.Steps {
		if s.steps[task.Ordinal(i)] {
			now := t.Steps[i]
			s.ws.Steps = append(s.ws.Steps, &now)
		}
	}
	return s.ws
}

// end makes the task terminal.
func (s *set) end(status task.Status, event string) {
	t := &s.f.Task
	t.Status, t.CompletedAt = status, s.f.now
	s.ws.Task = t
	s.publish(event)
}

// Create makes the first write set, which also claims the given steps.
func (f *Flow) Create(claim ...task.Ordinal) *store.WriteSet {
	s := f.begin()
	f.now = f.Task.CreatedAt
	s.ws.Create = &store.Creation{
		Spec: f.Task.Spec, Template: bytes.Clone(f.Template),
		Steps: uint32(len(f.Task.Steps)), //nolint:gosec // a test's task is small
	}
	s.ws.Task = &f.Task
	s.publish("task.initialized")
	for _, o := range claim {
		s.claim(o)
	}
	return s.finish()
}

// Claim claims steps.
func (f *Flow) Claim(steps ...task.Ordinal) *store.WriteSet {
	s := f.begin()
	for _, o := range steps {
		s.claim(o)
	}
	return s.finish()
}

// Succeed completes a step with an inline result and claims the next ones; the task is
// complete when no step is left.
func (f *Flow) Succeed(o task.Ordinal, next ...task.Ordinal) *store.WriteSet {
	return f.SucceedWith(o, task.Value{Inline: []byte(`{"ok":true}`)}, next...)
}

// SucceedWith is Succeed with a result.
func (f *Flow) SucceedWith(o task.Ordinal, result task.Value, next ...task.Ordinal) *store.WriteSet {
	s := f.begin()
	st := s.step(o)
	ended := *st.Attempt
	ended.Status, ended.EndedAt = task.AttemptSucceeded, f.now
	st.Status, st.CompletedAt, st.Results, st.Attempt = task.StepComplete, f.now, result, &ended
	s.publish("step.completed")
	for _, n := range next {
		s.claim(n)
	}
	if !slices.ContainsFunc(f.Task.Steps, func(st task.Step) bool { return !st.Status.Terminal() }) {
		s.end(task.Complete, "task.completed")
	}
	return s.finish()
}

// Fail fails a claimed step for good, and the task with it.
func (f *Flow) Fail(o task.Ordinal) *store.WriteSet {
	s := f.begin()
	st := s.step(o)
	ended := *st.Attempt
	failure := &task.Failure{Kind: task.KindPermanent, Message: "no stock", Source: task.SourceDownstream}
	ended.Status, ended.EndedAt, ended.Failure = task.AttemptFailed, f.now, failure
	st.Status, st.CompletedAt, st.Failure, st.Attempt = task.StepError, f.now, failure, &ended
	st.Failures++
	s.publish("step.failed")
	f.Task.Failure = failure
	s.end(task.Error, "task.failed")
	return s.finish()
}

// Reopen retries a failed step of a failed task, as an operator does.
func (f *Flow) Reopen(o task.Ordinal) *store.WriteSet {
	s := f.begin()
	st := s.step(o)
	st.Status, st.CompletedAt, st.ReadyAt, st.Failures = task.StepPending, time.Time{}, f.now, 0
	f.Task.Status, f.Task.CompletedAt, f.Task.Failure = task.InProgress, time.Time{}, nil
	s.ws.Task = &f.Task
	s.publish("step.retry_requested")
	return s.finish()
}

// Cancel cancels every step that has not ended, and the task.
func (f *Flow) Cancel() *store.WriteSet {
	s := f.begin()
	f.Task.Stop = &task.Stop{Kind: task.StopCancel, At: f.now, By: "operator"}
	s.publish("task.cancel_requested")
	for i := range f.Task.Steps {
		if f.Task.Steps[i].Status.Terminal() {
			continue
		}
		st := s.step(task.Ordinal(i))
		st.Status, st.CompletedAt, st.Note = task.StepCancelled, f.now, task.CodeCancelRequested
		if st.Attempt != nil {
			ended := *st.Attempt
			ended.Status, ended.EndedAt = task.AttemptCancelled, f.now
			st.Attempt = &ended
		}
		s.publish("step.cancelled")
	}
	s.end(task.Cancelled, "task.cancelled")
	return s.finish()
}

// Resolve closes a failed task by hand.
func (f *Flow) Resolve() *store.WriteSet {
	s := f.begin()
	f.Task.Resolution = &task.Resolution{By: "operator", Reason: "done elsewhere", At: f.now}
	s.end(task.ResolvedManually, "task.resolved_manually")
	return s.finish()
}

// Spans returns spans of the last attempt of a step.
func (f *Flow) Spans(o task.Ordinal, otlp string) *store.AttemptSpans {
	return &store.AttemptSpans{
		Attempt: task.AttemptID{Task: f.Task.ID, Ordinal: o, Number: f.Task.Steps[o].Attempts}, OTLP: []byte(otlp),
	}
}

// Checkpoint returns a checkpoint of the running attempt of a step.
func (f *Flow) Checkpoint(o task.Ordinal, data string) *store.Checkpoint {
	return &store.Checkpoint{
		Step: task.StepID{Task: f.Task.ID, Ordinal: o}, Attempt: f.Task.Steps[o].Attempts,
		Data: []byte(data), Progress: 0.5, Note: "half", At: f.now,
	}
}
