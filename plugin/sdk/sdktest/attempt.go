package sdktest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Attempt is one execution of a step, as a host would ask for it. Only Handler is required. Values marshal
// to JSON; a json.RawMessage is taken as it is.
type Attempt struct {
	// Handler is the handler's name within the plugin; Version its version, 0 = the highest.
	Handler string
	Version int
	// Input is the step's input. Nil = none.
	Input any
	// Config is the step's config. Nil = none.
	Config any
	// Results are the results of the dependencies by step.
	Results map[string]any
	// Skipped are dependencies that were skipped.
	Skipped []string
	// ByReference makes the plugin fetch input and results instead of having them with the attempt.
	ByReference bool
	// Number is the attempt's number. 0 = 1.
	Number int
	// Limit is the number of failures allowed. 0 = 3.
	Limit int
	// Checkpoint is the last checkpoint of an earlier attempt. Nil = none.
	Checkpoint any
	// Previous is why the attempt before failed. Nil = it did not.
	Previous *Failure
	// Timeout and HeartbeatTimeout are the attempt's limits. 0 = none.
	Timeout, HeartbeatTimeout time.Duration
	// ID, Task, Step, IdempotencyKey, CorrelationID and Tags are made up where empty.
	ID, Task, Step, IdempotencyKey, CorrelationID string
	Tags                                          []string
	// Traceparent and Tracestate are the W3C trace context of the step. Empty = a trace of its own, which is exported
	// somewhere, without a state.
	Traceparent, Tracestate string
}

// Failure is why an attempt failed, as the host hears it.
type Failure struct {
	// Verdict is what shall follow.
	Verdict sdk.Verdict
	// Code, Message and Class are the code, the text and the type of the error.
	Code, Message, Class string
	// Source is whose fault it is.
	Source sdk.Source
	// Details and Partial are JSON. Nil = none.
	Details, Partial json.RawMessage
	// RetryAfter is the least wait before the next attempt. 0 = none.
	RetryAfter time.Duration
	// Stack are the innermost frames of a panic.
	Stack []string
}

// String returns the failure on one line.
func (f *Failure) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s: %s", f.Verdict, f.Code, f.Message))
}

// Heartbeat is a sign of life.
type Heartbeat struct {
	// Progress is 0 to 1.
	Progress float64
	// Note is for people.
	Note string
	// Checkpoint is JSON. Nil = none with this heartbeat.
	Checkpoint json.RawMessage
}

// LogLine is what the handler logged.
type LogLine struct {
	// Level is trace, debug, info, warn or error.
	Level string
	// Message is the text.
	Message string
	// Fields is a JSON object. Nil = none.
	Fields json.RawMessage
}

// Outcome is everything that an attempt led to.
type Outcome struct {
	// Output is the JSON of the results. Nil = it did not succeed.
	Output json.RawMessage
	// Failure is why it failed. Nil = it did not.
	Failure *Failure
	// Lost is why no result came: the plugin, or the stream, ended. Nil = one came.
	Lost error
	// Heartbeats, in order. Those in quick succession may have been merged by the SDK.
	Heartbeats []Heartbeat
	// Checkpoint is the last one. Nil = none.
	Checkpoint json.RawMessage
	// Logs are the attempt's log lines, in order.
	Logs []LogLine
	// Emitted are the custom events that are recorded: the immediate ones, and with a success the others, in order.
	Emitted []Emitted
	// Spans are the spans of the attempt, in the order in which they began: the first one is its own. There are none if
	// the trace is not exported and the handler has not made any.
	Spans []Span
}

// Emitted is a custom event that an attempt emitted.
type Emitted struct {
	// Name is "plugin.event".
	Name string
	// Payload is JSON.
	Payload json.RawMessage
	// Immediate is true for one that came at once, and not with the result.
	Immediate bool
}

// Decode decodes the payload into v, and fails the test if that cannot be.
func (e Emitted) Decode(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal(e.Payload, v); err != nil {
		tb.Fatalf("decode the payload of %s: %v\n%s", e.Name, err, e.Payload)
	}
}

// Decode decodes the output of an attempt into v, and fails the test if there is none.
func (o *Outcome) Decode(tb testing.TB, v any) {
	tb.Helper()
	if o.Output == nil {
		tb.Fatalf("the attempt did not succeed: failure %v, lost %v", o.Failure, o.Lost)
	}
	if err := json.Unmarshal(o.Output, v); err != nil {
		tb.Fatalf("decode the output: %v\n%s", err, o.Output)
	}
}

