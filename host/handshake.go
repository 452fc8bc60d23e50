package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// handshake checks what plugins declare of events against the catalog and against each
// other (rules E6, E7), before they are configured. Each thing that is refused comes
// with its reason and its remedy, all of a plugin together.
type handshake struct {
	plugins    func() []supervisor.PluginInfo
	discovered <-chan struct{}
	settled    *bell                          // rings when a plugin declared something, or was given up
	registered map[string]event.Custom        // published by templates that are registered
	published  func() map[string]event.Custom // by those and by templates that came with requests
	recall     func(context.Context) error    // finds those of unfinished tasks that came with requests
	workflow   bool                           // workflow.* events are recorded
	now        func() time.Time
	accepted   func(context.Context) ([]store.CustomEvent, error)
	accept     func(context.Context, []store.CustomEvent) error

	mu      sync.Mutex
	unknown map[string][]string // what plugins were refused for: events that nobody emits, by plugin
}

// check is a [supervisor.Options].CheckManifest.
func (s *handshake) check(ctx context.Context, m *supervisor.Manifest) (notes, warnings []string, err error) {
	accepted, err := s.accepted(ctx)
	if err != nil {
		return nil, nil, err
	}
	c := &manifestCheck{handshake: s, m: m, accepted: accepted}
	c.emits()
	filters := c.filters()
	if err := c.names(ctx); err != nil {
		return nil, nil, err
	}
	c.payloads(filters)
	if err := c.schemas(ctx); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(c.problems...); err != nil {
		return nil, nil, &declarationError{problems: c.problems}
	}
	if err := s.accept(ctx, c.changed); err != nil {
		return nil, nil, fmt.Errorf("keep what it emits: %w", err)
	}
	return c.notes(), c.warnings, nil
}

// declarationError is what is wrong with what a plugin declares.
type declarationError struct{ problems []error }

