package sdk

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// FuzzEnvelope reads whatever the library reads, and reads the same.
func FuzzEnvelope(f *testing.F) {
	for _, e := range []*eventv1.Event{
		{},
		{Type: "host.started", Id: "h/1/1", At: -1},
		{
			Id: "t/2", Type: "step.failed", At: 1 << 60, TaskId: "t", TaskSeq: 2, Step: "s", Namespace: "n", Template: "m", Version: "1.0.0",
			CorrelationId: "c", Traceparent: "p", Payload: []byte(`{"a":1}`),
		},
	} {
		doc, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
		f.Add(append(doc, doc...)) // the last value of a field counts
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want eventv1.Event
		var got envelope
		err := got.parse(raw)
		_ = taskOf(raw) // nothing to compare with where a field comes twice
		if proto.Unmarshal(raw, &want) != nil || want.GetType() == "" {
			return
		}
		if err != nil {
			t.Fatalf("error %v", err)
		}
		is := &eventv1.Event{
			Id: got.id, Type: got.name, At: got.at, TaskId: got.task, TaskSeq: got.taskSeq, Step: got.step, Namespace: got.namespace,
			Template: got.template, Version: got.version, CorrelationId: got.correlationID, Traceparent: got.traceparent, Payload: got.payload,
		}
		want.ProtoReflect().SetUnknown(nil)
		if !proto.Equal(&want, is) {
			t.Errorf("event (-want +got):\n%s", cmp.Diff(want.String(), is.String()))
		}
	})
}
