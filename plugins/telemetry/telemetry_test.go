package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin.
func TestMain(m *testing.M) {
	if sdktest.Launched() {
		main()
	}
	hosttest.Main(m)
}

type values = map[string]any

// start starts the plugin in the working directory.
func start(t *testing.T, config values) *sdktest.Subscription {
	t.Helper()
	return sdktest.Start(t, plugin(), sdktest.Options{Config: config}).Subscribe(t, "spans")
}

func allAcked(t *testing.T, sent ...*sdktest.Delivered) {
	t.Helper()
	for i, d := range sent {
		if a := d.Wait(t); a.Verdict != sdktest.Acked {
			t.Fatalf("event %d was %s: %s", i, a.Verdict, a.Reason)
		}
	}
}

func order() event.Task {
	return event.Task{TaskID: "01JD", Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationID: "web-1"}
}

// step is an attempt at a step, from one second to another.
func step(name string, attempt uint32, from, to float64) event.Step {
	s := event.Step{Task: order(), StepID: "01JD/" + name, StepName: name, Handler: "shop/" + name, AttemptNumber: attempt}
	if attempt > 0 {
		s.StartedAt = at(from)
		if to > from {
			s.CompletedAt = at(to)
		}
	}
	return s
}

// again is an attempt after an operator had the step begin anew.
func again(s event.Step) event.Step {
	s.Round = 1
	return s
}

func ended(seconds float64) event.TaskEnded {
	return event.TaskEnded{Task: order(), StartedAt: at(1), CompletedAt: at(seconds), TotalDuration: event.Seconds(seconds)}
}

// tell makes events of payloads, each with the time at which it was recorded.
func tell(pairs ...any) []sdktest.Event {
	var events []sdktest.Event
	for i := 0; i < len(pairs); i += 2 {
		seconds, _ := pairs[i].(float64)
		events = append(events, sdktest.Event{Payload: pairs[i+1], At: at(seconds)})
	}
	return events
}

// story is a task with retries, a loss, a skipped step, and success.
func story() []sdktest.Event {
	bank := event.Error{Message: "no answer", Class: "*shop.BankError", Code: "bank_down", Source: "downstream", Kind: "retryable"}
	return tell(
		0.0, event.TaskInitialized{Task: order()},
		1.0, event.TaskStarted{Task: order()},
		1.0, event.StepStarted{Step: step("reserve", 1, 1, 0)},
		2.0, event.StepCompleted{Step: step("reserve", 1, 1, 2)},
		2.5, event.StepStarted{Step: step("charge", 1, 2.5, 0), Dependencies: []string{"reserve"}},
		3.0, event.StepFailed{Step: step("charge", 1, 2.5, 3), Error: bank, Retryable: true},
		3.0, event.StepRetryScheduled{Step: step("charge", 1, 2.5, 3)},
		4.0, event.StepStarted{Step: step("charge", 2, 4, 0), Dependencies: []string{"reserve"}},
		5.0, event.StepAttemptLost{Step: step("charge", 2, 4, 5), Cause: "crashed"},
		6.0, event.StepStarted{Step: step("charge", 3, 6, 0), Dependencies: []string{"reserve"}},
		7.0, event.StepCompleted{Step: step("charge", 3, 6, 7)},
		7.0, event.StepSkipped{Step: step("gift", 0, 0, 0), Reason: "bypassed"},
		7.25, event.TaskCompleted{TaskEnded: ended(7.25)},
	)
}

