package hosttest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/hosttest"
)

// A template runs in the real engine with Go functions in place of plugins, on a clock of its own: the bank's hour takes no
// time. testdata/order.yaml has the steps price, charge and thank, one after the other.
func ExampleSimulate() {
	t, done := forExample() // in a test, its own t
	defer done()

	type price struct {
		Cents int `json:"cents"`
	}
	asked := 0
	charge := func(_ context.Context, p price) (string, error) {
		if asked++; asked == 1 {
			return "", errors.New("the bank is busy")
		}
		return fmt.Sprintf("paid %d", p.Cents), nil
	}
	got := hosttest.Simulate(t, hosttest.Scenario{
		Template: "testdata/order.yaml",
		Stubs: map[string]hosttest.Stub{
			"shop/price": hosttest.Result(price{Cents: 42}), // all steps of a handler
			"charge":     hosttest.Func(charge),             // one step
			"thank":      hosttest.Result(nil),
		},
	})
	got.WantSteps("price=complete/1 charge=complete/2 thank=complete/1")
	got.WantEvents("step.failed(charge) step.completed(charge) task.completed")
	fmt.Println(got.View.Status, string(got.View.Steps[1].Output))
	fmt.Println(got.View.CompletedAt.Sub(got.View.StartedAt).Round(time.Minute))
	// Output:
	// complete "paid 42"
	// 1h0m0s
}

// A whole host runs a task with real plugins, here plugins/mock. That it stops cleanly, keeps the rules of its store and leaves
// no process behind is checked when the test ends.
func ExampleStart() {
	t, done := forExample() // in a test, its own t
	defer done()

	h := hosttest.Start(t)
	id := h.Create("name: hello\nversion: 1.0.0\nsteps:\n- {name: greet, handler: mock/echo}\n", hosttest.Input(`"Ada"`))
	v := h.End(id)
	h.WantSteps(v, "greet=complete/1")
	h.WantEvents(id, "step.started(greet) step.completed(greet) task.completed")
	fmt.Println(string(v.Steps[0].Output))
	// Output:
	// {"input":"Ada","results":{}}
}
