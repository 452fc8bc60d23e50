package host_test

import (
	"encoding/json"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
)

// payload decodes what a test wants of an event.
func payload[P any](t *testing.T, e hosttest.Event) (p P) {
	t.Helper()
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		t.Fatalf("payload of %s: %v", e, err)
	}
	return p
}

func queryStarted() host.EventQuery { return host.EventQuery{Type: "step.started"} }
