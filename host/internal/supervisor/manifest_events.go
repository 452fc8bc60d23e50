package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Limits of what a manifest says of events.
const (
	maxSubscriptions = 64
	maxEmits         = 256
	maxEvents        = 256  // names in one subscription
	maxEventName     = 128  // bytes
	maxDescription   = 4096 // bytes
	maxFilter        = 4096 // bytes
	maxWindow        = 64   // batches
	maxDeliveries    = 1000 // of one event
)

// Order is the order in which a subscription gets its events.
type Order string

// The orders.
const (
	OrderGlobal Order = "global" // by sequence
	OrderTask   Order = "task"   // by sequence within each task
)

// Subscription is one subscription of a manifest. What its events and its filter mean is
// for others to check; zero numbers are the host's defaults.
type Subscription struct {
	Name         string          `json:"name"`
	Description  string          `json:"description,omitempty"`
	Events       []string        `json:"events"` // names or trailing wildcards
	Filter       string          `json:"filter,omitempty"`
	Order        Order           `json:"order"`
	Window       int             `json:"window,omitempty"`
	MaxAttempts  int             `json:"max_attempts,omitempty"`
	Start        string          `json:"start,omitempty"` // now, beginning or RFC 3339
	Bound        bool            `json:"bound,omitempty"`
	ConfigSchema json.RawMessage `json:"config_schema,omitempty"`
	Timeout      task.Duration   `json:"timeout,omitempty"`
}

// Emitted is one custom event of a manifest.
type Emitted struct {
	Name        string          `json:"name"`
	Version     uint32          `json:"version"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`
	Example     json.RawMessage `json:"example,omitempty"`
	Immediate   bool            `json:"immediate,omitempty"` // recorded at once, not with the attempt's success
}

