package supervisor

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func TestReadManifestOfASubscriber(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","properties":{"channel":{"type":"string"}},"required":["channel"]}`)
	m, err := readManifest(&pluginv1.Manifest{
		Name: "notify", Version: "1.0.0",
		Subscriptions: []*pluginv1.SubscriptionSpec{
			{
				Name: "failures", Events: []string{"step.failed", "task.*", "*", "order_flow.paid"}, Filter: " event.final ", Order: pluginv1.DeliveryOrder_DELIVERY_ORDER_TASK,
				Window: 2, MaxAttempts: 3, Start: "2026-01-02T03:04:05Z", Bound: true, ConfigSchema: schema, Timeout: durationpb.New(time.Second),
				Description: "Tells people.",
			},
			{Name: "all", Events: []string{"step.re*"}, Start: "beginning"},
		},
		Emits: []*pluginv1.EventSpec{{
			Name: "notify.sent", Version: 2, Schema: schema, Example: []byte(`{"channel":"ops"}`), Description: "It was sent.", Immediate: true,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Subscription{
		{
			Name: "failures", Events: []string{"step.failed", "task.*", "*", "order_flow.paid"}, Filter: "event.final", Order: OrderTask,
			Window: 2, MaxAttempts: 3, Start: "2026-01-02T03:04:05Z", Bound: true, ConfigSchema: schema, Timeout: task.Duration(time.Second),
			Description: "Tells people.",
		},
		{Name: "all", Events: []string{"step.re*"}, Order: OrderGlobal, Start: "beginning"},
	}
	if diff := cmp.Diff(want, m.Subscriptions); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	emits := []Emitted{{
		Name: "notify.sent", Version: 2, Schema: schema, Example: []byte(`{"channel":"ops"}`), Description: "It was sent.", Immediate: true,
	}}
	if diff := cmp.Diff(emits, m.Emits); diff != "" {
		t.Errorf("emits (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		subscription int
		config, want string
	}{
		{0, `{"channel":"ops"}`, ""},
		{0, `{"channel":1}`, "does not fit the schema"},
		{0, ``, "missing property 'channel'"},
		{0, `{`, "no valid JSON"},
		{1, ``, ""},
		{1, `{}`, "subscription all takes no configuration"},
	} {
		err := m.Subscriptions[tt.subscription].CheckConfig(json.RawMessage(tt.config))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("CheckConfig(%s) of subscription %d: %v, want %q in it", tt.config, tt.subscription, err, tt.want)
		}
	}
}

func TestReadManifestRefusesEvents(t *testing.T) {
	type spec = pluginv1.SubscriptionSpec
	many := make([]string, maxEvents+1)
	tests := []struct {
		name          string
		subscriptions []*spec
		emits         []*pluginv1.EventSpec
		want          []string
	}{
		{"nothing to do", nil, nil, []string{"want at least one handler or one subscription"}},
		{
			"a subscription without anything",
			[]*spec{{}},
			nil,
			[]string{`subscription "": name: want [a-z]`, `subscription "": events: want at least one name`},
		},
		{
			"every field wrong at once",
			[]*spec{{
				Name: "a", Events: []string{"step.*.x", "Step.failed", "failed", "task.started", "task.started"}, Order: 9, Window: 65, MaxAttempts: 1001,
				Start: "yesterday", ConfigSchema: []byte(`{"type":5}`), Timeout: durationpb.New(math.MaxInt64),
			}},
			nil,
			[]string{
				`event "step.*.x": want a name such as step.failed`, `event "Step.failed"`, `event "failed"`, `event "task.started": listed twice`,
				"order 9: want global or task", "window 65: want at most 64", "max_attempts 1001: want at most 1000", `start "yesterday": want now, beginning or a time`,
				"config_schema: no valid JSON Schema", "timeout: want at most",
			},
		},
		{"the same subscription twice", []*spec{{Name: "a", Events: []string{"*"}}, {Name: "a", Events: []string{"*"}}}, nil, []string{`subscription "a": declared twice`}},
		{"too many events", []*spec{{Name: "a", Events: many}}, nil, []string{"257 events: want at most 256"}},
		{"too many subscriptions", make([]*spec, maxSubscriptions+1), nil, []string{"65 subscriptions: want at most 64"}},
		{"a long filter", []*spec{{Name: "a", Events: []string{"*"}, Filter: strings.Repeat("x", maxFilter+1)}}, nil, []string{"filter: 4097 bytes"}},
		{"an event that is none", nil, []*pluginv1.EventSpec{{Name: "shipped"}}, []string{`event "shipped": name: want`, `event "shipped": version: want`}},
		{"an event twice", nil, []*pluginv1.EventSpec{{Name: "a.b", Version: 1}, {Name: "a.b", Version: 2}}, []string{`event "a.b": declared twice`}},
		{
			"examples",
			nil,
			[]*pluginv1.EventSpec{
				{Name: "a.b", Version: 1, Example: []byte(`{`)},
				{Name: "a.c", Version: 1, Example: []byte(`1`), Schema: []byte(`{"type":"string"}`)},
				{Name: "a.d", Version: 1, Example: []byte(`1`), Schema: []byte(`{"type":7}`)},
			},
			[]string{`event "a.b": example: no valid JSON`, `event "a.c": example: does not fit the schema`, `event "a.d": schema: no valid JSON Schema`},
		},
		{"too many custom events", nil, make([]*pluginv1.EventSpec, maxEmits+1), []string{"257 custom events: want at most 256"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readManifest(&pluginv1.Manifest{Name: "a", Version: "1.0.0", Subscriptions: tt.subscriptions, Emits: tt.emits})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("readManifest: %v\nwant %q in it", err, want)
				}
			}
		})
	}
}
