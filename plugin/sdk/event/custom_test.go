package event_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func TestCustomEntry(t *testing.T) {
	completed, _ := event.Lookup(event.NameStepCompleted)
	schema, example := json.RawMessage(`{"type":"object"}`), json.RawMessage(`{"order":"o-1"}`)
	plugin, template := []string{"plugin orders"}, []string{"template shop/order"}
	tests := []struct {
		name   string
		custom event.Custom
		want   event.Entry
	}{
		{
			"of a plugin",
			event.Custom{
				Name: "orders.shipped", Version: 2, Description: "An order left the house.", Schema: schema,
				Example: example, FiredBy: plugin,
			},
			event.Entry{
				Name: "orders.shipped", Category: "orders", Version: 2, Description: "An order left the house.",
				PayloadSchema: schema, Example: example, FiredBy: plugin,
				Frequency: "each time that an attempt emits it and succeeds",
			},
		},
		{
			"at once",
			event.Custom{Name: "orders.seen", Version: 1, Immediate: true, FiredBy: plugin},
			event.Entry{
				Name: "orders.seen", Category: "orders", Version: 1, PayloadSchema: json.RawMessage(`{}`), FiredBy: plugin,
				Frequency: "each time that an attempt emits it, at once",
			},
		},
		{
			"of a template, about a step",
			event.Custom{Name: "order.paid", On: event.NameStepCompleted, Step: "charge", FiredBy: template},
			event.Entry{
				Name: "order.paid", Category: "order", PayloadSchema: completed.PayloadSchema, Example: completed.Example,
				FiredBy: template, Frequency: "with each step.completed of the step charge",
			},
		},
		{
			"of a template, about a failed step",
			event.Custom{Name: "order.unpaid", On: event.NameStepFailed, Step: "charge", Schema: schema, Example: example, FiredBy: template},
			event.Entry{
				Name: "order.unpaid", Category: "order", PayloadSchema: schema, Example: example, FiredBy: template,
				Frequency: "with each step.failed of the step charge that is final",
			},
		},
		{
			"of a template, about the task",
			event.Custom{Name: "order.done", On: event.NameTaskCompleted, Schema: schema, Example: example, FiredBy: template},
			event.Entry{
				Name: "order.done", Category: "order", PayloadSchema: schema, Example: example, FiredBy: template,
				Frequency: "with each task.completed",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.custom.Entry()
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
			if _, err := json.Marshal(got); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCatalogIsNotShared: who sorts or cuts the list leaves the catalog as it is.
func TestCatalogIsNotShared(t *testing.T) {
	clear(event.Catalog())
	if e, ok := event.Lookup(event.NameTaskInitialized); !ok || e.Name == "" || event.Catalog()[0].Name != e.Name {
		t.Errorf("the catalog was changed through a copy: %+v", e)
	}
}
