package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// taskID is the task of all attempts: a ULID.
const taskID = "01JVER1FY00000000000000001"

// workStream is a Work stream and the book of what came back on it.
type workStream struct {
	s      *session
	stream grpc.BidiStreamingClient[pluginv1.WorkRequest, pluginv1.WorkResponse]
	cancel context.CancelFunc
	sendMu sync.Mutex
	ended  chan struct{} // closed when the stream was read to its end

	mu       sync.Mutex
	attempts map[string]*attempt
	order    []string // what breaks the order of updates
	form     []string // what is wrong with single updates
	err      error    // how the stream ended, io.EOF = in order
}

// attempt is one attempt in the book.
type attempt struct {
	id      string
	call    call
	updates int
	results int
	result  *pluginv1.Result
	done    chan struct{}        // closed with the first result
	fetches chan *pluginv1.Fetch // what it asked for
	beat    chan struct{}        // holds a value after any update but the result
	logs    []string
}

// work opens the Work stream.
func (s *session) work(ctx context.Context) (*workStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := pluginv1.NewStepServiceClient(s.conn).Work(ctx)
	if err != nil {
		cancel()
		return nil, s.callError("Work", err)
	}
	w := &workStream{s: s, stream: stream, cancel: cancel, ended: make(chan struct{}), attempts: make(map[string]*attempt)}
	go w.read()
	return w, nil
}

// new makes an attempt without sending it.
func (w *workStream) new(c call) (*attempt, *pluginv1.Attempt) {
	t := w.s.t
	t.mu.Lock()
	t.attempts++
	n := t.attempts
	t.mu.Unlock()
	a := &attempt{
		id: fmt.Sprintf("%s/%d/1", taskID, n), call: c, done: make(chan struct{}),
		fetches: make(chan *pluginv1.Fetch, 8), beat: make(chan struct{}, 1),
	}
	w.mu.Lock()
	w.attempts[a.id] = a
	w.mu.Unlock()
	return a, &pluginv1.Attempt{
		AttemptId: a.id, TaskId: taskID, Step: "verify", Handler: c.handler, HandlerVersion: c.version,
		Template: &pluginv1.TemplateRef{Namespace: "default", Name: "verify", Version: "1.0.0"},
		Number:   1, Limit: 3, IdempotencyKey: fmt.Sprintf("%s/%d", taskID, n),
		Input: &pluginv1.Value{Inline: c.input, Size: uint64(len(c.input))}, Config: c.config,
		Timeout: durationpb.New(time.Hour), CorrelationId: "verify",
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// send sends a frame.
func (w *workStream) send(frame *pluginv1.WorkRequest) error {
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	if err := w.stream.Send(frame); err != nil {
		return fmt.Errorf("the Work stream has ended: %w", w.end())
	}
	return nil
}

// start sends an attempt of its own frame.
func (w *workStream) start(c call) (*attempt, error) {
	a, wire := w.new(c)
	return a, w.send(&pluginv1.WorkRequest{Attempts: []*pluginv1.Attempt{wire}})
}

// stop cancels an attempt.
func (w *workStream) stop(a *attempt) error {
	return w.send(&pluginv1.WorkRequest{Cancels: []*pluginv1.Cancel{{AttemptId: a.id, Reason: "cancel_requested"}}})
}

// end returns how the stream ended, waiting for it.
func (w *workStream) end() error {
	select {
	case <-w.ended:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.err
	case <-time.After(w.s.t.opts.Patience):
		return errors.New("it does not end")
	}
}

// result waits for the result of an attempt. One that takes long is cancelled half-way,
// for handlers may wait for something that is not there.
func (w *workStream) result(ctx context.Context, a *attempt) (*pluginv1.Result, error) {
	half := w.s.t.opts.Patience / 2
	r, err := w.await(ctx, a, half)
	if !errors.Is(err, errNoResult) {
		return r, err
	}
	if err := w.stop(a); err != nil {
		return nil, err
	}
	return w.await(ctx, a, w.s.t.opts.Patience)
}

var errNoResult = errors.New("no result")

// await waits for the result of an attempt.
func (w *workStream) await(ctx context.Context, a *attempt, d time.Duration) (*pluginv1.Result, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-a.done:
		return a.result, nil
	case <-w.ended:
		select {
		case <-a.done:
			return a.result, nil
		default:
		}
		return nil, fmt.Errorf("attempt of %s: the Work stream ended without a result: %w", a.call.handler, w.why())
	case <-timer.C:
		return nil, fmt.Errorf("attempt of %s: %w within %s", a.call.handler, errNoResult, d)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// why is how the stream ended, with the end of the process where there is one.
func (w *workStream) why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.err, io.EOF) {
		return errors.New("the plugin closed it")
	}
	return w.s.callError("Work", w.err)
}

// finish sends no more, and reads the stream to its end: only then is known that no
// second result comes.
func (w *workStream) finish() error {
	w.sendMu.Lock()
	err := w.stream.CloseSend()
	w.sendMu.Unlock()
	if err != nil {
		return err
	}
	if err := w.end(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("when the host had sent its last frame, the Work stream did not end in order: %w", err)
	}
	return nil
}

// misorder and misform return what was wrong so far.
func (w *workStream) misorder() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.order)
}

func (w *workStream) misform() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.form)
}

func (w *workStream) read() {
	for {
		frame, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
			if !errors.Is(err, io.EOF) {
				w.err = errors.New(status.Convert(err).Message())
			}
			w.mu.Unlock()
			close(w.ended)
			w.cancel()
			return
		}
		for _, u := range frame.GetUpdates() {
			w.take(u)
		}
		w.mu.Unlock()
	}
}

