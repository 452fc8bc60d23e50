package supervisor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// emitterEvents are the custom events of the test plugin emitter.
func emitterEvents() []*pluginv1.EventSpec {
	shipped := []byte(`{"type":"object","properties":{"order":{"type":"string"},"lines":{"type":"array","items":{"type":"integer"}}},"required":["order"]}`)
	return []*pluginv1.EventSpec{
		{Name: "emitter.shipped", Version: 1, Schema: shipped},
		{Name: "emitter.anything", Version: 1},
		{Name: "emitter.seen", Version: 1, Schema: shipped, Immediate: true},
	}
}

func emitterChecks(t *testing.T) *emits {
	t.Helper()
	m, err := readManifest(&pluginv1.Manifest{
		Name: "emitter", Version: "1.0.0", Handlers: []*pluginv1.HandlerSpec{{Name: "emit", Version: 1}}, Emits: emitterEvents(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return newEmits(m)
}

func TestEmitsOfResult(t *testing.T) {
	emit := func(name, payload string) *pluginv1.Emit { return &pluginv1.Emit{Name: name, Payload: []byte(payload)} }
	many := func(n int) (out []*pluginv1.Emit) {
		for range n {
			out = append(out, emit("emitter.anything", "1"))
		}
		return out
	}
	large := emit("emitter.anything", `"`+strings.Repeat("x", task.MaxEmitBytes/2-2)+`"`)
	tests := []struct {
		name  string
		given []*pluginv1.Emit
		want  string // the error, empty = none
	}{
		{"none", nil, ""},
		{"good", []*pluginv1.Emit{emit("emitter.shipped", `{"order":"o-1","more":1}`), emit("emitter.anything", `null`)}, ""},
		{"the limit", many(task.MaxEmits), ""},
		{"over the limit", many(task.MaxEmits + 1), "1001 custom events in one result: want at most 1000"},
		{"all bytes", []*pluginv1.Emit{large, large}, ""},
		{"over the bytes", []*pluginv1.Emit{large, large, emit("emitter.anything", "1")}, "custom events of 1048577 bytes in one result: want at most 1048576"},
		{"not declared", []*pluginv1.Emit{emit("emitter.ship", "{}")}, "event emitter.ship is not declared; the manifest has emitter.shipped, emitter.anything, emitter.seen"},
		{"of Tasker", []*pluginv1.Emit{emit("step.completed", "{}")}, "event step.completed is not declared; the manifest has emitter.shipped, emitter.anything, emitter.seen"},
		{"immediate", []*pluginv1.Emit{emit("emitter.seen", `{"order":"o-1"}`)}, "event emitter.seen is declared as immediate, but came with the result"},
		{"no payload", []*pluginv1.Emit{emit("emitter.anything", "")}, "event emitter.anything: the payload is no valid JSON"},
		{"broken JSON", []*pluginv1.Emit{emit("emitter.shipped", "{")}, "event emitter.shipped: the payload is no valid JSON"},
		{"no UTF-8", []*pluginv1.Emit{emit("emitter.anything", "\"\xff\"")}, "event emitter.anything: the payload is no valid JSON"},
		{"two documents", []*pluginv1.Emit{emit("emitter.anything", "1 2")}, "event emitter.anything: the payload is no valid JSON"},
		{
			"bad payload after a good one",
			[]*pluginv1.Emit{emit("emitter.anything", "1"), emit("emitter.shipped", `{"lines":[1,"two"]}`)},
			"event emitter.shipped does not fit its schema: at /: missing property 'order'; at /lines/1: got string, want integer",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := emitterChecks(t).ofResult(tt.given)
			if tt.want != "" {
				if err == nil || err.Error() != tt.want || got != nil {
					t.Errorf("%d events, error\n%v\nwant\n%s", len(got), err, tt.want)
				}
				return
			}
			if err != nil || len(got) != len(tt.given) {
				t.Fatalf("%d events, error %v; want %d", len(got), err, len(tt.given))
			}
			for i, w := range tt.given {
				if diff := cmp.Diff(got[i], task.Emit{Name: w.GetName(), Payload: w.GetPayload()}); diff != "" {
					t.Errorf("event %d (-got +want):\n%s", i, diff)
				}
			}
		})
	}
}

func TestEmitsAtOnce(t *testing.T) {
	tests := []struct {
		name, event, payload string
		want                 string
	}{
		{"good", "emitter.seen", `{"order":"o-1"}`, ""},
		{"not immediate", "emitter.shipped", `{"order":"o-1"}`, "event emitter.shipped is not declared as immediate, but came before the result"},
		{"bad payload", "emitter.seen", `{"order":1}`, "event emitter.seen does not fit its schema: at /order: got number, want string"},
		{"large", "emitter.seen", `"` + strings.Repeat("x", task.MaxEmitBytes) + `"`, "event emitter.seen of 1048578 bytes: want at most 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := emitterChecks(t).atOnce(&pluginv1.Emit{Name: tt.event, Payload: []byte(tt.payload)})
			if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := newEmits(&Manifest{}).atOnce(&pluginv1.Emit{Name: "a.b"}); err == nil || err.Error() != "event a.b is not declared; the manifest has no events" {
		t.Errorf("without a declaration: %v", err)
	}
}
