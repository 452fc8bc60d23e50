// Command tasker-plugin-notification tells people in a chat what happened to a task.
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

// Chat is what a binding sets: where to, and whom to mention.
type Chat struct {
	URL     string `json:"url"`
	Mention string `json:"mention,omitempty"`
}

type notifier struct{ sdk.BaseSubscriber }

func (n *notifier) OnTaskCompleted(ctx context.Context, e sdk.Event[event.TaskCompleted]) error {
	return n.say(ctx, fmt.Sprintf("%s is done.", e.Template))
}

func (n *notifier) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error {
	return n.say(ctx, fmt.Sprintf("%s of %s failed: %s", e.Step, e.Template, e.Payload.Message))
}

// SubscriberOptions makes it hear nothing but what a binding gives it, as without one it knows no chat.
func (*notifier) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{Description: "Writes to a chat.", Order: sdk.TaskOrder, Bound: true, Config: Chat{}}
}

func (n *notifier) say(ctx context.Context, text string) error {
	chat, err := sdk.BindingConfig[Chat](ctx)
	if err != nil {
		return err
	}
	body, _ := json.Marshal(map[string]string{"text": chat.Mention + text})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, chat.URL, bytes.NewReader(body))
	if err != nil {
		return sdk.Permanent(err) // a dead letter: the URL has to be mended first
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sdk.Unavailable(err) // the event waits until the chat is there again
	}
	if _ = resp.Body.Close(); resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the chat answered %s", resp.Status)
	}
	return nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "notification", Version: "1.0.0", Permissions: sdk.Permissions{Network: sdk.NetworkAny}, Subscribers: sdk.Subscribers{"chat": &notifier{}}})
}
