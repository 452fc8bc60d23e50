package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// sink is a client that answers as it is told, and remembers.
type sink struct {
	answers []error // of the next requests; beyond them all is taken

	mu       sync.Mutex
	requests []string
}

func (*sink) Start(context.Context) error { return nil }
func (*sink) Stop(context.Context) error  { return nil }

func (s *sink) UploadTraces(_ context.Context, all []*tracepb.ResourceSpans) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, rs := range all {
		for _, kv := range rs.GetResource().GetAttributes() {
			fmt.Fprintf(&b, "%s=%s ", kv.GetKey(), kv.GetValue().GetStringValue())
		}
		for _, ss := range rs.GetScopeSpans() {
			fmt.Fprintf(&b, "%s:", ss.GetScope().GetName())
			for _, span := range ss.GetSpans() {
				fmt.Fprintf(&b, " %s", span.GetName())
			}
			b.WriteString("; ")
		}
	}
	var answer error
	if len(s.answers) > 0 {
		answer, s.answers = s.answers[0], s.answers[1:]
		fmt.Fprintf(&b, "-> %v", answer)
	}
	s.requests = append(s.requests, strings.TrimSpace(b.String()))
	return answer
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// frame is what a plugin sends of one span.
func frame(t *testing.T, plugin, name string) []byte {
	t.Helper()
	b, err := proto.Marshal(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{
			Key: "service.name", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: plugin}},
		}}},
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "sdk"}, Spans: []*tracepb.Span{{Name: name}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// relay starts a relay in a bubble. stop ends it and returns its log.
func relay(t *testing.T, to *sink) (r *Relay, stop func() string) {
	t.Helper()
	var log bytes.Buffer
	r = NewRelay(RelayOptions{
		Resource: resource.NewSchemaless(attribute.String("service.name", "tasker"), attribute.String("service.instance.id", "h")),
		Logger:   hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true}), client: to,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, func() string {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
		return log.String()
	}
}

// TestRelay: spans go on as they are, those of one plugin together, with what the host knows.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &sink{}
		r, stop := relay(t, to)
		r.Put(frame(t, "mock", "a"))
		synctest.Wait()
		for _, f := range [][]byte{frame(t, "mock", "b"), frame(t, "http", "c"), frame(t, "mock", "d")} {
			r.Put(f)
		}
		if log := stop(); log != "" {
			t.Errorf("log:\n%s", log)
		}
		all := strings.Join(to.got(), "\n")
		for _, name := range []string{"a", "b", "c", "d"} {
			if strings.Count(all, " "+name) == 0 {
				t.Errorf("span %s is missing in\n%s", name, all)
			}
		}
		if !strings.Contains(all, "service.name=mock service.instance.id=h sdk: a") {
			t.Errorf("spans\n%s", all)
		}
		if got, want := r.Stats(), (RelayStats{Sent: 4}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

func TestMerge(t *testing.T) {
	host := resource.NewSchemaless(attribute.String("service.instance.id", "h"))
	all, bad := merge([][]byte{frame(t, "mock", "a"), frame(t, "http", "b"), []byte("no OTLP"), frame(t, "mock", "c")}, host)
	if bad != 1 {
		t.Errorf("%d bad frames, want 1", bad)
	}
	to := &sink{}
	if err := to.UploadTraces(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	want := []string{"service.name=mock service.instance.id=h sdk: a c; service.name=http service.instance.id=h sdk: b;"}
	if diff := cmp.Diff(to.got(), want); diff != "" {
		t.Errorf("merged (-got +want):\n%s", diff)
	}
}

// TestRelayWaits: while the receiver is away its spans wait, and one warning tells of it.
func TestRelayWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := status.Error(codes.Unavailable, "nobody there")
		to := &sink{answers: []error{gone, gone, gone, gone}}
		r, stop := relay(t, to)
		r.Put(frame(t, "mock", "a"))
		<-time.After(time.Second) // in the bubble: the second attempt was made
		r.Put(frame(t, "mock", "b"))
		<-time.After(time.Minute)
		got := to.got()
		if len(got) != 6 || !strings.HasSuffix(got[4], "sdk: a;") || !strings.HasSuffix(got[5], "sdk: b;") {
			t.Errorf("requests\n%s", strings.Join(got, "\n"))
		}
		log := stop()
		if strings.Count(log, "[WARN]") != 1 || !strings.Contains(log, "receiver is away") || !strings.Contains(log, "takes spans again") {
			t.Errorf("log:\n%s", log)
		}
		if got, want := r.Stats(), (RelayStats{Sent: 2}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

// TestRelayDrops: what is refused or unreadable goes, and the rest goes on.
func TestRelayDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &sink{answers: []error{status.Error(codes.InvalidArgument, "not these")}}
		r, stop := relay(t, to)
		for _, f := range [][]byte{frame(t, "mock", "a"), []byte("no OTLP"), frame(t, "mock", "b")} {
			r.Put(f)
			synctest.Wait()
		}
		log := stop()
		if strings.Count(log, "[WARN]") != 2 || !strings.Contains(log, "not these") || !strings.Contains(log, "no OTLP") {
			t.Errorf("log:\n%s", log)
		}
		if got, want := r.Stats(), (RelayStats{Sent: 1, Dropped: 2}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

// TestRelayIsBounded: what comes while the receiver is away does not fill the memory.
func TestRelayIsBounded(t *testing.T) {
	var log bytes.Buffer
	r := NewRelay(RelayOptions{Logger: hclog.New(&hclog.LoggerOptions{Output: &log}), client: &sink{}})
	const size = 1 << 20
	for i := range MaxQueuedSpans/size + 3 {
		r.Put(bytes.Repeat([]byte{byte(i)}, size))
	}
	if got, want := r.Stats(), (RelayStats{Dropped: 3, QueuedBytes: MaxQueuedSpans}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	if first := r.take()[0][0]; first != 3 {
		t.Errorf("the oldest is %d, want 3", first)
	}
	if strings.Count(log.String(), "[WARN]") != 1 {
		t.Errorf("log:\n%s", log.String())
	}
}

// TestRelayEnds: what is left when the host stops is sent, or told of.
func TestRelayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := status.Error(codes.Unavailable, "nobody there")
		to := &sink{answers: []error{gone}}
		r, stop := relay(t, to)
		r.Put(frame(t, "mock", "a"))
		synctest.Wait()
		stop()
		if got, want := r.Stats(), (RelayStats{Sent: 1}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
		to = &sink{answers: []error{gone, gone}}
		r, stop = relay(t, to)
		r.Put(frame(t, "mock", "a"))
		synctest.Wait()
		if log := stop(); !strings.Contains(log, "spans were dropped: frames=1") {
			t.Errorf("log:\n%s", log)
		}
		if got, want := r.Stats(), (RelayStats{Dropped: 1}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

// broken is a client that cannot be started.
type broken struct{ sink }

func (*broken) Start(context.Context) error { return errors.New("a bad certificate") }

// TestRelayGivesUp: what is never sent is not kept.
func TestRelayGivesUp(t *testing.T) {
	var log bytes.Buffer
	r := NewRelay(RelayOptions{Logger: hclog.New(&hclog.LoggerOptions{Output: &log}), client: &broken{}})
	r.Put(frame(t, "a", "before"))
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Put(frame(t, "a", "after"))
	if diff := cmp.Diff(r.Stats(), RelayStats{Dropped: 2}); diff != "" {
		t.Errorf("stats (-got +want):\n%s", diff)
	}
	if !strings.Contains(log.String(), "a bad certificate") {
		t.Errorf("the log says %q", log.String())
	}
}

// TestNoRelay: without an exporter there is nothing, and nothing is asked for.
func TestNoRelay(t *testing.T) {
	var r *Relay
	r.Put([]byte("x"))
	if r.Sampled(trace.Of("T", "")) || r.Share() != 0 || r.Stats() != (RelayStats{}) {
		t.Error("no relay relays")
	}
}

func TestTraceSettings(t *testing.T) {
	for _, tt := range []struct {
		name    string
		env     map[string]string
		enabled bool
		share   float64
		problem string
	}{
		{name: "nothing is set"},
		{name: "an endpoint", env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1"}, enabled: true, share: 1},
		{name: "one for traces", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:1"}, enabled: true, share: 1},
		{name: "one for metrics", env: map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://h:1"}},
		{name: "the exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, enabled: true, share: 1},
		{name: "no exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1"}},
		{name: "disabled", env: map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1"}},
		{
			name: "another exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1"},
			problem: `OTEL_TRACES_EXPORTER "zipkin"`,
		},
		{
			name:    "a share",
			env:     map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
			enabled: true, share: 0.25,
		},
		{
			name:    "what nobody knows",
			env:     map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
			enabled: true, share: 1, problem: `OTEL_EXPORTER_OTLP_PROTOCOL "http/json"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{
				"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_EXPORTER_OTLP_ENDPOINT",
				"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
			} {
				t.Setenv(name, tt.env[name])
			}
			s, err := TraceSettingsFromEnv()
			if s.Enabled != tt.enabled || s.Sampler.Share() != tt.share {
				t.Errorf("enabled %t, share %v; want %t, %v", s.Enabled, s.Sampler.Share(), tt.enabled, tt.share)
			}
			if (err != nil) != (tt.problem != "") || (err != nil && !strings.Contains(err.Error(), tt.problem)) {
				t.Errorf("error %v, want %q", err, tt.problem)
			}
		})
	}
}
