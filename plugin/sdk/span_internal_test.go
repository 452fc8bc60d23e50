package sdk

import (
	"context"
	"testing"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// TestUntracedIsFree: an attempt that makes no span, in a trace that nobody records, allocates nothing for it.
func TestUntracedIsFree(t *testing.T) {
	p := Plugin{Name: "test", Version: "1.0.0", Handlers: Handlers{"h": Func(func(context.Context, any) (any, error) { return nil, nil })}}
	decl, err := declare(p)
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{
		wire: &pluginv1.Attempt{TaskId: "T", Step: "s", Number: 1, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
		work: &workStream{d: newDispatcher(decl, hclog.NewNullLogger())},
	}
	result := &pluginv1.Result{}
	if n := testing.AllocsPerRun(100, func() {
		a.spans = nil
		a.sendSpans(result)
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