const storyTree = `order 0s-7.25s ok workflow.correlation_id=web-1 task.status=complete
  reserve 1s-2s ok workflow.correlation_id=web-1 step.id=01JD/reserve step.name=reserve step.handler=shop/reserve step.status=complete step.attempts=1
    reserve attempt 1s-2s ok workflow.correlation_id=web-1 step.id=01JD/reserve step.name=reserve step.handler=shop/reserve attempt.number=1
  charge 2.5s-7s ok workflow.correlation_id=web-1 step.id=01JD/charge step.name=charge step.handler=shop/charge step.status=complete step.dependencies=reserve step.attempts=3
    charge attempt 2.5s-3s error "no answer" workflow.correlation_id=web-1 step.id=01JD/charge step.name=charge step.handler=shop/charge attempt.number=1 error.type=*shop.BankError error.code=bank_down error.source=downstream error.category=downstream +exception
    charge attempt 4s-5s error "the attempt was lost: crashed" workflow.correlation_id=web-1 step.id=01JD/charge step.name=charge step.handler=shop/charge attempt.number=2 error.code=crashed error.source=host error.category=host +exception
    charge attempt 6s-7s ok workflow.correlation_id=web-1 step.id=01JD/charge step.name=charge step.handler=shop/charge attempt.number=3
  gift 7s-7s workflow.correlation_id=web-1 step.id=01JD/gift step.name=gift step.handler=shop/gift step.status=skipped
`

