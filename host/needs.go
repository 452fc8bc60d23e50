package host

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// needs is what a template needs of plugins.
type needs struct {
	h    *Host
	tmpl *template.Template
}

func (h *Host) needsOf(tmpl *template.Template) needs { return needs{h: h, tmpl: tmpl} }

// look returns a reason for every handler and subscriber of a template that nobody offers
// or whose plugin has been given up. It is settled when no plugin of them is on its way.
// The error is about bindings that their subscriber cannot take, and about expressions
// that do not fit what handlers declare.
func (n needs) look(ctx context.Context) (missing []*task.Reason, settled bool, err error) {
	plugins := n.h.supervisor.Plugins()
	if err := n.h.values.check(n.tmpl, plugins); err != nil {
		return nil, false, err
	}
	missing, settled = missingHandlers(plugins, n.tmpl)
	if len(n.tmpl.Subscriptions) == 0 {
		return missing, settled, nil
	}
	catalog, err := n.h.eventCatalog(ctx, plugins)
	if err != nil {
		return nil, false, err
	}
	refused := &bindingsError{template: n.tmpl.Ref()}
	for _, b := range templateBindings(n.tmpl, plugins, catalog) {
		plugin, _ := subscriberName(b.Subscriber.Subscriber)
		switch {
		case len(b.problems) > 0:
			refused.problems = append(refused.problems, b.refusal())
		case b.absent == nil:
		case onItsWay(plugins, plugin):
			settled = false
		default:
			missing = append(missing, b.absent)
		}
	}
	if len(refused.problems) > 0 {
		return nil, false, refused
	}
	return missing, settled, nil
}

// bindingsError refuses a task whose template binds subscribers to what they cannot take
// (rule E9).
type bindingsError struct {
	template task.TemplateRef
	problems []string
}

func (e *bindingsError) Error() string {
	return fmt.Sprintf("template %s: %s", e.template, strings.Join(e.problems, "; "))
}

// Unwrap makes it a [task.ErrInvalid].
func (e *bindingsError) Unwrap() error { return task.ErrInvalid }

// Hint implements [Hinter].
func (e *bindingsError) Hint() string { return "tasker subscriber list" }

// require waits until it is known of everything that is needed whether it can be used,
// and returns an error that names what cannot. Plugins that the template does not name
// are not waited for.
func (h *Host) require(ctx context.Context, n needs) error {
	select {
	case <-h.supervisor.Discovered():
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		rung := h.settled.next()
		missing, settled, err := n.look(ctx)
		switch {
		case err != nil:
			return err
		case settled && len(missing) > 0:
			return &unknownHandlersError{missing: missing}
		case settled:
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// warningWait is how long the creation of an embedded host's task waits for its plugins
// to start, so that what is missing can be told.
const warningWait = 3 * time.Second

// letPluginsStart gives the plugins of a template a moment to start.
func (h *Host) letPluginsStart(ctx context.Context, n needs) {
	ctx, cancel := context.WithTimeout(ctx, warningWait)
	defer cancel()
	_ = h.require(ctx, n) // what is known by then is asked for again
}

// knownMissing returns a reason for everything of which it is known now that it cannot be
// used; what is being started is not among them.
func (h *Host) knownMissing(ctx context.Context, n needs) ([]*task.Reason, error) {
	select {
	case <-h.supervisor.Discovered():
		missing, _, err := n.look(ctx)
		return missing, err
	default:
		return nil, nil
	}
}

// missingHandlers returns a reason for every handler of a template that nobody offers or
// whose plugin has been given up. It is settled when no handler's plugin is on its way.
func missingHandlers(plugins []supervisor.PluginInfo, tmpl *template.Template) (missing []*task.Reason, settled bool) {
	settled = true
	for _, ref := range tmpl.Handlers() {
		if onItsWay(plugins, ref.Plugin) {
			settled = false
			continue
		}
		r := handlerReason(plugins, ref)
		if r == nil {
			continue
		}
		p := findPlugin(plugins, ref.Plugin)
		if r.Code == task.ReasonNoPlugin || r.Code == task.ReasonNoHandler || isGivenUp(p) {
			missing = append(missing, r)
		}
	}
	return missing, settled
}