func (e *declarationError) Error() string {
	texts := make([]string, len(e.problems))
	for i, p := range e.problems {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes it a [task.ErrInvalid].
func (e *declarationError) Unwrap() error { return task.ErrInvalid }

// manifestCheck is the check of one manifest.
type manifestCheck struct {
	*handshake

	m        *supervisor.Manifest
	accepted []store.CustomEvent
	catalog  *eventCatalog
	problems []error
	warnings []string
	changed  []store.CustomEvent // what it emits that is not as it was accepted last
}

func (c *manifestCheck) refuse(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

func (c *manifestCheck) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// emits checks the names of the custom events.
func (c *manifestCheck) emits() {
	catalog := newEventCatalog(c.plugins(), nil, nil)
	for i := range c.m.Emits {
		e := &c.m.Emits[i]
		family, rest, _ := strings.Cut(e.Name, ".")
		switch {
		case event.Reserved(c.m.Name):
			c.refuse("event %s: the family %q is Tasker's own: give the plugin another name", e.Name, c.m.Name)
		case event.Reserved(family):
			c.refuse("event %s: the family %q is Tasker's own: name it %s.%s", e.Name, family, c.m.Name, rest)
		case family != c.m.Name:
			c.refuse("event %s: a plugin emits events of its own family%s: name it %s.%s",
				e.Name, alsoEmitted(catalog.plugins[e.Name], c.m.Name), c.m.Name, rest)
		default:
			if t, ok := c.registered[e.Name]; ok {
				c.refuse("event %s: the %s publishes it too: rename one of them", e.Name, strings.Join(t.FiredBy, " and the "))
			}
		}
	}
}

// alsoEmitted names the other plugins that declare an event.
func alsoEmitted(plugins []string, self string) string {
	others := slices.DeleteFunc(slices.Clone(plugins), func(name string) bool { return name == self })
	if len(others) == 0 {
		return ""
	}
	return ", and plugin " + strings.Join(others, " and ") + " emits this one too"
}

// filters checks that the conditions of subscriptions can be evaluated and returns them,
// by subscription.
func (c *manifestCheck) filters() map[string]*expr.Filter {
	filters := make(map[string]*expr.Filter)
	for i := range c.m.Subscriptions {
		s := &c.m.Subscriptions[i]
		if s.Filter == "" {
			continue
		}
		filter, err := expr.Compile(s.Filter)
		if err != nil {
			c.refuse("subscription %s: filter %q: %w", s.Name, s.Filter, err)
			continue
		}
		filters[s.Name] = filter
	}
	return filters
}

// payloads warns of conditions that hold for none of the events that are known now. They
// are not refused: a plugin may be made for a Tasker whose events say more.
func (c *manifestCheck) payloads(filters map[string]*expr.Filter) {
	for i := range c.m.Subscriptions {
		s := &c.m.Subscriptions[i]
		if f := filters[s.Name]; f != nil {
			if err := f.CheckPayload(c.catalog.payloads(s.Events)); err != nil {
				c.warn("subscription %s: filter %q: %v", s.Name, s.Filter, err)
			}
		}
	}
}

// names checks that the events of the subscriptions exist. Those that do not may be
// emitted by a plugin that has not said so yet: it is waited for.
func (c *manifestCheck) names(ctx context.Context) error {
	late, err := c.awaitCatalog(ctx, c.complete)
	if err == nil && !c.complete() {
		if err = c.recall(ctx); err == nil {
			late, err = c.awaitCatalog(ctx, c.complete)
		}
	}
	if err != nil {
		return err
	}
	var unknown []string
	for i := range c.m.Subscriptions {
		s := &c.m.Subscriptions[i]
		for _, e := range s.Events {
			switch wildcard := strings.HasSuffix(e, "*"); {
			case !c.workflow && familyOf(e) == "workflow":
				c.workflowIsOff(s.Name, e)
			case wildcard && !c.catalog.matches(e):
				c.warn("subscription %s: %s matches no event that there is: see `tasker event list`", s.Name, e)
			case !wildcard && !c.catalog.known(e):
				unknown = append(unknown, e)
				c.refuse("subscription %s: %s", s.Name, c.noEvent(e, late))
			case !wildcard:
				c.deprecated(s.Name, e)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.unknown, c.m.Name); len(unknown) == len(c.problems) && len(unknown) > 0 {
		c.unknown[c.m.Name] = unknown
	}
	return nil
}

// complete reports whether the catalog has all events that are subscribed to.
func (c *manifestCheck) complete() bool {
	for i := range c.m.Subscriptions {
		for _, e := range c.m.Subscriptions[i].Events {
			if !c.catalog.matches(e) {
				return false
			}
		}
	}
	return true
}

// workflowIsOff tells that the events of a subscription are not recorded here.
func (c *manifestCheck) workflowIsOff(subscription, e string) {
	if strings.HasSuffix(e, "*") {
		c.warn("subscription %s: no event is recorded that %s stands for: set events.workflow: true in tasker.yaml", subscription, e)
		return
	}
	if _, ok := event.Lookup(e); !ok {
		c.refuse("subscription %s: %s", subscription, c.noEvent(e, nil))
		return
	}
	c.refuse("subscription %s: event %s is not recorded, because events.workflow is off: set events.workflow: true in tasker.yaml, or do not subscribe to it",
		subscription, e)
}

func (c *manifestCheck) deprecated(subscription, name string) {
	if e, ok := event.Lookup(name); ok && e.DeprecatedBy != nil {
		c.warn("subscription %s: event %s goes in a later version: use %s", subscription, name, *e.DeprecatedBy)
	}
}

// noEvent says that there is no event of a name, and what may have been meant. late are
// the plugins that did not say what they emit.
func (c *manifestCheck) noEvent(name string, late []string) string {
	text := fmt.Sprintf("there is no event %q", name)
	near := nearestNames(name, c.catalog.names())
	old, before := c.catalog.entries[name]
	switch {
	case before:
		text += fmt.Sprintf(": %s emitted it, which is not installed: install it, or do not subscribe to it", strings.Join(old.FiredBy, " and "))
	case len(near) > 0:
		text += ": did you mean " + strings.Join(near, ", ") + "?"
	case event.Reserved(familyOf(name)):
		text += ": `tasker event list --family " + familyOf(name) + "` shows those that there are"
	default:
		text += fmt.Sprintf(": install plugin %[1]s, or the template %[1]s, whichever publishes it, or see `tasker event list`", familyOf(name))
	}
	if len(late) > 0 {
		text += " (not yet known is what is emitted by " + strings.Join(late, ", ") + ", which did not start)"
	}
	return text
}

// awaitCatalog reads the catalog until it is enough, or until no plugin is left that has
// not said what it declares. It returns the plugins that failed before they could.
func (c *manifestCheck) awaitCatalog(ctx context.Context, enough func() bool) (failed []string, err error) {
	select {
	case <-c.discovered:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		rung := c.settled.next()
		plugins := c.declaring(c.plugins())
		c.catalog = newEventCatalog(plugins, c.published(), c.accepted)
		failed, waiting := undescribed(plugins)
		if enough() || len(waiting) == 0 {
			return failed, nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return nil, fmt.Errorf("waited for what is emitted by %s: %w", strings.Join(waiting, ", "), ctx.Err())
		}
	}
}

// declaring returns the plugins with what this one declares now: what replaces a plugin
// declares it beside the one that serves.
func (c *manifestCheck) declaring(plugins []supervisor.PluginInfo) []supervisor.PluginInfo {
	for i := range plugins {
		if p := &plugins[i]; p.Name == c.m.Name && p.State != task.PluginRefused {
			p.Manifest = c.m
		}
	}
	return plugins
}

// undescribed returns the plugins that have not said what they declare: those that
// failed before, and those that are on their way.
func undescribed(plugins []supervisor.PluginInfo) (failed, waiting []string) {
	for i := range plugins {
		switch p := &plugins[i]; {
		case p.Manifest != nil:
		case isStarting(p) && p.State != task.PluginBackoff:
			waiting = append(waiting, p.Name)
		default:
			failed = append(failed, p.Name)
		}
	}
	return failed, waiting
}

// schemas compares the custom events with those that were accepted last: what somebody
// reads must stay readable.
func (c *manifestCheck) schemas(ctx context.Context) error {
	for i := range c.m.Emits {
		e := &c.m.Emits[i]
		next := c.customEvent(c.m, e)
		at := slices.IndexFunc(c.accepted, func(a store.CustomEvent) bool { return a.Name == e.Name })
		if at < 0 {
			c.changed = append(c.changed, next)
			continue
		}
		last := c.accepted[at]
		next.Since = last.Since
		if sameCustomEvent(next, last) {
			continue
		}
		c.changed = append(c.changed, next)
		breaks, err := schemaBreaks(last.Schema, next.Schema)
		if err != nil {
			return fmt.Errorf("event %s: %w", e.Name, err)
		}
		if len(breaks) == 0 {
			continue
		}
		readers, err := c.readers(ctx, e.Name)
		if err != nil {
			return err
		}
		if len(readers) > 0 {
			c.broken(e.Name, breaks, readers)
		}
	}
	return nil
}

func (c *manifestCheck) broken(name string, breaks []schemaBreak, readers []string) {
	texts := make([]string, len(breaks))
	for i, b := range breaks {
		texts[i] = b.String()
	}
	c.refuse("event %s: %s, and %s reads it: keep the property as it was and optional ones optional, or emit the new shape under a new name",
		name, strings.Join(texts, ", "), strings.Join(readers, ", "))
}

// customEvent is what is kept of a custom event that is accepted now.
func (s *handshake) customEvent(m *supervisor.Manifest, e *supervisor.Emitted) store.CustomEvent {
	return store.CustomEvent{
		Name: e.Name, Plugin: m.Name, Version: e.Version, Schema: e.Schema, Example: e.Example,
		Description: e.Description, Immediate: e.Immediate, Since: s.now().UTC(),
	}
}

// declared is what is kept of all custom events of a plugin.
func (s *handshake) declared(m *supervisor.Manifest) []store.CustomEvent {
	events := make([]store.CustomEvent, len(m.Emits))
	for i := range m.Emits {
		events[i] = s.customEvent(m, &m.Emits[i])
	}
	return events
}

// sameCustomEvent reports whether two declarations say the same.
func sameCustomEvent(a, b store.CustomEvent) bool {
	return a.Plugin == b.Plugin && a.Version == b.Version && a.Description == b.Description && a.Immediate == b.Immediate &&
		string(a.Schema) == string(b.Schema) && string(a.Example) == string(b.Example)
}

// readers returns the subscriptions of other installed plugins that name an event or its
// family. Who takes every event there is relies on none.
func (c *manifestCheck) readers(ctx context.Context, name string) ([]string, error) {
	if _, err := c.awaitCatalog(ctx, func() bool { return false }); err != nil {
		return nil, err
	}
	var readers []string
	for _, p := range c.plugins() {
		if p.Manifest == nil || p.Name == c.m.Name {
			continue
		}
		for i := range p.Manifest.Subscriptions {
			s := &p.Manifest.Subscriptions[i]
			if slices.ContainsFunc(s.Events, func(e string) bool { return e != "*" && event.Match(e, name) }) {
				readers = append(readers, "subscription "+p.Name+"/"+s.Name)
			}
		}
	}
	return readers, nil
}

// notes say what is served.
func (c *manifestCheck) notes() []string {
	var notes []string
	for i := range c.m.Subscriptions {
		s := &c.m.Subscriptions[i]
		note := "subscription " + s.Name + ": " + strings.Join(s.Events, ", ")
		if s.Bound {
			note += ", through bindings alone"
		}
		notes = append(notes, note)
	}
	for i := range c.m.Emits {
		notes = append(notes, fmt.Sprintf("event %s@%d", c.m.Emits[i].Name, c.m.Emits[i].Version))
	}
	return notes
}

// mended returns the plugins that were refused for events which somebody emits now, and
// forgets them.
func (s *handshake) mended() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unknown) == 0 {
		return nil
	}
	plugins := s.plugins()
	catalog := newEventCatalog(plugins, s.published(), nil)
	var mended []string
	for name, events := range s.unknown {
		p := findPlugin(plugins, name)
		if p == nil || p.State != task.PluginRefused {
			continue
		}
		if !slices.ContainsFunc(events, func(e string) bool { return !catalog.known(e) }) {
			mended = append(mended, name)
			delete(s.unknown, name)
		}
	}
	return mended
}

// familyOf returns the first part of the name of an event.
func familyOf(name string) string {
	family, _, _ := strings.Cut(name, ".")
	return family
}
