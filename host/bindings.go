package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// configSource is where the bindings of the host come from, for people.
const configSource = "tasker.yaml"

// binding is a binding as written and what became of it.
type binding struct {
	Subscriber

	source   string            // "template default/order@1.0.0" or configSource
	template *task.TemplateRef // nil = all; without a version: all of its versions
	name     string            // "plugin/subscription"; empty = not known yet
	compiled *expr.Filter      // of Filter
	absent   *task.Reason      // why it is not known yet whether it fits, nil = it is known
	problems []string          // why it is refused, none = it is not
}

// refusal returns what is wrong with a binding, with its place.
func (b *binding) refusal() string {
	text := strings.Join(b.problems, "; ")
	if b.Position != "" {
		return b.Position + ": " + text
	}
	return b.source + ": " + text
}

// delivery returns the binding as delivery knows it. One that was refused keeps its
// subscriber from the events that it is about: they must not go elsewhere than written.
func (b *binding) delivery() delivery.Binding {
	d := delivery.Binding{
		Subscription: b.name, Source: b.source, Template: b.template, Enabled: !b.Disabled && len(b.problems) == 0,
	}
	if len(b.problems) == 0 {
		d.Events, d.Filter, d.Config = b.Events, b.compiled, b.Config
	}
	return d
}

// info returns the binding as people see it.
func (b *binding) info() api.BindingInfo {
	info := api.BindingInfo{
		Source: b.source, Template: b.template, Events: b.Events, Filter: b.Filter, Config: b.Config, Enabled: !b.Disabled,
	}
	if b.Position != "" && b.source == configSource {
		info.Source = b.Position
	}
	if len(b.problems) > 0 {
		info.Problem = strings.Join(b.problems, "; ")
	}
	return info
}

// note says what became of a binding.
func (b *binding) note() string {
	where := b.source
	if b.Position != "" {
		where += " (" + b.Position + ")"
	}
	switch {
	case len(b.problems) > 0:
		return "binding of " + where + ": refused: " + strings.Join(b.problems, "; ")
	case b.Disabled:
		return "binding of " + where + ": " + b.name + " gets nothing"
	case b.Events != nil:
		return "binding of " + where + ": " + b.name + " gets " + strings.Join(b.Events, ", ")
	default:
		return "binding of " + where + ": " + b.name + " gets what it declares"
	}
}

// subscriberName splits "plugin/name" or "plugin".
func subscriberName(s string) (plugin, name string) {
	plugin, name, _ = strings.Cut(s, "/")
	return plugin, name
}

// resolve finds the subscription that a binding is about and checks that it narrows what
// the plugin declares.
func (b *binding) resolve(plugins []supervisor.PluginInfo, catalog *eventCatalog) {
	plugin, name := subscriberName(b.Subscriber.Subscriber)
	if name != "" {
		b.name = b.Subscriber.Subscriber
	}
	filterProblem := b.compile()
	p := findPlugin(plugins, plugin)
	if p == nil || p.Manifest == nil {
		if filterProblem != "" {
			b.problems = append(b.problems, filterProblem)
		}
		b.absent = absentSubscriber(plugins, p, plugin)
		return
	}
	if isGivenUp(p) {
		b.absent = absentSubscriber(plugins, p, plugin)
	}
	s, problem := subscriptionOf(p.Manifest, name)
	if s == nil {
		b.problems = append(b.problems, problem)
		return
	}
	b.name = plugin + "/" + s.Name
	for _, e := range b.Events {
		if problem := eventProblem(s, catalog, e); problem != "" {
			b.problems = append(b.problems, fmt.Sprintf("subscriber %s: %s", b.name, problem))
		}
	}
	if filterProblem == "" {
		filterProblem = b.checkPayload(catalog, s.Events)
	}
	if filterProblem != "" {
		b.problems = append(b.problems, filterProblem)
	}
	if b.Disabled {
		return
	}
	if err := s.CheckConfig(b.Config); err != nil {
		b.problems = append(b.problems, fmt.Sprintf("subscriber %s: %s", b.name, strings.Join(strings.Fields(err.Error()), " ")))
	}
}

// compile compiles the filter and returns what is wrong with it, empty for nothing.
func (b *binding) compile() (problem string) {
	if b.Filter == "" {
		return ""
	}
	var err error
	if b.compiled, err = expr.Compile(b.Filter); err != nil {
		return fmt.Sprintf("subscriber %s: filter: %v", b.Subscriber.Subscriber, err)
	}
	return ""
}

// checkPayload returns why the filter holds for none of the events that come to it: those
// of the binding, or else those that the subscription declares; empty when it may.
func (b *binding) checkPayload(catalog *eventCatalog, declared []string) (problem string) {
	if b.compiled == nil {
		return ""
	}
	if len(b.Events) > 0 {
		declared = b.Events
	}
	if err := b.compiled.CheckPayload(catalog.payloads(declared)); err != nil {
		return fmt.Sprintf("subscriber %s: filter: %v", b.name, err)
	}
	return ""
}

