package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// UpgradeFinding is one thing that a new version of a plugin changes for those who use it.
type UpgradeFinding struct {
	// Breaking says that something that works now would not.
	Breaking bool `json:"breaking"`
	// Kind is handler, config, event, subscription, permission, template or task.
	Kind string `json:"kind"`
	// Subject is what it is about: "greeter/greet@1", "orders.shipped", "examples/orders@1.0.0".
	Subject string `json:"subject"`
	// Text says what changes.
	Text string `json:"text"`
}

// UpgradeUse is who uses a plugin.
type UpgradeUse struct {
	// Templates are those that may run.
	Templates []*template.Template
	// Tasks are the unfinished tasks by handler that a step of theirs still needs.
	Tasks map[task.HandlerRef][]task.ID
	// Plugins are those that may subscribe to its events.
	Plugins []PluginInfo
}

// FindTemplateUse is what is known of a plugin's use in a home that holds no store yet: the templates of its
// directories.
func FindTemplateUse(opts Options) (*UpgradeUse, error) {
	set, err := template.Load(template.Options{Environment: opts.withDefaults().Environment}, opts.TemplateDirs...)
	if err != nil {
		return nil, err
	}
	use := &UpgradeUse{}
	for _, e := range set.List() {
		use.Templates = append(use.Templates, e.Template)
	}
	return use, nil
}

// FindUpgradeUse gathers who uses a plugin: the templates that the service knows, its unfinished tasks and its plugins.
// What it does not know, because no host is running, is left out.
func FindUpgradeUse(ctx context.Context, s Service, plugin string) (*UpgradeUse, error) {
	use := &UpgradeUse{Tasks: make(map[task.HandlerRef][]task.ID)}
	infos, err := s.Templates(ctx)
	if err != nil {
		return nil, err
	}
	for i := range infos {
		info, err := s.Template(ctx, infos[i].Ref.String())
		if err != nil {
			return nil, err
		}
		t, err := template.FromSnapshot(info.Snapshot)
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", info.Ref, err)
		}
		use.Templates = append(use.Templates, t)
	}
	f := Filter{Statuses: []task.Status{task.Pending, task.InProgress, task.Paused}}
	for page := (Page{Limit: MaxPage}); ; {
		found, next, err := s.ListTasks(ctx, f, page)
		if err != nil {
			return nil, err
		}
		for i := range found {
			v, err := s.Task(ctx, string(found[i].Spec.ID))
			if err != nil {
				return nil, err
			}
			use.needs(v, plugin)
		}
		if next == "" {
			break
		}
		page.After = next
	}
	return use, nil
}

// needs adds the handlers that a task still needs. A step that was started keeps its handler's version.
func (u *UpgradeUse) needs(v *task.View, plugin string) {
	for i := range v.Steps {
		s := &v.Steps[i]
		if s.Handler.Plugin != plugin || s.Status == task.StepComplete || s.Status == task.StepSkipped ||
			s.Status == task.StepResolvedManually || s.Status == task.StepCancelled {
			continue
		}
		ref := s.Handler
		if s.Settings != nil {
			ref.Version = s.Settings.HandlerVersion
		}
		if ids := u.Tasks[ref]; !slices.Contains(ids, v.ID) {
			u.Tasks[ref] = append(ids, v.ID)
		}
	}
}

// CheckUpgrade compares what a plugin declares with what a new version of it does, for those who use it: handlers and
// their schemas, the configuration, events, subscriptions, permissions. The findings are sorted, those that break
// something first. Error: task.ErrInvalid for a plugin whose manifest is not known.
func CheckUpgrade(older, newer *PluginInfo, use *UpgradeUse) ([]UpgradeFinding, error) {
	c := upgradeCheck{use: use}
	for _, m := range []struct {
		info *PluginInfo
		into *supervisor.Manifest
	}{{older, &c.older}, {newer, &c.newer}} {
		if len(m.info.Manifest) == 0 {
			return nil, fmt.Errorf("plugin %s: its manifest is not known: %w", m.info.Name, task.ErrInvalid)
		}
		if err := json.Unmarshal(m.info.Manifest, m.into); err != nil {
			return nil, fmt.Errorf("plugin %s: manifest: %w: %w", m.info.Name, task.ErrInvalid, err)
		}
	}
	for i := range c.older.Handlers {
		if err := c.handler(&c.older.Handlers[i]); err != nil {
			return nil, err
		}
	}
	for i := range c.newer.Handlers {
		if h := &c.newer.Handlers[i]; findHandler(&c.older, h.Name, h.Version) == nil {
			c.add(false, "handler", c.ref(h), "is new")
		}
	}
	if err := c.request("config", c.older.Name, c.older.ConfigSchema, c.newer.ConfigSchema, true); err != nil {
		return nil, err
	}
	if err := c.events(); err != nil {
		return nil, err
	}
	c.subscriptions()
	c.permissions()
	c.templates()
	slices.SortStableFunc(c.found, func(a, b UpgradeFinding) int {
		if a.Breaking != b.Breaking {
			if a.Breaking {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Text, b.Text))
	})
	return c.found, nil
}