// TestTree has a span for each task, step and attempt, and nothing left behind; what comes again makes the same spans.
func TestTree(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	s := start(t, values{"endpoint": r.url})
	sent := s.Send(t, story()...)
	allAcked(t, sent...)
	allAcked(t, s.Redeliver(t, sent...)...)
	if diff := cmp.Diff(storyTree, r.tree(t)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	want := map[string]string{
		trace.KeyTaskID: "01JD", trace.KeyTaskNamespace: "shop", trace.KeyTaskTemplate: "order", trace.KeyTaskVersion: "1.2.0", trace.KeyTaskStatus: "complete", trace.KeyCorrelationID: "web-1",
	}
	got := make(map[string]string)
	for _, kv := range r.spans[trace.Of("01JD", "").Span().String()].GetAttributes() {
		got[kv.GetKey()] = show(kv.GetValue())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes of the task (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(notesDir); err != nil || len(left) > 0 {
		t.Errorf("notes of an ended task: %v, %v", left, err)
	}
}

// TestRestart has the plugin start anew after each event, and deliver the last one again: the trace is the same.
func TestRestart(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	var last *sdktest.Delivered
	for i, e := range story() {
		e.Seq = uint64(i + 1)
		s := start(t, values{"endpoint": r.url})
		if last != nil {
			allAcked(t, s.Redeliver(t, last)...)
		}
		last = s.Send(t, e)[0]
		allAcked(t, last)
		s.Close(t)
	}
	if diff := cmp.Diff(storyTree, r.tree(t)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// TestKilled does so with a process that is killed.
func TestKilled(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, dir := receive(t), t.TempDir()
	launch := func() (*sdktest.Plugin, *sdktest.Subscription) {
		p := sdktest.Launch(t, binary, sdktest.Options{DataDir: dir, Config: values{"endpoint": r.url}})
		return p, p.Subscribe(t, "spans")
	}
	p, s := launch()
	sent := s.Send(t, story()...)
	allAcked(t, sent[:6]...)
	p.Kill()
	_, s = launch()
	allAcked(t, s.Redeliver(t, sent[6:]...)...)
	if got := r.count(); got != strings.Count(storyTree, "\n") {
		t.Errorf("%d spans, want\n%s", got, storyTree)
	}
}

// TestReopened is a failed task that an operator has go on; what it waits for begins new spans, in the same trace.
func TestReopened(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	failure := event.Error{Message: "card declined", Code: "declined", Kind: "permanent"}
	allAcked(t, start(t, values{"endpoint": r.url}).Send(t, tell(
		0.0, event.TaskInitialized{Task: order()},
		1.0, event.StepStarted{Step: step("charge", 1, 1, 0)},
		2.0, event.StepFailed{Step: step("charge", 1, 1, 2), Error: failure, Final: true},
		2.0, event.TaskFailed{TaskEnded: ended(2), FailedSteps: []event.FailedStep{{StepName: "charge", Error: failure}}},
		5.0, event.TaskRetryRequested{Task: order()},
		5.0, event.StepRetryRequested{Step: again(step("charge", 1, 1, 2)), PreviousStatus: "error"},
		6.0, event.StepStarted{Step: again(step("charge", 2, 6, 0))},
		7.0, event.StepFailed{Step: again(step("charge", 2, 6, 7)), Error: failure, Final: true},
		7.0, event.TaskFailed{TaskEnded: ended(7), Reason: "fail_fast"},
		8.0, event.StepResolvedManually{Step: again(step("charge", 2, 6, 7)), PreviousStatus: "error"},
		9.0, event.TaskCompleted{TaskEnded: ended(9)},
	)...)...)
	want := `order 0s-2s error "step charge: card declined" task.status=error error.code=declined error.category=permanent
  charge 1s-2s error "card declined" step.id=01JD/charge step.name=charge step.handler=shop/charge step.status=error step.attempts=1 error.code=declined error.category=permanent
    charge attempt 1s-2s error "card declined" step.id=01JD/charge step.name=charge step.handler=shop/charge attempt.number=1 error.code=declined error.category=permanent +exception
  order again 5s-7s error "fail_fast" task.status=error error.code=fail_fast error.category=plugin
  charge 6s-7s error "card declined" step.id=01JD/charge step.name=charge step.handler=shop/charge step.status=error step.attempts=2 error.code=declined error.category=permanent
    charge attempt 6s-7s error "card declined" step.id=01JD/charge step.name=charge step.handler=shop/charge attempt.number=2 error.code=declined error.category=permanent +exception
  order again 8s-9s ok task.status=complete
`
	if diff := cmp.Diff(want, strings.ReplaceAll(r.tree(t), " workflow.correlation_id=web-1", "")); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// TestEnds has steps that end otherwise than by an attempt.
func TestEnds(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	failure := event.Error{Message: "out of time", Kind: "timeout"}
	allAcked(t, start(t, values{"endpoint": r.url}).Send(t, tell(
		1.0, event.StepStarted{Step: step("deadline", 1, 1, 0)},
		2.0, event.StepFailed{Step: step("deadline", 1, 1, 2), Error: failure, Retryable: true},
		4.0, event.StepFailed{Step: step("deadline", 1, 1, 2), Error: failure, Final: true}, // between attempts
		2.0, event.StepStarted{Step: step("parked", 1, 2, 0)},
		3.0, event.StepAttemptLost{Step: step("parked", 1, 2, 3), Cause: "hung"},
		3.0, event.StepWaiting{Step: step("parked", 1, 2, 3)},
		4.0, event.StepRetryRequested{Step: step("parked", 1, 2, 3), PreviousStatus: "waiting"},
		5.0, event.StepResolvedManually{Step: step("parked", 1, 2, 3), PreviousStatus: "waiting"},
		3.0, event.StepStarted{Step: step("running", 1, 3, 0)},
		5.0, event.StepCancelled{Step: step("running", 1, 3, 5)},
		5.0, event.StepCancelled{Step: step("never", 0, 0, 0)},
		4.0, event.StepStarted{Step: step("optional", 1, 4, 0)},
		5.0, event.StepFailed{Step: step("optional", 1, 4, 5), Error: failure, Final: true},
		5.0, event.StepSkipped{Step: step("optional", 1, 4, 5), Reason: "optional"},
		5.0, event.TaskCancelled{TaskEnded: ended(5)},
	)...)...)
	lines := strings.Split(r.tree(t), "\n")
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, " workflow.")
	}
	want := []string{
		`order 0s-5s`,
		`  deadline 1s-4s error "out of time"`, `    deadline attempt 1s-2s error "out of time"`,
		`  parked 2s-5s`, `    parked attempt 2s-3s error "the attempt was lost: hung"`,
		`  running 3s-5s`, `    running attempt 3s-5s`,
		`  optional 4s-5s error "out of time"`, `    optional attempt 4s-5s error "out of time"`,
		`  never 5s-5s`, ``,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// TestTraceparent puts the task into the caller's trace, unless that is not recorded.
func TestTraceparent(t *testing.T) {
	derived := trace.Of("01JD", "").Trace.String()
	const theirs, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	tests := map[string]struct{ traceparent, trace, parent string }{
		"none":       {"", derived, ""},
		"sampled":    {"00-" + theirs + "-" + caller + "-01", theirs, caller},
		"later":      {"cc-" + theirs + "-" + caller + "-01-what-else", theirs, caller},
		"short":      {"00-" + theirs + "-01", derived, ""},
		"no version": {"ff-" + theirs + "-" + caller + "-01", derived, ""},
		"no hex":     {"00-" + strings.Repeat("x", 32) + "-" + caller + "-01", derived, ""},
		"zero":       {"00-" + strings.Repeat("0", 32) + "-" + caller + "-01", derived, ""},
		"muted":      {"00-" + theirs + "-" + caller + "-00", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			r := receive(t)
			allAcked(t, start(t, values{"endpoint": r.url}).Send(t, sdktest.Event{Payload: event.TaskCompleted{TaskEnded: ended(2)}, Traceparent: tt.traceparent})...)
			got := []string{"", ""}
			for _, s := range r.spans {
				got = []string{hex.EncodeToString(s.GetTraceId()), hex.EncodeToString(s.GetParentSpanId())}
			}
			if diff := cmp.Diff([]string{tt.trace, tt.parent}, got); diff != "" {
				t.Errorf("trace and parent (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnswers shows what becomes of an event when the receiver does not take its spans.
func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		out  *coltracepb.ExportTraceServiceResponse
		err  error
		want sdktest.Verdict
		away bool
	}{
		"taken":        {nil, nil, sdktest.Acked, false},
		"unavailable":  {nil, status.Error(codes.Unavailable, "later"), sdktest.Retried, true},
		"unauthorised": {nil, status.Error(codes.Unauthenticated, "who?"), sdktest.Retried, true},
		"forbidden":    {nil, status.Error(codes.PermissionDenied, "you?"), sdktest.Retried, true},
		"late":         {nil, status.Error(codes.DeadlineExceeded, "oh"), sdktest.Retried, true},
		"exhausted":    {nil, status.Error(codes.ResourceExhausted, "too large"), sdktest.Retried, false},
		"internal":     {nil, status.Error(codes.Internal, "oh"), sdktest.Retried, false},
		"invalid":      {nil, status.Error(codes.InvalidArgument, "no"), sdktest.Rejected, false},
		"partial": {&coltracepb.ExportTraceServiceResponse{
			PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "too old"},
		}, nil, sdktest.Rejected, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			r := receive(t)
			r.answer = func(*coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
				return tt.out, tt.err
			}
			got := start(t, values{"endpoint": r.url}).Deliver(t, sdktest.Event{Type: event.NameTaskCompleted})
			if got.Verdict != tt.want || got.Unavailable != tt.away {
				t.Errorf("%s, unavailable %t: %s; want %s, %t", got.Verdict, got.Unavailable, got.Reason, tt.want, tt.away)
			}
		})
	}
}

// TestHTTPAnswers shows the same of a receiver by HTTP.
func TestHTTPAnswers(t *testing.T) {
	tests := map[int]struct {
		want sdktest.Verdict
		away bool
	}{
		http.StatusOK:                    {sdktest.Acked, false},
		http.StatusBadRequest:            {sdktest.Rejected, false},
		http.StatusUnauthorized:          {sdktest.Retried, true},
		http.StatusForbidden:             {sdktest.Retried, true},
		http.StatusRequestEntityTooLarge: {sdktest.Retried, false},
		http.StatusTooManyRequests:       {sdktest.Retried, true},
		http.StatusInternalServerError:   {sdktest.Retried, false},
		http.StatusBadGateway:            {sdktest.Retried, true},
		http.StatusServiceUnavailable:    {sdktest.Retried, true},
		http.StatusGatewayTimeout:        {sdktest.Retried, true},
	}
	for code, tt := range tests {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Chdir(t.TempDir())
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				_, _ = w.Write([]byte("not: 401 or 403"))
			}))
			t.Cleanup(server.Close)
			got := start(t, values{"endpoint": server.URL, "protocol": "http/protobuf"}).Deliver(t, sdktest.Event{Type: event.NameTaskCompleted})
			if got.Verdict != tt.want || got.Unavailable != tt.away {
				t.Errorf("%s, unavailable %t: %s; want %s, %t", got.Verdict, got.Unavailable, got.Reason, tt.want, tt.away)
			}
		})
	}
}

// TestAway shows that no event is at fault for a receiver that is not there, nor for the disk.
func TestAway(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			t.Chdir(t.TempDir())
			gone := httptest.NewServer(nil)
			gone.Close()
			got := start(t, values{"endpoint": gone.URL, "protocol": protocol}).Deliver(t, sdktest.Event{Type: event.NameTaskCompleted})
			if got.Verdict != sdktest.Retried || !got.Unavailable {
				t.Errorf("%s, unavailable %t: %s", got.Verdict, got.Unavailable, got.Reason)
			}
		})
	}
	t.Run("disk", func(t *testing.T) {
		t.Chdir(t.TempDir())
		s := start(t, values{"endpoint": receive(t).url})
		if err := os.WriteFile(notesDir, nil, 0o600); err != nil { // where the directory would be
			t.Fatal(err)
		}
		got := s.Deliver(t, sdktest.Event{Type: event.NameTaskInitialized})
		if got.Verdict != sdktest.Retried || !got.Unavailable || !strings.HasPrefix(got.Reason, "notes: ") {
			t.Errorf("%s, unavailable %t: %s", got.Verdict, got.Unavailable, got.Reason)
		}
	})
}