// subscriptionOf returns the subscription of a name, or the only one; or why there is
// none.
func subscriptionOf(m *supervisor.Manifest, name string) (s *supervisor.Subscription, problem string) {
	names := make([]string, len(m.Subscriptions))
	for i := range m.Subscriptions {
		if names[i] = m.Subscriptions[i].Name; names[i] == name || name == "" && len(m.Subscriptions) == 1 {
			return &m.Subscriptions[i], ""
		}
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Sprintf("plugin %s subscribes to nothing", m.Name)
	case name == "":
		return nil, fmt.Sprintf("plugin %s has %d subscriptions: name one of %s/%s", m.Name, len(names), m.Name, strings.Join(names, ", "+m.Name+"/"))
	case nearest(name, names) != "":
		return nil, fmt.Sprintf("plugin %s has no subscription %q: did you mean %q?", m.Name, name, m.Name+"/"+nearest(name, names))
	default:
		return nil, fmt.Sprintf("plugin %s has no subscription %q; it has %s", m.Name, name, strings.Join(names, ", "))
	}
}

// eventProblem says why a subscription cannot be narrowed to an event or wildcard, empty
// when it can.
func eventProblem(s *supervisor.Subscription, catalog *eventCatalog, e string) string {
	wildcard := strings.HasSuffix(e, "*")
	if !wildcard && event.Reserved(familyOf(e)) && !catalog.known(e) {
		text := fmt.Sprintf("there is no event %q", e)
		if near := nearestNames(e, catalog.names()); len(near) > 0 {
			text += ": did you mean " + strings.Join(near, ", ") + "?"
		}
		return text
	}
	covered := slices.ContainsFunc(s.Events, func(declared string) bool {
		prefix, open := strings.CutSuffix(declared, "*")
		if !wildcard || !open {
			return event.Match(declared, e)
		}
		return strings.HasPrefix(e, prefix) && (!strings.HasPrefix(e, "workflow.") || strings.HasPrefix(prefix, "workflow."))
	})
	if covered {
		return ""
	}
	return fmt.Sprintf("event %s is not among those that it declares: %s", e, strings.Join(s.Events, ", "))
}

// absentSubscriber says why it is not known what a plugin subscribes to.
func absentSubscriber(plugins []supervisor.PluginInfo, p *supervisor.PluginInfo, name string) *task.Reason {
	if p != nil {
		return &task.Reason{
			Code: task.ReasonPluginDown, On: []string{name}, Since: p.Since, Until: p.RetryAt,
			Text:   strings.TrimSuffix(fmt.Sprintf("plugin %s, to which the template gives events, is %s: %s", name, p.State, p.Cause), ": "),
			Remedy: "tasker plugin logs " + name,
		}
	}
	names := make([]string, 0, len(plugins))
	for i := range plugins {
		names = append(names, plugins[i].Name)
	}
	r := &task.Reason{
		Code: task.ReasonNoPlugin, On: []string{name},
		Text:   fmt.Sprintf("no plugin %q is installed, to which the template gives events", name),
		Remedy: "put tasker-plugin-" + name + " into a plugin directory (--plugin-dir) and restart the host",
	}
	if near := nearest(name, names); near != "" {
		r.Text += fmt.Sprintf("; did you mean %q?", near)
	}
	return r
}

// templateBindings returns the bindings of a template, resolved.
func templateBindings(t *template.Template, plugins []supervisor.PluginInfo, catalog *eventCatalog) []*binding {
	if len(t.Subscriptions) == 0 {
		return nil
	}
	ref := t.Ref()
	bindings := make([]*binding, len(t.Subscriptions))
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		bindings[i] = &binding{source: "template " + ref.String(), template: &ref, Subscriber: Subscriber{
			Subscriber: s.Subscriber, Events: s.Events, Filter: s.Filter, Config: s.Config, Disabled: s.Disabled, Position: s.Position,
		}}
		bindings[i].resolve(plugins, catalog)
	}
	return bindings
}

// hostBindings returns the bindings of the configuration, resolved.
func hostBindings(subscribers []Subscriber, plugins []supervisor.PluginInfo, catalog *eventCatalog) []*binding {
	bindings := make([]*binding, len(subscribers))
	for i := range subscribers {
		bindings[i] = &binding{Subscriber: subscribers[i], source: configSource, template: templatePattern(subscribers[i].Template)}
		bindings[i].resolve(plugins, catalog)
	}
	return bindings
}

// templatePattern returns the template that a binding of the configuration is limited to,
// nil for none.
func templatePattern(s string) *task.TemplateRef {
	if s == "" {
		return nil
	}
	name, version, _ := strings.Cut(s, "@")
	namespace, rest, full := strings.Cut(name, "/")
	if !full {
		namespace, rest = template.DefaultNamespace, name
	}
	return &task.TemplateRef{Namespace: namespace, Name: rest, Version: version}
}

