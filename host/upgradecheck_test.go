package host_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// TestCheckUpgrade: what a new version changes is told, and what of it breaks somebody.
func TestCheckUpgrade(t *testing.T) {
	const older = `{"name": "shop", "version": "1.0.0", "permissions": {},
		"handlers": [
			{"name": "price", "version": 1, "input_schema": {"type": "object", "properties": {"sku": {"type": ["string", "integer"]}, "note": {}}},
				"output_schema": {"type": "object", "properties": {"cents": {"type": "integer"}}}},
			{"name": "ship", "version": 1}, {"name": "unused", "version": 1}
		],
		"emits": [{"name": "shop.sold", "version": 1, "schema": {"properties": {"id": {"type": "string"}}}}, {"name": "shop.quiet", "version": 1}],
		"subscriptions": [{"name": "audit", "events": ["task.*"], "order": "task"}, {"name": "gone", "events": ["step.failed"], "order": "global"}]}`
	const newer = `{"name": "shop", "version": "2.0.0", "permissions": {"network": "any"},
		"handlers": [
			{"name": "price", "version": 1, "input_schema": {"type": "object", "required": ["card"], "properties": {"sku": {"type": "string"}, "card": {"type": "string"}}},
				"output_schema": {"type": "object", "additionalProperties": false, "required": ["total"], "properties": {"total": {"type": "integer"}}}},
			{"name": "refund", "version": 1}
		],
		"config_schema": {"type": "object", "required": ["key"], "properties": {"key": {"type": "string"}}},
		"emits": [{"name": "shop.sold", "version": 2, "schema": {"properties": {"id": {"type": "integer"}}}}],
		"subscriptions": [{"name": "audit", "events": ["task.*", "step.*"], "order": "global"}]}`
	tmpl, err := template.Parse("order.yaml", []byte(`{"name": "order", "version": "1.0.0", "steps": [
		{"name": "price", "handler": "shop/price", "with": {"card": "x"}},
		{"name": "tell", "handler": "post/send", "depends_on": ["price"], "with": {"cents": "=results.price.cents"}}]}`), template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	use := &host.UpgradeUse{
		Templates: []*template.Template{tmpl},
		Tasks:     map[task.HandlerRef][]task.ID{{Plugin: "shop", Handler: "ship", Version: 1}: {"01HZXW5N8QJ3R6T9V0B2C4D7EF"}},
		Plugins:   []host.PluginInfo{{Name: "mail"}},
	}
	use.Plugins[0].Subscriptions = append(use.Plugins[0].Subscriptions, api.SubscriptionInfo{Name: "all", Events: []string{"shop.sold"}})
	got, err := host.CheckUpgrade(described(older), described(newer), use)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`BREAKS config shop: property "key" is required now`,
		`BREAKS event shop.sold@2: property "id" has changed its type from string to integer, and is read by mail/all`,
		`BREAKS handler shop/price@1 input: property "card" is required now`,
		`BREAKS handler shop/price@1 input: property "sku" is not taken in every type that it was`,
		`BREAKS handler shop/price@1 output: property "cents" was removed`,
		`BREAKS subscription shop/gone: is gone: its events are delivered to nobody`,
		`BREAKS task 01HZXW5N8QJ3R6T9V0B2C4D7EF: needs handler shop/ship@1, which is gone`,
		`BREAKS template default/order@1.0.0: step tell: with.cents: there is no "cents": there is total`,
		`event shop.quiet: is emitted no more`,
		`handler shop/price@1 input: property "note" was removed`,
		`handler shop/refund@1: is new`,
		`handler shop/unused@1: is gone; nobody uses it`,
		`permission shop: asks for more: network any`,
		`subscription shop/audit: gets its events in the order of global, not of task`,
		`subscription shop/audit: sees step.*, too`,
	}
	var lines []string
	for _, f := range got {
		line := fmt.Sprintf("%s %s: %s", f.Kind, f.Subject, f.Text)
		if f.Breaking {
			line = "BREAKS " + line
		}
		lines = append(lines, line)
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if same, err := host.CheckUpgrade(described(older), described(older), use); err != nil || same != nil {
		t.Errorf("the same version: %+v, %v", same, err)
	}
	if _, err := host.CheckUpgrade(&host.PluginInfo{Name: "shop"}, described(newer), use); !errors.Is(err, task.ErrInvalid) {
		t.Errorf("without a manifest: %v", err)
	}
}

func described(manifest string) *host.PluginInfo {
	return &host.PluginInfo{Name: "shop", Manifest: json.RawMessage(manifest)}
}
