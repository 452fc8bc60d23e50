package hosttest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

const shop = `name: shop
version: 1.0.0
defaults: {retry: {limit: 3, backoff: constant, base: 1h}}
steps:
- {name: price, handler: shop/price}
- {name: charge, handler: bank/charge, depends_on: [price], with: {cents: =results.price.cents}}
- {name: tell, handler: post/send, depends_on: [charge]}
`

type price struct {
	Cents int `json:"cents"`
}

func writeShop(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, []byte(shop), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSimulate: stubs get what handlers would, and fail in the ways in which they can.
func TestSimulate(t *testing.T) {
	var charged []int
	got := hosttest.Simulate(t, hosttest.Scenario{
		Template: writeShop(t), Input: map[string]any{"order": 1},
		Stubs: map[string]hosttest.Stub{
			"shop/price": hosttest.Result(price{Cents: 42}),
			"charge": func(ctx context.Context, a *task.Assignment) (any, error) {
				if a.ID.Number == 2 {
					return nil, hosttest.ErrCrash
				}
				return hosttest.Func(func(_ context.Context, p price) (bool, error) {
					if charged = append(charged, p.Cents); len(charged) == 1 {
						return false, errors.New("busy")
					}
					return true, nil
				})(ctx, a)
			},
			"tell": hosttest.Func(func(context.Context, any) (any, error) {
				return nil, &task.Failure{Kind: task.KindPermanent, Code: "no_address", Message: "nowhere", Source: task.SourcePlugin}
			}),
		},
		Operations: []host.SimulatedOperation{{At: 48 * time.Hour, Kind: "resolve", Operation: task.Operation{Step: "tell", Results: []byte("{}")}}},
	})
	got.WantTask(task.Complete)
	got.WantSteps("price=complete/1 charge=complete/3 tell=resolved_manually/1")
	got.WantEvents("task.started step.failed(charge) step.attempt_lost(charge) step.completed(charge) step.failed(tell) task.completed")
	if len(charged) != 2 || charged[0] != 42 || got.Took != 48*time.Hour {
		t.Errorf("charged %v, took %s", charged, got.Took)
	}
}

// TestSimulateFails: what is not as wanted is told.
func TestSimulateFails(t *testing.T) {
	r := &recorder{TB: t}
	got := hosttest.Simulate(r, hosttest.Scenario{
		Template: writeShop(t), Stubs: map[string]hosttest.Stub{"price": hosttest.Result(price{Cents: 1})},
	})
	got.WantTask(task.Complete)
	got.WantSteps("price=complete/1 charge=complete/1 tell=complete/1")
	got.WantEvents("step.completed(price) step.completed(charge)")
	text := strings.Join(r.errors, "\n")
	for _, want := range []string{
		"step charge runs and has no stub (handler bank/charge", "task is error, want complete", "charge=error/1",
		"+ step.completed(price)", "- step.completed(charge), which is not there",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
