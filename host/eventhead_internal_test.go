package host

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// TestEventHead: a head has what the decoded envelope has, and finding it allocates nothing.
func TestEventHead(t *testing.T) {
	for name, e := range map[string]*eventv1.Event{
		"empty": {},
		"task":  {Id: "T/1", Type: "task.started", At: 7, TaskId: "T", TaskSeq: 1, Namespace: "n", Payload: []byte(`{}`)},
		"step":  {Type: "step.failed", At: -1, TaskId: "T", Step: "a", Traceparent: "00-", CorrelationId: "c"},
		"host":  {Type: "plugin.crashed", At: 1 << 60, Payload: []byte(`{"plugin":"p"}`)},
	} {
		encoded, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		entry := store.LogEntry{Seq: 1, Encoded: encoded}
		h, err := eventHeadOf(entry)
		if err != nil || string(h.kind) != e.GetType() || string(h.task) != e.GetTaskId() || h.at != e.GetAt() {
			t.Errorf("%s: %q, %q, %d, %v; want %v", name, h.kind, h.task, h.at, err, e)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = eventHeadOf(entry) }); n != 0 {
			t.Errorf("%s: %.0f allocations, want none", name, n)
		}
		for cut := range encoded {
			entry.Encoded = encoded[:cut]
			if _, err := eventHeadOf(entry); err != nil && !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%s cut at %d: %v, want %v", name, cut, err, store.ErrCorrupt)
			}
		}
	}
	for _, broken := range []string{"\x12\x05a", "\x22\xff", "\x18\xff", "\xff", "\x62\x03ab"} {
		if _, err := eventHeadOf(store.LogEntry{Encoded: []byte(broken)}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%q: %v, want %v", broken, err, store.ErrCorrupt)
		}
	}
}
