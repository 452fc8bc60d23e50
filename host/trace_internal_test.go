package host

import (
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

func TestSetTrace(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, tt := range []struct {
		name, parent, state   string
		wantParent, wantState string
		warning               string
	}{
		{name: "none"},
		{name: "a state without a parent", state: "a=1"},
		{name: "both", parent: parent, state: "a=1,b=2", wantParent: parent, wantState: "a=1,b=2"},
		{name: "not valid", parent: "00-4BF9", state: "a=1", warning: `traceparent "00-4BF9" is dropped`},
		{name: "very long", parent: strings.Repeat("x", 1<<20), warning: "is dropped"},
		{name: "a state on two lines", parent: parent, state: "a=1\nb=2", wantParent: parent, warning: "tracestate is dropped"},
		{name: "a long state", parent: parent, state: "a=" + strings.Repeat("1", task.MaxTracestate), wantParent: parent, warning: "at most 512"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var spec task.Spec
			warnings := strings.Join(setTrace(&spec, task.Request{Traceparent: tt.parent, Tracestate: tt.state}), "; ")
			if spec.Traceparent != tt.wantParent || spec.Tracestate != tt.wantState {
				t.Errorf("context %q, %q; want %q, %q", spec.Traceparent, spec.Tracestate, tt.wantParent, tt.wantState)
			}
			if !strings.Contains(warnings, tt.warning) || (tt.warning == "") != (warnings == "") || len(warnings) > 300 {
				t.Errorf("warnings %q, want %q", warnings, tt.warning)
			}
		})
	}
}
