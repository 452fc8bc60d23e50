package sdk

import (
	"context"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Events are the custom events that a plugin's handlers emit; see [Declare] and [Emit].
type Events []DeclaredEvent

// EventOptions say more about a custom event. The zero value is a good event.
type EventOptions struct {
	// Version is the version of the payload's shape. 0 = 1.
	Version int
	// Description says what the event means, in plain text.
	Description string
	// Immediate events are recorded at once, whatever becomes of the attempt; each attempt may record them anew. Else
	// they are recorded with the attempt's success, once.
	Immediate bool
}

// DeclaredEvent is a custom event, as [Declare] makes it.
type DeclaredEvent struct {
	example event.Payload
	options []EventOptions
}

// Declare declares a custom event by an example of its payload. Its method EventName is "plugin.event": the
// plugin's name, a dot, and [a-z][a-z0-9_]*. The payload's schema is derived from its type.
func Declare(example event.Payload, opts ...EventOptions) DeclaredEvent {
	return DeclaredEvent{example: example, options: opts}
}

// Emit records a custom event about the attempt's step: with the attempt's success, or at once where its
// declaration says so.
func Emit(ctx context.Context, payload event.Payload) error { return nil }