// checkSubscribers checks what can be checked of the configuration without plugins.
func checkSubscribers(subscribers []Subscriber) []error {
	var problems []error
	for i := range subscribers {
		s := &subscribers[i]
		where := s.Position
		if where == "" {
			where = fmt.Sprintf("subscription %d of the host", i+1)
		}
		plugin, name := subscriberName(s.Subscriber)
		if !task.ValidPluginName(plugin) || strings.Contains(s.Subscriber, "/") && !task.ValidHandlerName(name) {
			problems = append(problems, fmt.Errorf("%s: subscriber %q: want plugin/subscription, or plugin", where, s.Subscriber))
		}
		if ref := templatePattern(s.Template); ref != nil && (ref.Name == "" || ref.Namespace == "" || strings.Contains(ref.Name, "/")) {
			problems = append(problems, fmt.Errorf("%s: template %q: want namespace/name, or name, with or without @version", where, s.Template))
		}
		if s.Filter != "" {
			if _, err := expr.Compile(s.Filter); err != nil {
				problems = append(problems, fmt.Errorf("%s: filter: %w", where, err))
			}
		}
	}
	return problems
}

// binder keeps delivery in the know of what templates and the configuration bind.
type binder struct {
	h    *Host
	load func(context.Context, task.ID) (*store.Aggregate, error) // of the store

	mu   sync.Mutex
	told map[string]bool // what was warned of
}

// eventCatalogNow returns the catalog with the plugins that are there now.
func (h *Host) eventCatalogNow(ctx context.Context) ([]supervisor.PluginInfo, *eventCatalog, error) {
	plugins := h.supervisor.Plugins()
	catalog, err := h.eventCatalog(ctx, plugins)
	return plugins, catalog, err
}

// template is a [delivery.Options].Template. A template that cannot be read binds nothing
// as far as anybody knows; that is told once. Only what may be otherwise when it is tried
// again is an error: it holds up every event behind.
func (b *binder) template(ctx context.Context, ref task.TemplateRef, id task.ID) ([]delivery.Binding, error) {
	t, err := b.find(ctx, ref, id)
	if bad, ok := errors.AsType[*unreadableError](err); ok {
		b.once(ref.String(), func() {
			b.h.log.Error("a template cannot be read: its events reach subscribers as they declare", logkeys.Template, ref.String(), logkeys.Task, id, logkeys.Error, bad)
		})
		return nil, nil
	}
	if err != nil || t == nil || len(t.Subscriptions) == 0 {
		return nil, err
	}
	plugins, catalog, err := b.h.eventCatalogNow(ctx)
	if err != nil {
		return nil, err
	}
	return b.toDelivery(templateBindings(t, plugins, catalog)), nil
}

// unreadableError is that of a template which will never be readable.
type unreadableError struct{ cause error }

func (e *unreadableError) Error() string { return e.cause.Error() }
func (e *unreadableError) Unwrap() error { return e.cause }

// find returns the template that the newest task of a reference runs, as far as that is
// known, else the one that is registered, or else the one that a task runs; nil when there
// is none any more.
func (b *binder) find(ctx context.Context, ref task.TemplateRef, id task.ID) (*template.Template, error) {
	if t := b.h.given.get(ref); t != nil {
		return t, nil
	}
	t, err := b.h.templates.Get(ref.String())
	if err == nil {
		return t, nil
	}
	stored, err := b.load(ctx, id)
	switch {
	case errors.Is(err, task.ErrNotFound):
		return nil, nil
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, task.ErrBadID):
		return nil, &unreadableError{err}
	case err != nil:
		return nil, err
	}
	if t, err = b.h.snapshots.get(stored.Task.Template.Hash, stored.Template); err != nil {
		return nil, &unreadableError{err}
	}
	return t, nil
}

// toDelivery converts bindings whose subscription is known, and warns of those that were
// refused, once each.
func (b *binder) toDelivery(bindings []*binding) []delivery.Binding {
	var out []delivery.Binding
	for _, r := range bindings {
		b.warn(r)
		if r.name != "" { // else delivery knows no subscription that it could be about
			out = append(out, r.delivery())
		}
	}
	return out
}

// warn tells of a binding that was refused.
func (b *binder) warn(r *binding) {
	if len(r.problems) == 0 {
		return
	}
	text := r.refusal()
	b.once(text, func() {
		b.h.log.Warn("binding is refused: none of its events reach the subscriber", logkeys.Problem, text)
	})
}

// once tells something the first time.
func (b *binder) once(what string, tell func()) {
	b.mu.Lock()
	again := b.told[what]
	b.told[what] = true
	b.mu.Unlock()
	if !again {
		tell()
	}
}

// rebind tells delivery what the plugins that are known now make of the bindings.
func (b *binder) rebind(ctx context.Context) error {
	plugins, catalog, err := b.h.eventCatalogNow(ctx)
	if err != nil {
		return err
	}
	bindings := b.toDelivery(hostBindings(b.h.opts.Subscriptions, plugins, catalog))
	for _, e := range b.h.templates.List() {
		for _, r := range templateBindings(e.Template, plugins, catalog) {
			b.warn(r)
		}
	}
	b.h.delivery.Rebind(bindings)
	return nil
}
