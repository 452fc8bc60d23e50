package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// merge decodes frames and puts the spans of one resource together. What plugins do not say
// about themselves, the host's resource says. bad counts frames that cannot be read.
func merge(frames [][]byte, host *resource.Resource) (all []*tracepb.ResourceSpans, bad int) {
	byResource := make(map[string]*tracepb.ResourceSpans)
	byScope := make(map[string]*tracepb.ScopeSpans)
	for _, frame := range frames {
		req := &coltracepb.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(frame, req); err != nil {
			bad++
			continue
		}
		for _, rs := range req.GetResourceSpans() {
			key := identity(rs.GetResource()) + "\x00" + rs.GetSchemaUrl()
			of := byResource[key]
			if of == nil {
				of = &tracepb.ResourceSpans{Resource: complete(rs.GetResource(), host), SchemaUrl: rs.GetSchemaUrl()}
				byResource[key] = of
				all = append(all, of)
			}
			for _, ss := range rs.GetScopeSpans() {
				key := key + "\x00" + identity(ss.GetScope()) + "\x00" + ss.GetSchemaUrl()
				if scope := byScope[key]; scope != nil {
					scope.Spans = append(scope.Spans, ss.GetSpans()...)
					continue
				}
				byScope[key] = ss
				of.ScopeSpans = append(of.ScopeSpans, ss)
			}
		}
	}
	return all, bad
}

// identity tells messages apart; equal ones of one plugin have the same.
func identity(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "" // it was just decoded: there is no way to fail
	}
	return string(b)
}

// complete returns a plugin's resource with what the host's says beyond it.
func complete(r *resourcepb.Resource, host *resource.Resource) *resourcepb.Resource {
	if r == nil {
		r = &resourcepb.Resource{}
	}
	said := make(map[string]bool, len(r.GetAttributes()))
	for _, kv := range r.GetAttributes() {
		said[kv.GetKey()] = true
	}
	for _, kv := range host.Attributes() {
		if !said[string(kv.Key)] {
			r.Attributes = append(r.Attributes, &commonpb.KeyValue{Key: string(kv.Key), Value: valueOf(kv.Value)})
		}
	}
	return r
}

// valueOf converts the value of a resource's attribute, which is a text but for those that
// other programs put into OTEL_RESOURCE_ATTRIBUTES, and those are texts, too.
func valueOf(v attribute.Value) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v.String()}}
}
