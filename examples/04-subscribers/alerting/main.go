// Command tasker-plugin-alerting raises an alert when a task fails, and resolves it when the next one succeeds.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Rule is what a binding sets: where an Alertmanager takes alerts, and how bad it is.
type Rule struct {
	URL      string `json:"url"`
	Severity string `json:"severity,omitempty"`
}

// alert is one of Alertmanager's v2 API, which knows it by its labels: posted twice it is still one.
type alert map[string]any

func failed(ctx context.Context, e sdk.Event[event.TaskFailed]) error {
	return post(ctx, e.Template, alert{})
}

func completed(ctx context.Context, e sdk.Event[event.TaskCompleted]) error {
	return post(ctx, e.Template, alert{"endsAt": e.At}) // which resolves it
}

func post(ctx context.Context, template string, a alert) error {
	rule, err := sdk.BindingConfig[Rule](ctx)
	if err != nil {
		return err
	}
	a["labels"] = map[string]string{"alertname": "TaskFailed", "template": template, "severity": rule.Severity}
	body, _ := json.Marshal([]alert{a})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rule.URL, bytes.NewReader(body))
	if err != nil {
		return sdk.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sdk.Unavailable(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the Alertmanager answered %s", resp.Status)
	}
	return nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "alerting", Version: "1.0.0", Permissions: sdk.Permissions{Network: sdk.NetworkAny}, Subscribers: sdk.Subscribers{
		"tasks": sdk.Subscribe(sdk.Routes(sdk.On(failed), sdk.On(completed)), sdk.SubscriberOptions{Bound: true, Config: Rule{Severity: "warning"}}),
	}})
}
