package conform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Fixtures say what a plugin is called with where its schemas do not.
type Fixtures struct {
	// Config is the plugin's configuration.
	Config json.RawMessage `json:"config,omitempty"`
	// BadConfigs are configurations that it must refuse, beside those that are made from its schema.
	BadConfigs []json.RawMessage `json:"bad_configs,omitempty"`
	// Handlers are calls by handler.
	Handlers map[string]Call `json:"handlers,omitempty"`
	// Subscriptions say how events are delivered, by subscription.
	Subscriptions map[string]Feed `json:"subscriptions,omitempty"`
	// Roles are calls that do what checks need and not every handler can.
	Roles Roles `json:"roles,omitzero"`
}

// Call is how a handler is called.
type Call struct {
	// Handler is its name; only for roles.
	Handler string `json:"handler,omitempty"`
	// Input and Config are the attempt's. Empty = made from the schemas.
	Input  json.RawMessage `json:"input,omitempty"`
	Config json.RawMessage `json:"config,omitempty"`
	// Expected is the output. Empty = any.
	Expected json.RawMessage `json:"expected,omitempty"`
	// Skip says why the handler is not called.
	Skip string `json:"skip,omitempty"`
}

// Feed is how events are delivered to a subscription.
type Feed struct {
	// Config is that of a binding through which the events come. Empty = they come through none.
	Config json.RawMessage `json:"config,omitempty"`
	// Skip says why nothing is delivered.
	Skip string `json:"skip,omitempty"`
}

// Roles name calls of a certain kind. Checks that need one are skipped without it.
type Roles struct {
	// Slow goes on until it is cancelled, and then ends.
	Slow *Call `json:"slow,omitempty"`
	// Panic panics, or throws what nobody catches.
	Panic *Call `json:"panic,omitempty"`
	// Flood writes a lot to standard error, with lines of several MiB.
	Flood *Call `json:"flood,omitempty"`
	// Large returns more than 4 MiB and less than 16 MiB.
	Large *Call `json:"large,omitempty"`
}

// ParseFixtures reads fixtures from YAML. Unknown keys are errors.
func ParseFixtures(doc []byte) (Fixtures, error) {
	var f Fixtures
	if len(bytes.TrimSpace(doc)) == 0 {
		return f, nil
	}
	converted, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return f, err
	}
	dec := json.NewDecoder(bytes.NewReader(converted))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return f, err
	}
	for role, c := range map[string]*Call{"slow": f.Roles.Slow, "panic": f.Roles.Panic, "flood": f.Roles.Flood, "large": f.Roles.Large} {
		if c != nil && c.Handler == "" {
			return f, fmt.Errorf("roles: %s: it names no handler", role)
		}
	}
	return f, nil
}

// call is an attempt to be made.
type call struct {
	handler  string
	version  uint32
	input    []byte
	config   []byte
	expected []byte
	output   []byte // schema
}

// calls returns a call for each handler that can be called, and why the others cannot.
func (r *runner) calls() (calls []call, skipped []string) {
	for _, h := range r.manifest.GetHandlers() {
		f := r.opts.Fixtures.Handlers[h.GetName()]
		if f.Skip != "" {
			skipped = append(skipped, h.GetName()+": "+f.Skip)
			continue
		}
		if c := r.complete(h, f); c.input == nil {
			skipped = append(skipped, h.GetName()+": no input is known: its schema has no example, and there is no fixture")
		} else {
			calls = append(calls, c)
		}
	}
	return calls, skipped
}

// complete makes a call, with what the fixture does not say from the schemas.
func (r *runner) complete(h *pluginv1.HandlerSpec, f Call) call {
	c := call{
		handler: h.GetName(), version: h.GetVersion(), input: f.Input, config: f.Config,
		expected: f.Expected, output: h.GetOutputSchema(),
	}
	if c.input == nil {
		c.input = sample(h.GetInputSchema())
	}
	if c.config == nil && len(h.GetConfigSchema()) > 0 {
		c.config = sample(h.GetConfigSchema())
	}
	return c
}

// role makes the call of a role, nil when the fixtures name none or no such handler is there.
func (r *runner) role(f *Call) *call {
	if f == nil {
		return nil
	}
	for _, h := range r.manifest.GetHandlers() {
		if h.GetName() == f.Handler {
			c := r.complete(h, *f)
			return &c
		}
	}
	return nil
}

// slow returns a call that goes on until it is cancelled, or why there is none.
func (r *runner) slow() (*call, error) {
	return r.needed("slow", r.opts.Fixtures.Roles.Slow, "a handler that goes on until it is cancelled")
}

func (r *runner) needed(role string, f *Call, what string) (*call, error) {
	if len(r.manifest.GetHandlers()) == 0 {
		return nil, skipf("the plugin has no handlers")
	}
	if c := r.role(f); c != nil {
		return c, nil
	}
	return nil, skipf("it needs %s: name one in the fixtures, roles.%s", what, role)
}

// quick returns the call of an ordinary handler whose expected output says the most, or
// why there is none.
func (r *runner) quick() (*call, error) {
	if len(r.manifest.GetHandlers()) == 0 {
		return nil, skipf("the plugin has no handlers")
	}
	calls, skipped := r.calls()
	if len(calls) == 0 {
		return nil, skipf("no handler can be called: %v", skipped)
	}
	best := slices.MaxFunc(calls, func(a, b call) int { return len(a.expected) - len(b.expected) })
	return &best, nil
}