// TestGathered sends what gathers in one request; of which only what is refused is rejected.
func TestGathered(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	began, hold := make(chan struct{}, 100), make(chan struct{})
	r.answer = func(req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
		began <- struct{}{}
		<-hold
		if slices.ContainsFunc(req.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans(), func(s *tracepb.Span) bool { return label(s) == "bad" }) {
			return nil, status.Error(codes.InvalidArgument, "bad")
		}
		return nil, nil
	}
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: values{"endpoint": r.url}})
	s := p.Subscribe(t, "spans")
	send := func(task, template string) *sdktest.Delivered {
		e := ended(1)
		e.TaskID, e.Template = task, template
		return s.Send(t, sdktest.Event{Payload: event.TaskCompleted{TaskEnded: e}})[0]
	}
	sent := []*sdktest.Delivered{send("first", "order")}
	<-began
	for i := range 20 {
		sent = append(sent, send(fmt.Sprint(i), map[bool]string{true: "bad", false: "order"}[i == 7]))
	}
	close(hold)
	for i, d := range sent {
		want := map[bool]sdktest.Verdict{true: sdktest.Rejected, false: sdktest.Acked}[i == 8]
		if got := d.Wait(t); got.Verdict != want {
			t.Errorf("event %d was %s: %s, want %s", i, got.Verdict, got.Reason, want)
		}
	}
}