// upgradeCheck is one comparison.
type upgradeCheck struct {
	older, newer supervisor.Manifest
	use          *UpgradeUse
	found        []UpgradeFinding
}

func (c *upgradeCheck) add(breaking bool, kind, subject, format string, args ...any) {
	c.found = append(c.found, UpgradeFinding{Breaking: breaking, Kind: kind, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

func (c *upgradeCheck) ref(h *supervisor.Handler) string { return c.older.Name + "/" + h.Ref() }

// findHandler returns a handler of a version; 0 = the highest.
func findHandler(m *supervisor.Manifest, name string, version uint32) (best *supervisor.Handler) {
	for i := range m.Handlers {
		h := &m.Handlers[i]
		if h.Name == name && (version == 0 || h.Version == version) && (best == nil || h.Version > best.Version) {
			best = h
		}
	}
	return best
}

// handler compares a handler with what it becomes. Who names no version gets the highest.
func (c *upgradeCheck) handler(h *supervisor.Handler) error {
	next := findHandler(&c.newer, h.Name, h.Version)
	users := c.users(h)
	if next == nil {
		for _, u := range users {
			c.add(true, u.kind, u.name, "needs handler %s, which is gone", c.ref(h))
		}
		if len(users) == 0 {
			c.add(false, "handler", c.ref(h), "is gone; nobody uses it")
		}
		return nil
	}
	used := len(users) > 0
	for _, part := range []struct {
		name         string
		older, newer json.RawMessage
	}{{"input", h.InputSchema, next.InputSchema}, {"config", h.ConfigSchema, next.ConfigSchema}} {
		if err := c.request("handler", c.ref(h)+" "+part.name, part.older, part.newer, used); err != nil {
			return err
		}
	}
	breaks, err := schemaBreaks(h.OutputSchema, next.OutputSchema)
	for _, b := range breaks {
		if b.Text == "is required now" { // who reads what comes may rely on more
			continue
		}
		c.add(used, "handler", c.ref(h)+" output", "%s", strings.TrimPrefix(b.String(), "the payload "))
	}
	return err
}

// request compares schemas of what a plugin is given: it must take what it took.
func (c *upgradeCheck) request(kind, subject string, older, newer json.RawMessage, used bool) error {
	if bytes.Equal(older, newer) {
		return nil
	}
	if len(older) == 0 { // it took anything, and as configuration any object
		older = json.RawMessage(`{}`)
		if kind == "config" {
			older = json.RawMessage(`{"type": "object"}`)
		}
	}
	breaks, err := schemaBreaks(older, newer)
	if err != nil {
		return err
	}
	for _, b := range breaks {
		switch b.Text {
		case "is required now":
			c.add(used, kind, subject, "%s", b)
		case "was removed":
			c.add(false, kind, subject, "%s", b)
		}
	}
	back, err := schemaBreaks(newer, older) // documents of before, for a reader of now
	for _, b := range back {
		if strings.HasPrefix(b.Text, "has changed its type") {
			c.add(used, kind, subject, "property %q is not taken in every type that it was", cmp.Or(b.Property, "(all)"))
		}
	}
	return err
}

type upgradeUser struct{ kind, name string }

// users are the templates and the tasks that use a handler.
func (c *upgradeCheck) users(h *supervisor.Handler) (out []upgradeUser) {
	means := func(ref task.HandlerRef) bool {
		if ref.Plugin != c.older.Name || ref.Handler != h.Name {
			return false
		}
		highest := findHandler(&c.older, h.Name, 0)
		return ref.Version == h.Version || ref.Version == 0 && highest == h
	}
	for _, t := range c.use.Templates {
		if slices.ContainsFunc(t.Handlers(), means) {
			out = append(out, upgradeUser{"template", t.Ref().String()})
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(c.use.Tasks), compareRefs) {
		if means(ref) {
			for _, id := range c.use.Tasks[ref] {
				out = append(out, upgradeUser{"task", string(id)})
			}
		}
	}
	return out
}

// events compares what the plugin emits.
func (c *upgradeCheck) events() error {
	newer := make(map[string]*supervisor.Emitted)
	for i := range c.newer.Emits {
		newer[c.newer.Emits[i].Name] = &c.newer.Emits[i]
	}
	for i := range c.older.Emits {
		e := &c.older.Emits[i]
		next, readers := newer[e.Name], c.readers(e.Name)
		if next == nil {
			c.add(len(readers) > 0, "event", e.Name, "is emitted no more%s", readBy(readers))
			continue
		}
		breaks, err := schemaBreaks(e.Schema, next.Schema)
		if err != nil {
			return err
		}
		for _, b := range breaks {
			// A version that stays the same promises that readers need not change, and a host refuses the plugin.
			c.add(len(readers) > 0 || next.Version == e.Version, "event", fmt.Sprintf("%s@%d", e.Name, next.Version), "%s%s", b, readBy(readers))
		}
	}
	return nil
}

func readBy(readers []string) string {
	if len(readers) == 0 {
		return ""
	}
	return ", and is read by " + strings.Join(readers, ", ")
}

// readers are the subscriptions of other plugins that an event goes to.
func (c *upgradeCheck) readers(name string) (out []string) {
	for i := range c.use.Plugins {
		p := &c.use.Plugins[i]
		for _, s := range p.Subscriptions {
			if p.Name != c.older.Name && slices.ContainsFunc(s.Events, func(pattern string) bool { return event.Match(pattern, name) }) {
				out = append(out, p.Name+"/"+s.Name)
			}
		}
	}
	return out
}

// subscriptions compares what the plugin subscribes to.
func (c *upgradeCheck) subscriptions() {
	for i := range c.older.Subscriptions {
		s := &c.older.Subscriptions[i]
		name := c.older.Name + "/" + s.Name
		j := slices.IndexFunc(c.newer.Subscriptions, func(n supervisor.Subscription) bool { return n.Name == s.Name })
		if j < 0 {
			c.add(true, "subscription", name, "is gone: its events are delivered to nobody")
			continue
		}
		next := &c.newer.Subscriptions[j]
		for _, e := range s.Events {
			if !slices.Contains(next.Events, e) {
				c.add(false, "subscription", name, "does not want %s any more", e)
			}
		}
		for _, e := range next.Events {
			if !slices.Contains(s.Events, e) {
				c.add(false, "subscription", name, "sees %s, too", e)
			}
		}
		if s.Filter != next.Filter {
			c.add(false, "subscription", name, "has another filter: %s", cmp.Or(next.Filter, "none"))
		}
		if s.Order != next.Order {
			c.add(false, "subscription", name, "gets its events in the order of %s, not of %s", next.Order, s.Order)
		}
	}
	for _, s := range c.newer.Subscriptions {
		if !slices.ContainsFunc(c.older.Subscriptions, func(o supervisor.Subscription) bool { return o.Name == s.Name }) {
			c.add(false, "subscription", c.older.Name+"/"+s.Name, "is new: it sees %s", strings.Join(s.Events, ", "))
		}
	}
}

// permissions names what the plugin asks for and did not.
func (c *upgradeCheck) permissions() {
	was := Asks(c.older.Permissions)
	for _, ask := range Asks(c.newer.Permissions) {
		if !slices.Contains(was, ask) {
			c.add(false, "permission", c.older.Name, "asks for more: %s", ask)
		}
	}
}

// templates checks the expressions of templates against the new schemas; what is wrong already is not told.
func (c *upgradeCheck) templates() {
	schemas := func(m *supervisor.Manifest) func(task.HandlerRef) (template.HandlerSchemas, bool) {
		return func(ref task.HandlerRef) (template.HandlerSchemas, bool) {
			h := findHandler(m, ref.Handler, ref.Version)
			if ref.Plugin != m.Name || h == nil {
				return template.HandlerSchemas{}, false
			}
			return template.HandlerSchemas{Input: h.InputSchema, Output: h.OutputSchema}, true
		}
	}
	for _, t := range c.use.Templates {
		before := t.CheckHandlers(schemas(&c.older))
		for _, d := range t.CheckHandlers(schemas(&c.newer)) {
			if !slices.Contains(before, d) {
				c.add(true, "template", t.Ref().String(), "%s", d.Message)
			}
		}
	}
}
