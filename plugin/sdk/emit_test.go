package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

type shipped struct {
	OrderID string `json:"order_id" jsonschema:"minLength=1"`
	Note    string `json:"note,omitempty"`
}

func (shipped) EventName() string { return "test.shipped" }

type progress struct {
	Percent int `json:"percent" jsonschema:"maximum=100"`
}

func (progress) EventName() string { return "test.progress_made" }

type undeclared struct{}

func (undeclared) EventName() string { return "test.undeclared" }

// emitter runs a plugin whose handler calls fn.
func emitter(t *testing.T, fn func(ctx context.Context) error) *sdktest.Outcome {
	t.Helper()
	p := sdktest.Start(t, sdk.Plugin{
		Name: "test", Version: "1.0.0",
		Handlers: sdk.Handlers{"h": sdk.Func(func(ctx context.Context, _ struct{}) (int, error) { return 1, fn(ctx) })},
		Events: sdk.Events{
			sdk.Declare(shipped{OrderID: "o-1"}, sdk.EventOptions{Description: "An order has left."}),
			sdk.Declare(&progress{Percent: 50}, sdk.EventOptions{Version: 3, Immediate: true}),
		},
	})
	want := []*pluginv1.EventSpec{
		{Name: "test.progress_made", Version: 3, Example: []byte(`{"percent":50}`), Immediate: true},
		{Name: "test.shipped", Version: 1, Example: []byte(`{"order_id":"o-1"}`), Description: "An order has left."},
	}
	if diff := cmp.Diff(want, p.Manifest().GetEmits(), protocmp.Transform(), protocmp.IgnoreFields(&pluginv1.EventSpec{}, "schema")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for _, e := range p.Manifest().GetEmits() {
		if !strings.Contains(string(e.GetSchema()), `"properties"`) || strings.Contains(string(e.GetSchema()), "additionalProperties") {
			t.Errorf("schema of %s: %s", e.GetName(), e.GetSchema())
		}
	}
	return p.Run(t, sdktest.Attempt{Handler: "h"})
}

func TestEmit(t *testing.T) {
	got := emitter(t, func(ctx context.Context) error {
		return errors.Join(
			sdk.Emit(ctx, shipped{OrderID: "<1>"}), sdk.Emit(ctx, progress{Percent: 10}), sdk.Emit(ctx, &shipped{OrderID: "2"}),
		)
	})
	want := []sdktest.Emitted{
		{Name: "test.progress_made", Payload: json.RawMessage(`{"percent":10}`), Immediate: true},
		{Name: "test.shipped", Payload: json.RawMessage(`{"order_id":"<1>"}`)},
		{Name: "test.shipped", Payload: json.RawMessage(`{"order_id":"2"}`)},
	}
	if diff := cmp.Diff(want, got.Emitted); diff != "" {
		t.Errorf("emitted (-want +got):\n%s", diff)
	}
	var payload shipped
	if got.Emitted[2].Decode(t, &payload); payload.OrderID != "2" {
		t.Errorf("payload %+v", payload)
	}
}

// TestEmitThenFail takes along only what is immediate.
func TestEmitThenFail(t *testing.T) {
	got := emitter(t, func(ctx context.Context) error {
		return errors.Join(sdk.Emit(ctx, shipped{OrderID: "1"}), sdk.Emit(ctx, progress{Percent: 10}), errSentinel)
	})
	if got.Failure == nil || len(got.Emitted) != 1 || got.Emitted[0].Name != "test.progress_made" {
		t.Errorf("failure %v, emitted %v", got.Failure, got.Emitted)
	}
}

// TestEmitRefuses fails the attempt for good, in words that help.
func TestEmitRefuses(t *testing.T) {
	var absent *shipped
	tests := map[string]struct {
		payloads []event.Payload
		want     string
		is       error
	}{
		"undeclared": {[]event.Payload{undeclared{}}, "emit sdk_test.undeclared: it is not declared, unlike test.progress_made, test.shipped: add sdk.Declare(sdk_test.undeclared{...}) to the plugin's Events", nil},
		"misfit":     {[]event.Payload{shipped{}}, "emit sdk_test.shipped: the payload does not fit the schema of test.shipped: /order_id: minLength: got 0, want 1", nil},
		"misfit, immediate": {
			[]event.Payload{progress{Percent: 101}},
			"emit sdk_test.progress: the payload does not fit the schema of test.progress_made: /percent: maximum: got 101, want 100", nil,
		},
		"too many": {
			make([]event.Payload, sdk.MaxEmits+1), // of shipped
			"emit sdk_test.shipped: the attempt has emitted 1000 already: too many events", sdk.ErrTooMany,
		},
		"too large": {
			[]event.Payload{shipped{OrderID: strings.Repeat("x", sdk.MaxEmitBytes)}},
			"emit sdk_test.shipped: 1048591 bytes, the limit is 1048576: value too large", sdk.ErrTooLarge,
		},
		"too much": {
			[]event.Payload{shipped{OrderID: strings.Repeat("x", sdk.MaxEmitBytes/2)}, shipped{OrderID: strings.Repeat("x", sdk.MaxEmitBytes/2)}},
			"emit sdk_test.shipped: with it the attempt emits 1048606 bytes, the limit is 1048576: value too large", sdk.ErrTooLarge,
		},
		"nil": {[]event.Payload{absent}, "emit: the payload is nil", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := emitter(t, func(ctx context.Context) error {
				for _, p := range tt.payloads {
					if p == nil {
						p = shipped{OrderID: "1"}
					}
					if err := sdk.Emit(ctx, p); err != nil {
						if tt.is != nil && !errors.Is(err, tt.is) {
							t.Errorf("error %v is no %v", err, tt.is)
						}
						return err
					}
				}
				return nil
			}).Failure
			if got == nil || got.Message != tt.want {
				t.Fatalf("failure %v, want %s", got, tt.want)
			}
			if name != "nil" && (got.Verdict != sdk.Final || got.Code != sdk.CodeInvalidEvent) {
				t.Errorf("verdict %s, code %s", got.Verdict, got.Code)
			}
		})
	}
}