// Running is an attempt that was sent to the plugin.
type Running struct {
	p      *Plugin
	id     string
	asked  Attempt
	sent   *pluginv1.Attempt
	values map[string][]byte // what can be fetched

	mu      sync.Mutex
	outcome Outcome
	beats   int           // heartbeats handed out
	lines   int           // log lines handed out
	changed chan struct{} // closed and replaced at every update
	done    chan struct{} // closed with the result or the loss
	wrong   []string      // what no host can make sense of
}

// Run executes an attempt and waits for its end.
func (p *Plugin) Run(tb testing.TB, a Attempt) *Outcome {
	tb.Helper()
	return p.Begin(tb, a).Wait(tb)
}

// Begin sends an attempt. The test fails at its end if more than one result came.
func (p *Plugin) Begin(tb testing.TB, a Attempt) *Running {
	tb.Helper()
	r := &Running{p: p, values: make(map[string][]byte), changed: make(chan struct{}), done: make(chan struct{})}
	p.mu.Lock()
	p.started++
	a = a.withDefaults(p.started)
	p.mu.Unlock()
	wire, err := r.wire(a)
	if err != nil {
		tb.Fatalf("attempt at %s: %v", a.Handler, err)
	}
	r.id, r.asked, r.sent = a.ID, a, wire
	p.mu.Lock()
	p.attempts[a.ID] = r
	ended := p.ended
	p.mu.Unlock()
	if ended != nil {
		tb.Fatalf("the plugin takes no work: %v", ended)
	}
	tb.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, wrong := range r.wrong {
			tb.Errorf("attempt %s: %s", r.id, wrong)
		}
	})
	if err := p.send(&pluginv1.WorkRequest{Attempts: []*pluginv1.Attempt{wire}}); err != nil {
		tb.Fatalf("send attempt %s: %v", a.ID, err)
	}
	return r
}

func (a Attempt) withDefaults(n int) Attempt {
	a.Task = cmp.Or(a.Task, fmt.Sprintf("task-%d", n))
	a.Step = cmp.Or(a.Step, "step")
	a.Number = cmp.Or(a.Number, 1)
	a.Limit = cmp.Or(a.Limit, 3)
	a.ID = cmp.Or(a.ID, fmt.Sprintf("%s/0/%d", a.Task, a.Number))
	a.IdempotencyKey = cmp.Or(a.IdempotencyKey, a.Task+"/0")
	a.CorrelationID = cmp.Or(a.CorrelationID, a.Task)
	if a.Traceparent == "" {
		place := trace.Of(a.Task, "")
		a.Traceparent = place.Traceparent(place.StepSpan(a.Step, 0))
	}
	return a
}

// wire makes the attempt's form on the wire.
func (r *Running) wire(a Attempt) (*pluginv1.Attempt, error) {
	input, err := r.value("input", a.Input, a.ByReference)
	if err != nil {
		return nil, err
	}
	config, err := document(a.Config)
	if err != nil {
		return nil, err
	}
	checkpoint, err := document(a.Checkpoint)
	if err != nil {
		return nil, err
	}
	w := &pluginv1.Attempt{
		AttemptId: a.ID, TaskId: a.Task, Step: a.Step, Handler: a.Handler,
		HandlerVersion: uint32(a.Version), Number: uint32(a.Number), Limit: uint32(a.Limit), //nolint:gosec // small
		Template:       &pluginv1.TemplateRef{Namespace: "default", Name: "sdktest", Version: "1.0.0"},
		IdempotencyKey: a.IdempotencyKey, CorrelationId: a.CorrelationID, Tags: a.Tags, Traceparent: a.Traceparent, Tracestate: a.Tracestate,
		Input: input, Config: config, Checkpoint: checkpoint, PreviousError: a.Previous.wire(),
	}
	for _, step := range slices.Sorted(maps.Keys(a.Results)) {
		v, err := r.value("results/"+step, a.Results[step], a.ByReference)
		if err != nil {
			return nil, err
		}
		w.Results = append(w.Results, &pluginv1.DependencyResult{Step: step, Status: "complete", Value: v})
	}
	for _, step := range a.Skipped {
		w.Results = append(w.Results, &pluginv1.DependencyResult{Step: step, Status: "skipped"})
	}
	if a.Timeout > 0 {
		w.Timeout = durationpb.New(a.Timeout)
	}
	if a.HeartbeatTimeout > 0 {
		w.HeartbeatTimeout = durationpb.New(a.HeartbeatTimeout)
	}
	return w, nil
}

