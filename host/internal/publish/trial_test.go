package publish_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// TestTrial: the examples of the catalog become events like those of the log.
func TestTrial(t *testing.T) {
	failed, _ := event.Lookup(event.NameStepFailed)
	crashed, _ := event.Lookup(event.NamePluginCrashed)
	tests := []struct {
		name, event, payload string
		want                 *eventv1.Event
	}{
		{"about a step", failed.Name, string(failed.Example), &eventv1.Event{
			TaskId: "01JD3Z9Q7V8T4K2M6N1P5R3S0W", Step: "charge", Namespace: "shop", Template: "order", Version: "1.2.0",
			CorrelationId: "web-8842", Payload: failed.Example,
		}},
		{"about a plugin", crashed.Name, string(crashed.Example), &eventv1.Event{Payload: crashed.Example}},
		{"custom", "orders.shipped", "{ \"task_id\": 7, \"order\": \"o-1\" }", &eventv1.Event{Payload: []byte(`{"task_id":7,"order":"o-1"}`)}},
		{"no object", "orders.counted", " 7 ", &eventv1.Event{Payload: []byte("7")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			encoded, err := publish.Trial("trial/1", tt.event, []byte(tt.payload), at)
			if err != nil {
				t.Fatal(err)
			}
			got := &eventv1.Event{}
			if err := proto.Unmarshal(encoded, got); err != nil {
				t.Fatal(err)
			}
			tt.want.Id, tt.want.Type, tt.want.At = "trial/1", tt.event, at.UnixNano()
			if !proto.Equal(got, tt.want) {
				t.Errorf("got\n%v\nwant\n%v", got, tt.want)
			}
		})
	}
	if _, err := publish.Trial("trial/1", "orders.shipped", []byte("{"), at); err == nil {
		t.Error("a payload that is no JSON was taken")
	}
}