// TestEmitElsewhere says where events are emitted.
func TestEmitElsewhere(t *testing.T) {
	if err := sdk.Emit(t.Context(), shipped{OrderID: "1"}); err == nil || err.Error() != "emit: the context is not that of an attempt" {
		t.Errorf("error %v", err)
	}
	sub := subscriber(t, all(func(ctx context.Context, _ rawEvent) error {
		return sdk.Permanent(sdk.Emit(ctx, shipped{OrderID: "1"}))
	}))
	if got, want := sub.Deliver(t, sdktest.Event{Type: "step.failed"}), "emit: subscribers emit no events, handlers do"; got.Reason != want {
		t.Errorf("answer %+v, want %s", got, want)
	}
}

type nameOf string

func (n nameOf) EventName() string { return string(n) }

type named struct{ name string }

func (n named) EventName() string { return n.name }

type channel struct{ C chan int }

func (channel) EventName() string { return "test.channel" }

func TestBrokenEvents(t *testing.T) {
	var absent *shipped
	p := sdk.Plugin{
		Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": sdk.Func(increment)},
		Events: sdk.Events{
			sdk.Declare(nil), sdk.Declare(absent), sdk.Declare(nameOf("test.x")), sdk.Declare(named{"test.Shipped"}),
			sdk.Declare(named{"step.shipped"}), sdk.Declare(named{"other.shipped"}),
			sdk.Declare(shipped{}), sdk.Declare(shipped{OrderID: "1"}, sdk.EventOptions{Version: -1}),
			sdk.Declare(shipped{OrderID: "1"}, sdk.EventOptions{}, sdk.EventOptions{}), sdk.Declare(channel{}),
			sdk.Declare(shipped{OrderID: "1"}), sdk.Declare(shipped{OrderID: "2"}),
		},
	}
	_, err := sdktest.TryStart(t, p)
	got, _ := errors.AsType[*sdk.DeclarationError](err)
	if got == nil {
		t.Fatalf("error %v, want a DeclarationError", err)
	}
	const missing = `the example is nil; want a value such as Shipped{OrderID: "o-1"}`
	want := []string{
		"Events[0]: " + missing,
		"Events[1]: " + missing,
		"Events[2]: the payload is a sdk_test.nameOf; want a struct",
		`Events[3]: sdk_test.named: "test.Shipped" is no name of an event; want "test", a dot and [a-z][a-z0-9_]*`,
		"Events[4]: sdk_test.named: step.shipped is in the family step, whose events are Tasker's own; want one of the plugin's own, such as test.shipped",
		"Events[5]: sdk_test.named: other.shipped is not of this plugin; want test.shipped",
		"Events[6]: the example does not fit the schema of its own type: /order_id: minLength: got 0, want 1",
		"Events[7]: option Version: -1 is out of range; want 0 or a number from 1",
		"Events[8]: options are given more than once",
		"Events[9]: no JSON Schema can be derived from sdk_test.channel: unsupported type chan int",
		"Events[11]: test.shipped is declared twice",
	}
	if diff := cmp.Diff(want, got.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