// value makes a value on the wire, inline or by reference.
func (r *Running) value(ref string, v any, byReference bool) (*pluginv1.Value, error) {
	doc, err := document(v)
	if err != nil || doc == nil {
		return nil, err
	}
	if !byReference {
		return &pluginv1.Value{Inline: doc, Size: uint64(len(doc))}, nil
	}
	r.values[ref] = doc
	return &pluginv1.Value{Ref: ref, Size: uint64(len(doc))}, nil
}

// wire makes the failure's form on the wire.
func (f *Failure) wire() *pluginv1.Error {
	if f == nil {
		return nil
	}
	kind := pluginv1.ErrorKind_ERROR_KIND_RETRYABLE
	switch f.Verdict {
	case sdk.Final:
		kind = pluginv1.ErrorKind_ERROR_KIND_PERMANENT
	case sdk.Cancelled:
		kind = pluginv1.ErrorKind_ERROR_KIND_CANCELLED
	default: // what kind is already
	}
	return &pluginv1.Error{Kind: kind, Code: f.Code, Message: f.Message, Class: f.Class, Details: f.Details, Partial: f.Partial, Stack: f.Stack}
}

// failure reads the wire's form.
func failure(e *pluginv1.Error) *Failure {
	f := &Failure{
		Verdict: sdk.Retryable, Code: e.GetCode(), Message: e.GetMessage(), Class: e.GetClass(),
		Details: e.GetDetails(), Partial: e.GetPartial(), RetryAfter: e.GetRetryAfter().AsDuration(), Stack: e.GetStack(),
	}
	switch e.GetKind() {
	case pluginv1.ErrorKind_ERROR_KIND_PERMANENT:
		f.Verdict = sdk.Final
	case pluginv1.ErrorKind_ERROR_KIND_CANCELLED:
		f.Verdict = sdk.Cancelled
	default: // what the verdict is already
	}
	if e.GetSource() == pluginv1.ErrorSource_ERROR_SOURCE_DOWNSTREAM {
		f.Source = sdk.FromDownstream
	}
	return f
}

