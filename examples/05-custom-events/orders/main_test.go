package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestEvents emits every event. The SDK checks payloads against their schemas.
func TestEvents(t *testing.T) {
	p := sdktest.Start(t, plugin())
	in := Order{OrderID: "1001", Items: []string{"pot", "lid"}, Missing: "lid"}
	tests := map[string]struct {
		attempt sdktest.Attempt
		failed  string // code
		want    []sdktest.Emitted
	}{
		"what is picked is published though packing fails": {
			attempt: sdktest.Attempt{Handler: "pack", Input: in},
			failed:  "out_of_stock",
			want:    []sdktest.Emitted{{Name: "orders.picked", Payload: json.RawMessage(`{"order_id":"1001","item":"pot"}`), Immediate: true}},
		},
		"shipped": {
			attempt: sdktest.Attempt{Handler: "ship", Input: in, Results: map[string]any{"pack": Parcel{Tracking: "TRK-1", Grams: 500}}},
			want: []sdktest.Emitted{{
				Name: "orders.shipped", Payload: json.RawMessage(`{"order_id":"1001","carrier":"parcel","tracking":"TRK-1","grams":500}`),
			}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := p.Run(t, tt.attempt)
			if code := ""; got.Failure != nil || tt.failed != "" {
				if got.Failure != nil {
					code = got.Failure.Code
				}
				if code != tt.failed {
					t.Errorf("failure %v, want the code %q", got.Failure, tt.failed)
				}
			}
			if diff := cmp.Diff(tt.want, got.Emitted); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
