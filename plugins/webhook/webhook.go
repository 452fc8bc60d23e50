package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	version = "1.0.0"

	// attempts is the most that there can be; with the host's longest pause, a minute, they take 16 hours. Those that do
	// not reach the endpoint are not counted.
	attempts = 1000
	// lanes is far more than an endpoint takes at once: whoever waits for a slow one keeps nobody from the others.
	lanes = 256
	// eventTimeout is more than twice maxTimeout: an event may wait for a slot as long as a request may take.
	eventTimeout = 5 * time.Minute
)

// plugin is the plugin.
func plugin() sdk.Plugin {
	w := &webhooks{}
	subscription := func(order sdk.Order, lanes int, description string) sdk.Subscriber {
		return sdk.Subscribe(sdk.OnNamed("*", w.deliver), sdk.SubscriberOptions{
			Description: description, Order: order, Lanes: lanes, Bound: true, Config: binding{},
			MaxAttempts: attempts, Timeout: eventTimeout,
		})
	}
	return sdk.Plugin{
		Name:        "webhook",
		Version:     version,
		Title:       "Posts events to URLs.",
		Description: "Signed (Standard Webhooks), as JSON, CloudEvents 1.0, messages of Slack, Teams or Discord, or by a template.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      w,
		Permissions: sdk.Permissions{Network: sdk.NetworkAny, FSRead: []string{"config:/endpoints/*/tls/ca_file", "config:/endpoints/*/tls/cert_file", "config:/endpoints/*/tls/key_file"}, Env: []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}},
		Subscribers: sdk.Subscribers{
			"events":  subscription(sdk.TaskOrder, lanes, "Posts the events that a binding chooses; those of one task in order."),
			"ordered": subscription(sdk.GlobalOrder, 0, "Posts the events that a binding chooses; all in order, one after the other."),
		},
	}
}

// webhooks is the plugin's configuration, and what is made of it.
type webhooks struct {
	Endpoints map[string]target `json:"endpoints,omitempty" jsonschema_description:"Where events may go, by the names that bindings use. Default none."`

	served    map[string]*endpoint
	templates templates
}

var (
	_ sdk.Checker = (*webhooks)(nil)
	_ io.Closer   = (*webhooks)(nil)
)

// Check makes the endpoints, and refuses what the schema cannot.
func (w *webhooks) Check(ctx context.Context) error {
	w.served = make(map[string]*endpoint, len(w.Endpoints))
	for _, name := range slices.Sorted(maps.Keys(w.Endpoints)) {
		e, err := newEndpoint(name, w.Endpoints[name], sdk.Slog(ctx))
		if err != nil {
			return fmt.Errorf("/endpoints/%s%w", name, err)
		}
		w.served[name] = e
	}
	return nil
}

// Close gives up the connections.
func (w *webhooks) Close() error {
	for _, e := range w.served {
		e.client.CloseIdleConnections()
	}
	return nil
}

// deliver posts one event as its binding says.
func (w *webhooks) deliver(ctx context.Context, e sdk.Event[json.RawMessage]) error {
	b, err := sdk.BindingConfig[binding](ctx)
	if err != nil {
		return err
	}
	return w.post(ctx, e, b)
}

func (w *webhooks) post(ctx context.Context, e sdk.Event[json.RawMessage], b binding) error {
	to, ok := w.served[b.Endpoint]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(w.served)), ", ")
		return sdk.Unavailable(fmt.Errorf("the plugin's configuration has no endpoint %q, only [%s]", b.Endpoint, known))
	}
	m, err := w.encode(e, b)
	if err != nil {
		return sdk.Permanent(fmt.Errorf("format %s: %w", b.format(), err))
	}
	return to.post(ctx, m)
}
