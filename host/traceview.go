package host

import (
	"context"
	"fmt"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/telemetry"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// maxTraceBytes is how many bytes of kept spans a trace shows; those of later steps are left
// out.
const maxTraceBytes = 32 << 20

// Trace implements [Service].
func (r reading) Trace(ctx context.Context, idOrPrefix string) ([]byte, error) {
	id, err := r.store.Resolve(ctx, idOrPrefix)
	if err != nil {
		return nil, err
	}
	stored, err := r.store.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	tmpl, err := r.snapshots.get(stored.Task.Template.Hash, stored.Template)
	if err != nil {
		return nil, err
	}
	for i := range stored.Task.Steps {
		stored.Task.Steps[i].Name = tmpl.Steps[i].Name
	}
	spans, err := r.eventSpans(ctx, stored.Task)
	if err != nil {
		return nil, err
	}
	kept, err := r.store.Spans(ctx, id)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(withKept(spans, kept))
}

// eventSpans makes the spans that a task's events tell of.
func (r reading) eventSpans(ctx context.Context, t *task.Task) (*taskSpans, error) {
	entries, err := r.store.TaskEvents(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	b := newTaskSpans(t, r.now())
	for _, entry := range entries {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(entry.Encoded, e); err != nil {
			return nil, fmt.Errorf("event %d: %w: %w", entry.Seq, store.ErrCorrupt, err)
		}
		if err := b.apply(e); err != nil {
			return nil, fmt.Errorf("event %d: %w: %w", entry.Seq, store.ErrCorrupt, err)
		}
	}
	b.fill(t)
	return b, nil
}

// withKept adds what plugins said of attempts. It stands instead of what events say of them.
// What cannot be read is left out: it came from a plugin.
func withKept(b *taskSpans, kept []store.AttemptSpans) *coltracepb.ExportTraceServiceRequest {
	host := &tracepb.ScopeSpans{}
	out := &coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: attributes(text("service.name", telemetry.DefaultServiceName))},
		ScopeSpans: []*tracepb.ScopeSpans{host},
	}}}
	told, size := make(map[string]bool), 0
	for _, k := range kept {
		if size += len(k.OTLP); size > maxTraceBytes {
			break
		}
		req := &coltracepb.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(k.OTLP, req); err != nil {
			continue
		}
		for _, rs := range req.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					told[string(s.GetSpanId())] = true
				}
			}
		}
		out.ResourceSpans = append(out.ResourceSpans, req.GetResourceSpans()...)
	}
	for _, s := range b.all {
		if !b.attempts[string(s.GetSpanId())] || !told[string(s.GetSpanId())] {
			host.Spans = append(host.Spans, s)
		}
	}
	return out
}