// take records an update.
func (r *Running) take(u *pluginv1.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isClosed(r.done) {
		r.wrong = append(r.wrong, fmt.Sprintf("it went on after its result: %T", u.GetKind()))
		return
	}
	switch k := u.GetKind().(type) {
	case *pluginv1.Update_Heartbeat:
		h := Heartbeat{Progress: k.Heartbeat.GetProgress(), Note: k.Heartbeat.GetNote(), Checkpoint: k.Heartbeat.GetCheckpoint()}
		r.outcome.Heartbeats = append(r.outcome.Heartbeats, h)
		if len(h.Checkpoint) > 0 {
			r.outcome.Checkpoint = h.Checkpoint
		}
	case *pluginv1.Update_Log:
		r.outcome.Logs = append(r.outcome.Logs, LogLine{Level: k.Log.GetLevel(), Message: k.Log.GetMessage(), Fields: k.Log.GetFields()})
	case *pluginv1.Update_Fetch:
		go r.answer(k.Fetch.GetRef())
	case *pluginv1.Update_Emit:
		r.outcome.emitted(k.Emit, true)
	case *pluginv1.Update_Spans:
		spans, err := decodeSpans(k.Spans.GetOtlp())
		if err != nil {
			r.wrong = append(r.wrong, err.Error())
		}
		if n := len(k.Spans.GetOtlp()); n > maxSpanBytes {
			r.wrong = append(r.wrong, fmt.Sprintf("it sends spans of %d bytes, hosts keep %d", n, maxSpanBytes))
		}
		r.outcome.Spans = append(r.outcome.Spans, spans...)
	case *pluginv1.Update_Result:
		for _, e := range k.Result.GetEmits() {
			r.outcome.emitted(e, false)
		}
		if e := k.Result.GetError(); e != nil {
			r.outcome.Failure = failure(e)
		} else {
			r.outcome.Output = k.Result.GetOutput()
		}
		close(r.done)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// emitted records a custom event.
func (o *Outcome) emitted(e *pluginv1.Emit, immediate bool) {
	o.Emitted = append(o.Emitted, Emitted{Name: e.GetName(), Payload: e.GetPayload(), Immediate: immediate})
}

// answer sends a value that was asked for, in parts. A plugin that ends meanwhile is seen elsewhere.
func (r *Running) answer(ref string) {
	doc, ok := r.values[ref]
	if !ok {
		_ = r.p.send(chunk(&pluginv1.Chunk{AttemptId: r.id, Ref: ref, Last: true, Error: "no such value"}))
		return
	}
	const part = 512 << 10
	for {
		n := min(part, len(doc))
		c := &pluginv1.Chunk{AttemptId: r.id, Ref: ref, Data: doc[:n], Last: n == len(doc)}
		if err := r.p.send(chunk(c)); err != nil || c.GetLast() {
			return
		}
		doc = doc[n:]
	}
}

func chunk(c *pluginv1.Chunk) *pluginv1.WorkRequest {
	return &pluginv1.WorkRequest{Chunks: []*pluginv1.Chunk{c}}
}

func (r *Running) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !isClosed(r.done) {
		r.outcome.Lost = err
		close(r.done)
	}
}

// Again sends the step's next attempt, as a host does when this one has failed, or was lost with its process: same step,
// input and idempotency key, the next number, the last checkpoint, and the failure of this one. It goes to the plugin
// given, which is the one that was launched anew after a crash. It waits for the end of this attempt, and as long as its
// failure asks with RetryAfter.
//
//	held := p.Begin(t, attempt)
//	held.Heartbeat(t)
//	p.Kill()
//	got := held.Again(t, sdktest.Launch(t, binary)).Wait(t)
func (r *Running) Again(tb testing.TB, p *Plugin) *Running {
	tb.Helper()
	got := r.Wait(tb)
	if got.Failure == nil && got.Lost == nil {
		tb.Fatalf("attempt %s succeeded: no other one follows", r.id)
	}
	a := r.asked
	a.ID, a.Number = "", a.Number+1
	if got.Checkpoint != nil {
		a.Checkpoint = got.Checkpoint
	}
	if a.Previous = got.Failure; a.Previous != nil && a.Previous.RetryAfter > 0 {
		<-time.After(a.Previous.RetryAfter)
	}
	return p.Begin(tb, a)
}

// Resend sends an attempt that was sent already, which a plugin ignores while it runs.
func (p *Plugin) Resend(tb testing.TB, r *Running) {
	tb.Helper()
	if err := p.send(&pluginv1.WorkRequest{Attempts: []*pluginv1.Attempt{r.sent}}); err != nil {
		tb.Fatalf("send attempt %s again: %v", r.id, err)
	}
}

// Cancel asks the plugin to stop the attempt.
func (r *Running) Cancel(tb testing.TB, reason string) {
	tb.Helper()
	if err := r.p.send(&pluginv1.WorkRequest{Cancels: []*pluginv1.Cancel{{AttemptId: r.id, Reason: reason}}}); err != nil {
		tb.Fatalf("cancel %s: %v", r.id, err)
	}
}

// Wait waits for the attempt's end.
func (r *Running) Wait(tb testing.TB) *Outcome {
	tb.Helper()
	select {
	case <-r.done:
	case <-time.After(r.p.patience):
		tb.Fatalf("attempt %s has not ended after %s", r.id, r.p.patience)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.outcome
	return &o
}

// Heartbeat waits for the next heartbeat that was not returned yet.
func (r *Running) Heartbeat(tb testing.TB) Heartbeat {
	tb.Helper()
	var h Heartbeat
	r.await(tb, "heartbeat", func() bool {
		if r.beats == len(r.outcome.Heartbeats) {
			return false
		}
		h = r.outcome.Heartbeats[r.beats]
		r.beats++
		return true
	})
	return h
}

// Log waits for the next log line that was not returned yet.
func (r *Running) Log(tb testing.TB) LogLine {
	tb.Helper()
	var l LogLine
	r.await(tb, "log line", func() bool {
		if r.lines == len(r.outcome.Logs) {
			return false
		}
		l = r.outcome.Logs[r.lines]
		r.lines++
		return true
	})
	return l
}

// await waits until have is true; it is called with the lock held.
func (r *Running) await(tb testing.TB, what string, have func() bool) {
	tb.Helper()
	timeout := time.After(r.p.patience)
	for {
		r.mu.Lock()
		ok, over, changed := have(), isClosed(r.done), r.changed
		r.mu.Unlock()
		switch {
		case ok:
			return
		case over:
			tb.Fatalf("attempt %s ended without a further %s: %+v", r.id, what, r.outcome)
		}
		select {
		case <-changed:
		case <-r.done:
		case <-timeout:
			tb.Fatalf("no further %s of attempt %s after %s", what, r.id, r.p.patience)
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
