package publish_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

const (
	taskID = task.ID("01HZXW5N8QJ3R6T9V0B2C4D7EF")
	hostID = "01HZXW5N8QJ3R6T9V0B2C4D7HH"

	traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// sample is a task in the middle of everything, from which one of each event is made.
type sample struct {
	tmpl *template.Template
	task *task.Task
}

func newSample(tb testing.TB) *sample {
	tb.Helper()
	ref := task.HandlerRef{Plugin: "shop", Handler: "charge"}
	tmpl, err := template.New(template.Template{
		Namespace: "shop", Name: "orders", Version: "1.2.0",
		Steps: []template.Step{
			{Name: "validate", Handler: ref},
			{Name: "reserve", Handler: ref, DependsOn: []task.Ordinal{0}},
			{Name: "charge", Handler: ref, DependsOn: []task.Ordinal{1, 0}},
			{Name: "ship", Handler: ref, DependsOn: []task.Ordinal{2}},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	failure := &task.Failure{
		Kind: task.KindRetryable, Code: "HTTP_503", Message: `no "charge" today`, Class: "*shop.Error",
		Source: task.SourceDownstream, Details: []byte(`{"kept":"with the attempt"}`), Partial: []byte(`{"charged":false}`), Stack: []string{"main.charge shop.go:12"},
	}
	settings := &task.Settings{HandlerVersion: 2, Retry: task.Retry{Limit: 5}.WithDefaults(), Retryable: true}
	return &sample{tmpl: tmpl, task: &task.Task{
		Spec: task.Spec{
			ID: taskID, Template: tmpl.Ref(), Input: task.Value{Inline: []byte(`{"order":4711}`)}, CorrelationID: "corr-1",
			Initiator: "ann", SourceSystem: "web", Reason: "new order", Tags: []string{"eu", "vip"}, Priority: 3,
			CreatedAt: at.Add(-time.Minute), Deadline: at.Add(time.Hour), Traceparent: traceparent,
		},
		Status: task.Error, StartedAt: at.Add(-30 * time.Second), Seq: 41,
		Stop: &task.Stop{Kind: task.StopFailFast, At: at, By: "ann", Reason: "enough"},
		Steps: []task.Step{
			{Ordinal: 0, Name: "validate", Status: task.StepComplete},
			{Ordinal: 1, Name: "reserve", Status: task.StepComplete},
			{
				Ordinal: 2, Name: "charge", Status: task.StepError, Attempts: 4, Failures: 3, Losses: 1, Settings: settings,
				Attempt: &task.Attempt{
					Number: 4, Status: task.AttemptFailed, Instance: "shop#1",
					StartedAt: at.Add(-1500 * time.Millisecond), EndedAt: at, Failure: failure,
				},
				RetryAt: at.Add(4 * time.Second), Failure: failure, Note: task.NoteParked,
				Results: task.Value{Inline: []byte(`{"paid":true}`)},
			},
			{Ordinal: 3, Name: "ship", Status: task.StepPending},
		},
	}}
}

// call is one publishing method, called as the engine or the host would.
type call struct {
	payload event.Payload // its type
	onTask  func(*publish.Task)
	onHost  func(*publish.Host)
}

func onTask(p event.Payload, f func(*publish.Task)) call { return call{payload: p, onTask: f} }
func onHost(p event.Payload, f func(*publish.Host)) call { return call{payload: p, onHost: f} }

func (s *sample) calls() []call {
	charge := &s.task.Steps[2]
	op := task.Operation{Task: taskID, Step: "charge", By: "ann", Reason: "try again"}
	steps := []task.StepName{"charge", "ship"}
	life := task.PluginLife{
		Plugin: "shop", Version: "1.0.0", Instance: "shop#1", Cause: "exit status 2", At: at, RetryAt: at.Add(time.Second),
		Handlers: []string{"charge@2"}, Crashes: 5,
	}
	letter := task.DeadLetter{
		Subscription: "chat/failures", Seq: 17, EventID: string(taskID) + "/9", EventType: event.NameStepFailed, Task: taskID,
		Reason: "no channel #orders", Deliveries: 5,
	}
	ended := func(error) {}
	return []call{
		onTask(event.TaskInitialized{}, (*publish.Task).TaskInitialized),
		onTask(event.TaskStarted{}, (*publish.Task).TaskStarted),
		onTask(event.TaskCompleted{}, (*publish.Task).TaskCompleted),
		onTask(event.TaskFailed{}, (*publish.Task).TaskFailed),
		onTask(event.TaskCancelRequested{}, func(p *publish.Task) { p.TaskCancelRequested(op) }),
		onTask(event.TaskCancelled{}, (*publish.Task).TaskCancelled),
		onTask(event.TaskPaused{}, func(p *publish.Task) { p.TaskPaused(op) }),
		onTask(event.TaskResumed{}, func(p *publish.Task) { p.TaskResumed(op) }),
		onTask(event.TaskRetryRequested{}, func(p *publish.Task) { p.TaskRetryRequested(op, steps) }),
		onTask(event.TaskResolvedManually{}, func(p *publish.Task) { p.TaskResolvedManually(op) }),
		onTask(event.StepStarted{}, func(p *publish.Task) { p.StepStarted(charge) }),
		onTask(event.StepCompleted{}, func(p *publish.Task) { p.StepCompleted(charge) }),
		onTask(event.StepFailed{}, func(p *publish.Task) { p.StepFailed(charge, true) }),
		onTask(event.StepRetryScheduled{}, func(p *publish.Task) { p.StepRetryScheduled(charge, task.AttemptTimedOut) }),
		onTask(event.StepMaxRetriesReached{}, func(p *publish.Task) { p.StepMaxRetriesReached(charge) }),
		onTask(event.StepRetryRequested{}, func(p *publish.Task) { p.StepRetryRequested(charge, op, task.StepError) }),
		onTask(event.StepCancelled{}, func(p *publish.Task) { p.StepCancelled(charge) }),
		onTask(event.StepResolvedManually{}, func(p *publish.Task) { p.StepResolvedManually(charge, op, task.StepError) }),
		onTask(event.StepSkipped{}, func(p *publish.Task) { p.StepSkipped(&s.task.Steps[3]) }),
		onTask(event.StepWaiting{}, func(p *publish.Task) { p.StepWaiting(charge) }),
		onTask(event.StepResumed{}, func(p *publish.Task) { p.StepResumed(charge) }),
		onTask(event.StepAttemptLost{}, func(p *publish.Task) { p.StepAttemptLost(charge, task.LossCrashed) }),
		onTask(event.WorkflowViableStepsDiscovered{}, func(p *publish.Task) { p.WorkflowViableStepsDiscovered(steps) }),
		onTask(event.WorkflowNoViableSteps{}, func(p *publish.Task) { p.WorkflowNoViableSteps("fail_fast") }),
		onTask(event.WorkflowTaskFinalizationStarted{}, (*publish.Task).WorkflowTaskFinalizationStarted),
		onTask(event.WorkflowTaskFinalizationCompleted{}, (*publish.Task).WorkflowTaskFinalizationCompleted),
		onHost(event.PluginStarted{}, func(h *publish.Host) { h.PluginStarted(life) }),
		onHost(event.PluginReady{}, func(h *publish.Host) { h.PluginReady(life) }),
		onHost(event.PluginCrashed{}, func(h *publish.Host) { h.PluginCrashed(life) }),
		onHost(event.PluginQuarantined{}, func(h *publish.Host) { h.PluginQuarantined(life) }),
		onHost(event.PluginStopped{}, func(h *publish.Host) { h.PluginStopped(life) }),
		onHost(event.SubscriberDeadLettered{}, func(h *publish.Host) { h.SubscriberDeadLettered(letter, at, nil, ended) }),
		onHost(event.SubscriberGap{}, func(h *publish.Host) { h.SubscriberGap("chat/failures", 18, 40, at, &store.WriteSet{}, ended) }),
		onHost(event.SubscriberLagging{}, func(h *publish.Host) { h.SubscriberLagging("chat/failures", 1200, 61500*time.Millisecond, at) }),
		onHost(event.HostStarted{}, func(h *publish.Host) { h.HostStarted("1.0.0", at) }),
		onHost(event.HostStopping{}, func(h *publish.Host) { h.HostStopping("signal", at) }),
	}
}

// publish makes one call and returns the event that it recorded.
func (s *sample) publish(tb testing.TB, c call) *eventv1.Event {
	tb.Helper()
	var got []store.Event
	if c.onTask != nil {
		p := forTask(s.task, s.tmpl, at)
		c.onTask(p)
		events, seq, err := p.Events()
		if err != nil || seq != s.task.Seq+1 {
			tb.Fatalf("Events: seq %d, error %v", seq, err)
		}
		got = events
	} else {
		c.onHost(publish.ForHost(hostID, 7, func(ws *store.WriteSet, done func(store.Commit, error)) {
			if ws.TaskID != "" || ws.Task != nil {
				tb.Errorf("an event of the host changes a task: %+v", ws)
			}
			got = ws.Events
			done(store.Commit{}, nil)
		}, func(err error) {
			if err != nil {
				tb.Errorf("done: %v", err)
			}
		}))
	}
	if len(got) != 1 {
		tb.Fatalf("%d events, want 1", len(got))
	}
	e := &eventv1.Event{}
	if err := proto.Unmarshal(got[0].Encoded, e); err != nil {
		tb.Fatal(err)
	}
	if e.GetType() != got[0].Type {
		tb.Errorf("type %s in the write set, %s in the envelope", got[0].Type, e.GetType())
	}
	return e
}

// TestPayloads compares one payload of each type with its golden file, and reads it back
// into its type.
func TestPayloads(t *testing.T) {
	s := newSample(t)
	for _, c := range s.calls() {
		name := c.payload.EventName()
		t.Run(name, func(t *testing.T) {
			payload := s.publish(t, c).GetPayload()
			var got bytes.Buffer
			if err := json.Indent(&got, payload, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got.String(), string(want)); diff != "" {
				t.Errorf("payload (-got +want):\n%s", diff)
			}
			typed := reflect.New(reflect.TypeOf(c.payload))
			dec := json.NewDecoder(bytes.NewReader(payload))
			dec.DisallowUnknownFields()
			if err := dec.Decode(typed.Interface()); err != nil {
				t.Fatalf("decode into %T: %v", c.payload, err)
			}
			again, err := json.Marshal(typed.Interface())
			if err != nil || !bytes.Equal(again, payload) {
				t.Errorf("encoded again (%v):\n%s\nwant\n%s", err, again, payload)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) != len(event.Payloads()) {
		t.Errorf("%d golden files (%v), want %d", len(files), err, len(event.Payloads()))
	}
}

// TestEnvelopes: the head of each event, without which nobody can route it.
func TestEnvelopes(t *testing.T) {
	s := newSample(t)
	for _, c := range s.calls() {
		name := c.payload.EventName()
		t.Run(name, func(t *testing.T) {
			got := s.publish(t, c)
			want := &eventv1.Event{Id: hostID + "/7/1", Type: name, At: at.UnixNano(), Payload: got.GetPayload()}
			if c.onTask != nil {
				want.Id, want.TaskId, want.TaskSeq = string(taskID)+"/42", string(taskID), 42
				want.Namespace, want.Template, want.Version, want.CorrelationId = "shop", "orders", "1.2.0", "corr-1"
				want.Traceparent = traceparent
			}
			if strings.HasPrefix(name, "step.") {
				want.Step = "charge"
				if name == event.NameStepSkipped {
					want.Step = "ship"
				}
			}
			if !proto.Equal(got, want) {
				t.Errorf("envelope\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// TestLargeValuesTravelAsReferences: what is stored in a blob is referred to.
func TestLargeValuesTravelAsReferences(t *testing.T) {
	s := newSample(t)
	s.task.Input = task.Value{Ref: &task.BlobRef{N: task.InputBlob, Size: 70_000, SHA256: "ab"}}
	s.task.Steps[2].Results = task.Value{Ref: &task.BlobRef{N: task.ResultBlob(2), Size: 80_000, SHA256: "cd"}}
	tests := []struct {
		call func(*publish.Task)
		want string
	}{
		{(*publish.Task).TaskInitialized, `"input_ref":{"ref":"input","size":70000,"sha256":"ab"}`},
		{func(p *publish.Task) { p.StepStarted(&s.task.Steps[2]) }, `"inputs_ref":{"ref":"input","size":70000,"sha256":"ab"}`},
		{func(p *publish.Task) { p.StepCompleted(&s.task.Steps[2]) }, `"results_ref":{"ref":"result/2","size":80000,"sha256":"cd"}`},
	}
	for _, tt := range tests {
		e := s.publish(t, onTask(nil, tt.call))
		if got := string(e.GetPayload()); !strings.Contains(got, tt.want) || strings.Contains(got, `"inputs":`) || strings.Contains(got, `"results":`) {
			t.Errorf("%s: %s, want %s and no value", e.GetType(), got, tt.want)
		}
	}
}

// TestStartedInput: the event of every attempt repeats a small input only.
func TestStartedInput(t *testing.T) {
	s := newSample(t)
	s.task.InputHash = "abcd"
	for size, want := range map[int]string{
		event.MaxStartedInput:     `"inputs":"`,
		event.MaxStartedInput + 1: fmt.Sprintf(`"inputs_ref":{"ref":"input","size":%d,"sha256":"abcd"}`, event.MaxStartedInput+1),
	} {
		s.task.Input = task.Value{Inline: []byte(`"` + strings.Repeat("i", size-2) + `"`)}
		e := s.publish(t, onTask(nil, func(p *publish.Task) { p.StepStarted(&s.task.Steps[2]) }))
		if got := string(e.GetPayload()); !strings.Contains(got, want) || strings.Contains(got, "iii") != (size <= event.MaxStartedInput) {
			t.Errorf("input of %d bytes: %s, want %s", size, got, want)
		}
		e = s.publish(t, onTask(nil, (*publish.Task).TaskInitialized))
		if got := string(e.GetPayload()); !strings.Contains(got, "iii") {
			t.Errorf("input of %d bytes is not in %s", size, e.GetType())
		}
	}
}

// TestErrorData: the failure of an attempt is whole in its event, up to a limit; the
// task's event sums up.
func TestErrorData(t *testing.T) {
	s := newSample(t)
	charge := &s.task.Steps[2]
	large := []byte(`"` + strings.Repeat("x", event.MaxErrorData-1) + `"`)
	for _, tt := range []struct {
		name             string
		details, partial []byte
		call             func(*publish.Task)
		want, wantNot    []string
	}{
		{
			"failed", []byte("1"), []byte("2"), func(p *publish.Task) { p.StepFailed(charge, false) },
			[]string{`"error_kind":"retryable"`, `"error_details":1`, `"partial":2`},
			nil,
		},
		{
			"over the limit", append(large[:1:1], large[2:]...), large, func(p *publish.Task) { p.StepFailed(charge, false) },
			[]string{`"error_details":"xxx`},
			[]string{`"partial"`},
		},
		{
			"lost", []byte("1"), []byte("2"), func(p *publish.Task) { p.StepAttemptLost(charge, task.LossDrained) },
			[]string{`"error_kind":"retryable"`, `"error_details":1`, `"partial":2`},
			nil,
		},
		{
			"task", []byte("1"), []byte("2"), (*publish.Task).TaskFailed,
			[]string{`"error_kind":"retryable"`},
			[]string{"error_details", "partial"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := *charge.Failure
			f.Details, f.Partial = tt.details, tt.partial
			charge.Failure, charge.Attempt.Failure = &f, &f
			got := string(s.publish(t, onTask(nil, tt.call)).GetPayload())
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("payload %s, want %s", got, want)
				}
			}
			for _, not := range tt.wantNot {
				if strings.Contains(got, not) {
					t.Errorf("payload %s, want no %s", got, not)
				}
			}
		})
	}
}

// TestSequence: events of one decision are numbered without gaps and keep their order.
func TestSequence(t *testing.T) {
	s := newSample(t)
	p := forTask(s.task, s.tmpl, at)
	p.TaskStarted()
	p.StepStarted(&s.task.Steps[2])
	p.StepCompleted(&s.task.Steps[2])
	events, seq, err := p.Events()
	if err != nil || seq != 44 {
		t.Fatalf("Events: seq %d, error %v; want 44", seq, err)
	}
	for i, want := range []string{event.NameTaskStarted, event.NameStepStarted, event.NameStepCompleted} {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(events[i].Encoded, e); err != nil {
			t.Fatal(err)
		}
		if e.GetType() != want || e.GetTaskSeq() != uint64(42+i) || e.GetId() != fmt.Sprintf("%s/%d", taskID, 42+i) {
			t.Errorf("event %d is %s with seq %d and id %s, want %s with %d", i, e.GetType(), e.GetTaskSeq(), e.GetId(), want, 42+i)
		}
	}
}

// TestBrokenJSON: a value that is no JSON and got as far as here is an error of the
// decision.
func TestBrokenJSON(t *testing.T) {
	s := newSample(t)
	s.task.Input.Inline = []byte(`{ `)
	s.task.Steps[2].Results.Inline = []byte(`{ `)
	for _, broken := range []func(*publish.Task){
		(*publish.Task).TaskInitialized,
		func(p *publish.Task) { p.StepCompleted(&s.task.Steps[2]) },
	} {
		p := forTask(s.task, s.tmpl, at)
		p.TaskStarted()
		broken(p)
		p.TaskCompleted()
		if events, seq, err := p.Events(); err == nil || len(events) != 1 {
			t.Errorf("%d events up to %d, error %v; want the first and an error", len(events), seq, err)
		}
	}
}

// TestNoHandlers: a list that the schema requires is there also when it is empty.
func TestNoHandlers(t *testing.T) {
	s := newSample(t)
	e := s.publish(t, onHost(nil, func(h *publish.Host) { h.PluginReady(task.PluginLife{Plugin: "shop", At: at}) }))
	if got, want := string(e.GetPayload()), `{"plugin":"shop","handlers":[]}`; got != want {
		t.Errorf("payload %s, want %s", got, want)
	}
}

// TestHostEvents: they are numbered per epoch, and the end of each commit is told.
func TestHostEvents(t *testing.T) {
	var ids []string
	var ended []error
	full := errors.New("disk full")
	h := publish.ForHost(hostID, 7, func(ws *store.WriteSet, done func(store.Commit, error)) {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(ws.Events[0].Encoded, e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.GetId())
		done(store.Commit{}, full)
	}, func(err error) { ended = append(ended, err) })
	h.HostStarted("1.0.0", at)
	h.PluginStarted(task.PluginLife{Plugin: "shop", At: at})
	h.HostStopping("signal", at)
	if diff := cmp.Diff(ids, []string{hostID + "/7/1", hostID + "/7/2", hostID + "/7/3"}); diff != "" {
		t.Errorf("ids (-got +want):\n%s", diff)
	}
	if len(ended) != 3 || !errors.Is(ended[0], full) {
		t.Errorf("told %v, want the error of each commit", ended)
	}
}

// TestHostEventsWithChanges: what delivery changes is committed with the event, and its
// end is told to who asked for it alone.
func TestHostEventsWithChanges(t *testing.T) {
	full := errors.New("disk full")
	submitted := 0
	h := publish.ForHost(hostID, 7, func(ws *store.WriteSet, done func(store.Commit, error)) {
		submitted++
		if ws.Delivery == nil || len(ws.Events) != 1 {
			t.Errorf("submitted %+v, want the event and the changes", ws)
		}
		done(store.Commit{}, full)
	}, func(err error) { t.Errorf("the host was told %v", err) })
	var told []error
	done := func(err error) { told = append(told, err) }
	changes := func() *store.WriteSet {
		return &store.WriteSet{Delivery: &store.DeliverySet{Forgotten: []string{"chat/failures"}}}
	}
	h.SubscriberDeadLettered(task.DeadLetter{Subscription: "chat/failures", Seq: 1}, at, changes(), done)
	h.SubscriberGap("chat/failures", 1, 2, at, changes(), done)
	if submitted != 2 || len(told) != 2 || !errors.Is(errors.Join(told...), full) {
		t.Errorf("%d submitted, told %v; want 2 and the error of each", submitted, told)
	}
}

func forTask(t *task.Task, tmpl *template.Template, now time.Time) *publish.Task {
	p := &publish.Task{}
	p.Begin(t, tmpl, now)
	return p
}
