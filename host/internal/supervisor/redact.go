package supervisor

import (
	"context"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tasker-engine/tasker/host/internal/secrets"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// redactStream takes the secrets out of all that comes over a stream: what the host has never seen it can neither store
// nor show.
func (o *output) redactStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, o.hide.Load().Error(err)
	}
	return &redactedStream{ClientStream: stream, output: o}, nil
}

type redactedStream struct {
	grpc.ClientStream

	output *output
}

// RecvMsg receives the next message, without secrets.
func (s *redactedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	hide := s.output.hide.Load()
	if hide == nil {
		return err //nolint:wrapcheck // it is the stream's
	}
	if err != nil {
		return hide.Error(err)
	}
	redactMessage(hide, m)
	return nil
}

// redactMessage takes the secrets out of a message of a plugin. Ids, names and levels stay: they are the host's, or have
// to be known to it.
func redactMessage(hide *secrets.Redactor, m any) {
	switch m := m.(type) {
	case *pluginv1.WorkResponse:
		for _, u := range m.GetUpdates() {
			redactUpdate(hide, u)
		}
	case *pluginv1.WatchResponse:
		if s := m.GetStatus(); s != nil {
			s.Message = hide.Text(s.GetMessage())
		}
	case *pluginv1.DeliverResponse:
		switch k := m.GetKind().(type) {
		case *pluginv1.DeliverResponse_Retry:
			k.Retry.Reason = hide.Text(k.Retry.GetReason())
		case *pluginv1.DeliverResponse_Reject:
			k.Reject.Reason = hide.Text(k.Reject.GetReason())
		case *pluginv1.DeliverResponse_Log:
			redactLog(hide, k.Log)
		case *pluginv1.DeliverResponse_Spans:
			redactSpans(hide, k.Spans)
		default: // nothing in them is of the plugin's making
		}
	}
}

func redactUpdate(hide *secrets.Redactor, u *pluginv1.Update) {
	switch k := u.GetKind().(type) {
	case *pluginv1.Update_Heartbeat:
		k.Heartbeat.Note, k.Heartbeat.Checkpoint = hide.Text(k.Heartbeat.GetNote()), hide.Data(k.Heartbeat.GetCheckpoint())
	case *pluginv1.Update_Log:
		redactLog(hide, k.Log)
	case *pluginv1.Update_Emit:
		k.Emit.Payload = hide.Data(k.Emit.GetPayload())
	case *pluginv1.Update_Spans:
		redactSpans(hide, k.Spans)
	case *pluginv1.Update_Result:
		for _, e := range k.Result.GetEmits() {
			e.Payload = hide.Data(e.GetPayload())
		}
		switch out := k.Result.GetOutcome().(type) {
		case *pluginv1.Result_Output:
			out.Output = hide.Data(out.Output)
		case *pluginv1.Result_Error:
			redactError(hide, out.Error)
		}
	default: // a fetch has a reference only
	}
}

func redactLog(hide *secrets.Redactor, l *pluginv1.Log) {
	l.Message, l.Fields = hide.Text(l.GetMessage()), hide.JSON(l.GetFields())
}

func redactError(hide *secrets.Redactor, e *pluginv1.Error) {
	e.Code, e.Class, e.Message = hide.Word(e.GetCode()), hide.Word(e.GetClass()), hide.Text(e.GetMessage())
	e.Details, e.Partial = hide.Data(e.GetDetails()), hide.Data(e.GetPartial())
	for i, frame := range e.GetStack() {
		e.Stack[i] = hide.Word(frame)
	}
}

// redactSpans takes the secrets out of spans. Texts in OTLP are as they are, so spans without secrets are found by a search.
func redactSpans(hide *secrets.Redactor, s *pluginv1.Spans) {
	if !hide.Finds(s.GetOtlp()) {
		return
	}
	var req coltracepb.ExportTraceServiceRequest
	err := proto.Unmarshal(s.GetOtlp(), &req)
	if err == nil {
		redactTexts(hide, req.ProtoReflect())
		s.Otlp, err = proto.Marshal(&req)
	}
	if err != nil {
		s.Otlp = nil // nobody could have read them
	}
}

// redactTexts takes the secrets out of every text in a message.
func redactTexts(hide *secrets.Redactor, m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			for i := range v.List().Len() {
				redactValue(hide, f, v.List().Get(i), func(with protoreflect.Value) { v.List().Set(i, with) })
			}
		case !f.IsMap(): // OTLP has none
			redactValue(hide, f, v, func(with protoreflect.Value) { m.Set(f, with) })
		}
		return true
	})
}

func redactValue(hide *secrets.Redactor, f protoreflect.FieldDescriptor, v protoreflect.Value, set func(protoreflect.Value)) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		redactTexts(hide, v.Message())
	case protoreflect.StringKind:
		set(protoreflect.ValueOfString(hide.Text(v.String())))
	default:
	}
}
