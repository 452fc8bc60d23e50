package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

const traced = `
name: order
version: 1.0.0
defaults: {retry: {base: 1ms}}
steps:
- {name: reserve, handler: mock/flaky, config: {times: 2}}
- {name: charge, depends_on: [reserve], handler: mock/sleep, config: {for: 5ms}}
- {name: notify, depends_on: [reserve], handler: mock/sleep, config: {for: 5ms}}
`

// TestHost runs tasks on a real host while the plugin is killed: each has a whole trace.
func TestHost(t *testing.T) {
	r := receive(t)
	h := hosttest.Start(t, hosttest.Plugins("github.com/tasker-engine/tasker/plugins/telemetry", "github.com/tasker-engine/tasker/plugins/mock"),
		hosttest.Options(func(o *host.Options) {
			o.PluginConfigs = map[string]json.RawMessage{"telemetry": json.RawMessage(`{"endpoint":"` + r.url + `"}`)}
		}))
	h.AwaitPlugin("telemetry")
	var ids []task.ID
	for kills := range 3 {
		for range 5 {
			ids = append(ids, h.Create(traced))
		}
		if kills < 2 { // an event that was alone in flight at a third end of the process would be a dead letter
			h.KillPlugin("telemetry")
		}
	}
	for _, id := range ids {
		h.WantTask(h.End(id), task.Complete)
	}
	h.AwaitPlugin("telemetry")
	h.AwaitDelivered("telemetry/spans")

	times := regexp.MustCompile(` [0-9.hmsµ]+-[0-9.hmsµ]+`)
	for _, id := range ids {
		tree := times.ReplaceAllString(r.subtree(t, string(id)), "")
		want := `order ok
  reserve ok
    reserve attempt error "failing as configured"
    reserve attempt error "failing as configured"
    reserve attempt ok
  charge ok
    charge attempt ok
  notify ok
    notify attempt ok
`
		if diff := cmp.Diff(want, tree); diff != "" {
			t.Errorf("spans of %s (-want +got):\n%s", id, diff)
		}
	}
}

// subtree draws the spans of a task, and checks that each takes time and lies within its parent.
func (r *receiver) subtree(t *testing.T, id string) string {
	t.Helper()
	r.mu.Lock()
	one := &receiver{spans: make(map[string]*tracepb.Span)}
	for key, s := range r.spans {
		if show(attributeOf(s, trace.KeyTaskID)) == id {
			one.spans[key] = s
		}
	}
	r.mu.Unlock()
	for _, s := range one.spans {
		if s.GetEndTimeUnixNano() <= s.GetStartTimeUnixNano() {
			t.Errorf("span %s takes no time", s.GetName())
		}
		parent := one.spans[hex.EncodeToString(s.GetParentSpanId())]
		if parent != nil && (s.GetStartTimeUnixNano() < parent.GetStartTimeUnixNano() || s.GetEndTimeUnixNano() > parent.GetEndTimeUnixNano()) {
			t.Errorf("span %s is not within %s", describe(s), describe(parent))
		}
	}
	var b strings.Builder
	for line := range strings.Lines(one.tree(t)) {
		line, _, _ = strings.Cut(line, " "+trace.KeyCorrelationID)
		fmt.Fprintln(&b, line)
	}
	return b.String()
}