// TestHTTP exports by HTTP, as the configuration says.
func TestHTTP(t *testing.T) {
	t.Chdir(t.TempDir())
	r := &receiver{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	s := start(t, values{
		"endpoint": server.URL, "protocol": "http/protobuf", "headers": values{"x-key": "secret"}, "compression": "gzip", "timeout": "3s",
		"service_name": "shop-tasks", "attributes": values{"deployment.environment.name": "test"},
	})
	allAcked(t, s.Send(t, story()...)...)
	if diff := cmp.Diff(storyTree, r.tree(t)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"service.name": "shop-tasks", "deployment.environment.name": "test"}, r.resource); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
	if got := r.header["X-Key"]; len(got) != 1 || got[0] != "secret" {
		t.Errorf("headers %v", slices.Sorted(maps.Keys(r.header)))
	}
	r.answer = func(*coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
		return nil, errors.New("no")
	}
	if got := s.Deliver(t, sdktest.Event{Type: event.NameTaskCompleted}); got.Verdict != sdktest.Rejected {
		t.Errorf("%s: %s, want rejected", got.Verdict, got.Reason)
	}
}

// TestEnvironment has what the variables say, below the configuration.
func TestEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.url)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
	t.Setenv("OTEL_SERVICE_NAME", "from-env")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "a=env,b=env")
	allAcked(t, start(t, values{"attributes": values{"a": "config"}}).Send(t, sdktest.Event{Type: event.NameTaskCompleted})...)
	if diff := cmp.Diff(map[string]string{"service.name": "from-env", "a": "config", "b": "env"}, r.resource); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
	if got := r.header["x-key"]; len(got) != 1 || got[0] != "secret" {
		t.Errorf("headers %v", r.header)
	}
}

