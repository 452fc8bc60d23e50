package host

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestSpansAreKept: what says more of an attempt than its task's events do is kept, unless
// nothing is to be.
func TestSpansAreKept(t *testing.T) {
	frame := func(spans ...*tracepb.Span) []byte {
		b, err := proto.Marshal(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	attempt, call := &tracepb.Span{Name: "handler.process"}, &tracepb.Span{Name: "api.call"}
	for _, tt := range []struct {
		name    string
		forget  bool
		sampled bool
		otlp    []byte
		want    int
	}{
		{"an attempt alone, exported", false, true, frame(attempt), 0},
		{"with a call, exported", false, true, frame(attempt, call), 1},
		{"with a call", false, false, frame(attempt, call), 1},
		{"sent for what its author said", false, false, frame(attempt), 1},
		{"nothing is to be kept", true, true, frame(attempt, call), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := boltstore.Open(filepath.Join(t.TempDir(), "tasker.db"), boltstore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			fl := storetest.NewFlow(1, 1)
			storetest.MustCommit(t, s, fl.Create(0))
			h := &Host{opts: Options{ForgetSpans: tt.forget}, log: hclog.NewNullLogger(), reading: reading{store: s, now: time.Now}}
			spans{h}.AttemptSpans(task.AttemptID{Task: fl.Task.ID, Number: 1}, "p#1", tt.sampled, tt.otlp)
			storetest.MustCommit(t, s, fl.Succeed(0)) // what was queued before is committed before
			got, err := s.Spans(t.Context(), fl.Task.ID)
			if err != nil || len(got) != tt.want {
				t.Errorf("%d kept, error %v; want %d", len(got), err, tt.want)
			}
		})
	}
}
