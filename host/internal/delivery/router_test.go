package delivery

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/task"
)

// TestRouteEndsWithItsContext: a router that is asked about many events stops between two.
func TestRouteEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	b := newBindings(&Options{Template: func(context.Context, task.TemplateRef, task.ID) ([]Binding, error) {
		asked++
		cancel()
		return nil, nil
	}})
	r := newRouter(b, &Subscription{Name: "p/s", Events: []string{"*"}}, hclog.NewNullLogger())
	entries := []*entry{
		{seq: 1, kind: "task.started", origin: &origin{name: "a"}}, {seq: 2, kind: "task.started", origin: &origin{name: "b"}},
	}
	out, err := r.route(ctx, entries, nil)
	if !errors.Is(err, context.Canceled) || len(out) != 1 || asked != 1 {
		t.Errorf("got %d verdicts after %d questions and error %v, want one and that it was cancelled", len(out), asked, err)
	}
}
