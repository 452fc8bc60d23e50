// Command tasker-plugin-integration hands events to another system over HTTP, as they are, each under its own key.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Target is what a binding sets.
type Target struct {
	URL string `json:"url"`
}

func forward(ctx context.Context, e sdk.Event[json.RawMessage]) error {
	target, err := sdk.BindingConfig[Target](ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL, bytes.NewReader(e.Payload))
	if err != nil {
		return sdk.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", e.ID) // the same at every delivery
	req.Header.Set("Event-Type", e.Type)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sdk.Unavailable(err) // it waits, however long that takes
	}
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode < http.StatusMultipleChoices:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests:
		return sdk.RetryAfter(errors.New("it has too much to do"), 10*time.Second)
	case resp.StatusCode < http.StatusInternalServerError:
		return sdk.Permanent(fmt.Errorf("it answered %s, and would again", resp.Status)) // a dead letter
	default:
		return fmt.Errorf("it answered %s", resp.Status) // delivered again, later and later
	}
}

func main() {
	events := sdk.Routes(sdk.OnNamed("task.*", forward), sdk.OnNamed("step.*", forward))
	sdk.Serve(sdk.Plugin{Name: "integration", Version: "1.0.0", Permissions: sdk.Permissions{Network: sdk.NetworkAny}, Subscribers: sdk.Subscribers{
		"events": sdk.Subscribe(events, sdk.SubscriberOptions{Order: sdk.TaskOrder, Start: "beginning", Bound: true, Config: Target{}}),
	}})
}