// CheckConfig checks the configuration of a binding, nil for none, against the
// subscription's schema.
func (s *Subscription) CheckConfig(config json.RawMessage) error {
	if len(s.ConfigSchema) == 0 {
		if len(config) > 0 {
			return fmt.Errorf("subscription %s takes no configuration", s.Name)
		}
		return nil
	}
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	if err := fits(s.ConfigSchema, config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// The forms of the names of events: of one, and of those that a subscription lists.
var (
	eventName    = regexp.MustCompile(`^[a-z][a-z0-9_-]*\.[a-z][a-z0-9_]*$`)
	eventPattern = regexp.MustCompile(`^([a-z][a-z0-9_-]*(\.[a-z0-9_]*)?)?\*$`)
)

func (r *manifestReader) subscriptions(specs []*pluginv1.SubscriptionSpec) []Subscription {
	if len(specs) > maxSubscriptions {
		r.failf("%d subscriptions: want at most %d", len(specs), maxSubscriptions)
		return nil
	}
	var subscriptions []Subscription
	seen := make(map[string]bool, len(specs))
	for _, spec := range specs {
		if seen[spec.GetName()] {
			r.failf("subscription %q: declared twice", spec.GetName())
		}
		seen[spec.GetName()] = true
		subscriptions = append(subscriptions, r.subscription(spec))
	}
	return subscriptions
}

func (r *manifestReader) subscription(w *pluginv1.SubscriptionSpec) Subscription {
	where := fmt.Sprintf("subscription %q", w.GetName())
	if !task.ValidHandlerName(w.GetName()) {
		r.failf("%s: name: want [a-z][a-z0-9_-]{0,31}", where)
	}
	s := Subscription{
		Name:         w.GetName(),
		Description:  r.text(where+": description", w.GetDescription(), maxDescription),
		Events:       r.events(where, w.GetEvents()),
		Filter:       r.text(where+": filter", w.GetFilter(), maxFilter),
		Order:        OrderGlobal,
		Window:       r.count(where+": window", w.GetWindow(), maxWindow),
		MaxAttempts:  r.count(where+": max_attempts", w.GetMaxAttempts(), maxDeliveries),
		Start:        w.GetStart(),
		Bound:        w.GetBound(),
		ConfigSchema: r.schema(where+": config_schema", w.GetConfigSchema()),
		Timeout:      task.Duration(r.duration(where+": timeout", w.GetTimeout())),
	}
	if w.GetOrder() == pluginv1.DeliveryOrder_DELIVERY_ORDER_TASK {
		s.Order = OrderTask
	} else if _, known := pluginv1.DeliveryOrder_name[int32(w.GetOrder())]; !known {
		r.failf("%s: order %d: want global or task", where, w.GetOrder())
	}
	switch s.Start {
	case "", "now", "beginning":
	default:
		if _, err := time.Parse(time.RFC3339, s.Start); err != nil {
			r.failf("%s: start %q: want now, beginning or a time such as 2006-01-02T15:04:05Z", where, s.Start)
		}
	}
	return s
}

// events checks the names and wildcards of a subscription.
func (r *manifestReader) events(where string, events []string) []string {
	if len(events) == 0 {
		r.failf("%s: events: want at least one name or wildcard such as \"task.*\"", where)
	}
	if len(events) > maxEvents {
		r.failf("%s: %d events: want at most %d", where, len(events), maxEvents)
		return nil
	}
	for i, e := range events {
		switch {
		case len(e) > maxEventName || !eventName.MatchString(e) && !eventPattern.MatchString(e):
			r.failf("%s: event %q: want a name such as step.failed, or a wildcard at the end such as task.*", where, cut(e, maxEventName))
		case slices.Contains(events[:i], e):
			r.failf("%s: event %q: listed twice", where, e)
		}
	}
	return events
}

func (r *manifestReader) emits(specs []*pluginv1.EventSpec) []Emitted {
	if len(specs) > maxEmits {
		r.failf("%d custom events: want at most %d", len(specs), maxEmits)
		return nil
	}
	var emits []Emitted
	seen := make(map[string]bool, len(specs))
	for _, spec := range specs {
		if seen[spec.GetName()] {
			r.failf("event %q: declared twice", spec.GetName())
		}
		seen[spec.GetName()] = true
		emits = append(emits, r.emitted(spec))
	}
	return emits
}

func (r *manifestReader) emitted(w *pluginv1.EventSpec) Emitted {
	where := fmt.Sprintf("event %q", cut(w.GetName(), maxEventName))
	if len(w.GetName()) > maxEventName || !eventName.MatchString(w.GetName()) {
		r.failf("%s: name: want the plugin's name, a dot and [a-z][a-z0-9_]*", where)
	}
	if w.GetVersion() == 0 {
		r.failf("%s: version: want a whole number from 1", where)
	}
	e := Emitted{
		Name:        w.GetName(),
		Version:     w.GetVersion(),
		Description: r.text(where+": description", w.GetDescription(), maxDescription),
		Schema:      r.schema(where+": schema", w.GetSchema()),
		Example:     w.GetExample(),
		Immediate:   w.GetImmediate(),
	}
	if len(e.Example) > 0 && !isJSON(e.Example) {
		r.failf("%s: example: no valid JSON", where)
	} else if len(e.Example) > 0 && len(e.Schema) > 0 {
		if _, err := compileSchema(e.Schema); err != nil {
			return e // told of already
		}
		if err := fits(e.Schema, e.Example); err != nil {
			r.failf("%s: example: %w", where, err)
		}
	}
	return e
}

func (r *manifestReader) text(where, text string, limit int) string {
	if len(text) > limit {
		r.failf("%s: %d bytes: want at most %d", where, len(text), limit)
	}
	return strings.TrimSpace(text)
}

func (r *manifestReader) count(where string, n uint32, limit int) int {
	if uint64(n) > uint64(limit) { //nolint:gosec // a constant above 0
		r.failf("%s %d: want at most %d", where, n, limit)
	}
	return int(n)
}

// fits checks a document against a schema.
func fits(schema, doc json.RawMessage) error {
	compiled, err := compileSchema(schema)
	if err != nil {
		return err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return fmt.Errorf("no valid JSON: %w", err)
	}
	err = compiled.Validate(parsed)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return fmt.Errorf("does not fit the schema: %s", strings.Join(violations(invalid, message.NewPrinter(language.English)), "; "))
	}
	return err
}

// CheckPayload checks the payload of an event against its schema, empty for any JSON.
// Error: [task.ErrInvalid] with all that is wrong.
func CheckPayload(schema, payload json.RawMessage) error {
	if !isJSON(payload) {
		return fmt.Errorf("payload: %w: no valid JSON", task.ErrInvalid)
	}
	if len(schema) == 0 {
		return nil
	}
	if err := fits(schema, payload); err != nil {
		return fmt.Errorf("payload: %w: %w", task.ErrInvalid, err)
	}
	return nil
}