// take books an update. The lock is held.
func (w *workStream) take(u *pluginv1.Update) {
	a := w.attempts[u.GetAttemptId()]
	if a == nil {
		w.order = append(w.order, fmt.Sprintf("an update names the attempt %q, which is none", u.GetAttemptId()))
		return
	}
	a.updates++
	result := u.GetResult()
	switch {
	case result != nil && a.results > 0:
		w.order = append(w.order, fmt.Sprintf("an attempt of %s got a second result", a.call.handler))
	case a.results > 0:
		w.order = append(w.order, fmt.Sprintf("an attempt of %s got an update (%T) after its result", a.call.handler, u.GetKind()))
	}
	if wrong := w.wrong(a, u); wrong != "" {
		w.form = append(w.form, fmt.Sprintf("an attempt of %s: %s", a.call.handler, wrong))
	}
	if l := u.GetLog(); l != nil {
		a.logs = append(a.logs, l.GetMessage()+" "+string(l.GetFields()))
	}
	if f := u.GetFetch(); f != nil {
		select {
		case a.fetches <- f:
		default:
		}
	}
	if result == nil {
		select {
		case a.beat <- struct{}{}:
		default:
		}
		return
	}
	a.results++
	if a.results == 1 {
		a.result = result
		close(a.done)
	}
}

// levels are what a log line may be of.
var levels = []string{"trace", "debug", "info", "warn", "error"} //nolint:gochecknoglobals // a constant list

// wrong says what is wrong with the form of an update.
func (w *workStream) wrong(a *attempt, u *pluginv1.Update) string {
	switch k := u.GetKind().(type) {
	case *pluginv1.Update_Heartbeat:
		if p := k.Heartbeat.GetProgress(); !(p >= 0 && p <= 1) {
			return fmt.Sprintf("a heartbeat tells the progress %v: want 0 to 1", p)
		}
		if c := k.Heartbeat.GetCheckpoint(); len(c) > 0 && !json.Valid(c) {
			return "a checkpoint is no JSON: " + cut(string(c))
		}
	case *pluginv1.Update_Log:
		if !slices.Contains(levels, k.Log.GetLevel()) {
			return fmt.Sprintf("a log line has the level %q: want one of %v", k.Log.GetLevel(), levels)
		}
		if f := k.Log.GetFields(); len(f) > 0 && !isObject(f) {
			return "the fields of a log line are no JSON object: " + cut(string(f))
		}
	case *pluginv1.Update_Emit:
		return w.wrongEmit(k.Emit, true)
	case *pluginv1.Update_Result:
		return w.wrongResult(a, k.Result)
	case nil:
		return "an update says nothing that this version of the wire knows"
	}
	return ""
}

func (w *workStream) wrongEmit(e *pluginv1.Emit, immediate bool) string {
	for _, spec := range w.s.t.manifest.GetEmits() {
		switch {
		case spec.GetName() != e.GetName():
			continue
		case spec.GetImmediate() && !immediate:
			return fmt.Sprintf("the event %s comes with the result, and is declared immediate", e.GetName())
		case !spec.GetImmediate() && immediate:
			return fmt.Sprintf("the event %s comes at once, and is not declared immediate", e.GetName())
		}
		if err := fits(spec.GetSchema(), e.GetPayload()); err != nil {
			return fmt.Sprintf("the event %s does not fit its schema: %v", e.GetName(), err)
		}
		return ""
	}
	return fmt.Sprintf("it emits %q, which the manifest does not declare", e.GetName())
}

// Limits of what an error carries.
const (
	maxDetails = 4 << 10
	maxPartial = 64 << 10
	maxStack   = 10
)

func (w *workStream) wrongResult(a *attempt, r *pluginv1.Result) string {
	for _, e := range r.GetEmits() {
		if wrong := w.wrongEmit(e, false); wrong != "" {
			return wrong
		}
	}
	switch o := r.GetOutcome().(type) {
	case *pluginv1.Result_Output:
		if !json.Valid(o.Output) {
			return "its output is no JSON: " + cut(string(o.Output))
		}
		if err := fits(a.call.output, o.Output); err != nil {
			return fmt.Sprintf("its output %s does not fit its schema: %v", cut(string(o.Output)), err)
		}
	case *pluginv1.Result_Error:
		return wrongError(o.Error, len(r.GetEmits()))
	default:
		return "its result has neither output nor error"
	}
	return ""
}

func wrongError(e *pluginv1.Error, emits int) string {
	switch {
	case e.GetMessage() == "":
		return "its error has no message"
	case emits > 0:
		return "it failed, and emits events with its result: these are recorded with a success alone"
	case len(e.GetDetails()) > maxDetails:
		return fmt.Sprintf("the details of its error have %d bytes: want at most %d", len(e.GetDetails()), maxDetails)
	case len(e.GetDetails()) > 0 && !json.Valid(e.GetDetails()):
		return "the details of its error are no JSON"
	case len(e.GetPartial()) > maxPartial:
		return fmt.Sprintf("the partial output of its error has %d bytes: want at most %d", len(e.GetPartial()), maxPartial)
	case len(e.GetPartial()) > 0 && !json.Valid(e.GetPartial()):
		return "the partial output of its error is no JSON"
	case len(e.GetStack()) > maxStack:
		return fmt.Sprintf("the stack of its error has %d frames: want at most %d", len(e.GetStack()), maxStack)
	}
	return ""
}

func isObject(doc []byte) bool {
	return json.Valid(doc) && bytes.HasPrefix(bytes.TrimSpace(doc), []byte("{"))
}

// outcome is a result in a word or two.
func outcome(r *pluginv1.Result) string {
	if e := r.GetError(); e != nil {
		return fmt.Sprintf("error %s %q", e.GetKind(), cut(e.GetMessage()))
	}
	return "output " + cut(string(r.GetOutput()))
}