// TestRefusedConfiguration says where.
func TestRefusedConfiguration(t *testing.T) {
	tests := map[string]struct {
		config values
		want   string
	}{
		"endpoint": {values{"endpoint": "localhost:4317"}, "/endpoint: "},
		"protocol": {values{"protocol": "http/json"}, "/protocol: "},
		"ca":       {values{"tls": values{"ca_file": "none.pem"}}, "/tls/ca_file: open none.pem"},
		"no ca":    {values{"tls": values{"ca_file": "empty.pem"}}, "/tls/ca_file: there is no certificate in it"},
		"pair":     {values{"tls": values{"cert_file": "none.pem"}}, "/tls/cert_file: "},
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("empty.pem", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(), sdktest.Options{Config: tt.config})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// TestForgotten are notes of tasks of which nothing was heard for long.
func TestForgotten(t *testing.T) {
	t.Chdir(t.TempDir())
	ns := notes{dir: notesDir}
	long := time.Now().Add(-keep - time.Hour)
	for _, task := range []string{"old", "new"} {
		if err := ns.add(place{Task: trace.Task{ID: task}}, "", note{What: noteCreated}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(ns.of(place{Task: trace.Task{ID: "old"}}), long, long); err != nil {
		t.Fatal(err)
	}
	if err := ns.sweep(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(notesDir + "/*")
	if diff := cmp.Diff([]string{ns.of(place{Task: trace.Task{ID: "new"}})}, left); err != nil || diff != "" {
		t.Errorf("notes (-want +got):\n%s%v", diff, err)
	}
}

// TestDelivery checks what delivery asks of all subscribers.
func TestDelivery(t *testing.T) {
	t.Chdir(t.TempDir())
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: values{"endpoint": receive(t).url}})
	p.CheckDelivery(t, sdktest.DeliveryCheck{Subscription: "spans"})
}

// TestLongText is shortened: a request has a limit.
func TestLongText(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	e := event.StepFailed{Step: step("charge", 1, 1, 2), Error: event.Error{Message: strings.Repeat("é", 100_000), Kind: "permanent"}, Final: true}
	allAcked(t, start(t, values{"endpoint": r.url}).Send(t, sdktest.Event{Payload: e})...)
	want := strings.Repeat("é", maxText/2) + "..."
	for _, s := range r.spans {
		if got := s.GetStatus().GetMessage(); got != want {
			t.Errorf("span %s has %d bytes of message, want %d", s.GetName(), len(got), len(want))
		}
	}
	if len(r.spans) != 2 {
		t.Errorf("%d spans, want 2", len(r.spans))
	}
}
