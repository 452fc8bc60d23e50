package host

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// eventCatalog is every event that is known at a moment.
type eventCatalog struct {
	entries map[string]api.CatalogEntry // of custom events, by name
	plugins map[string][]string         // the plugins that declare a custom event
}

// newEventCatalog puts together what plugins declare, what templates publish, and what was
// accepted before. A plugin that is there and did not get as far as to say what it
// emits is taken to emit what it did.
func newEventCatalog(plugins []supervisor.PluginInfo, published map[string]event.Custom, accepted []store.CustomEvent) *eventCatalog {
	c := &eventCatalog{entries: make(map[string]api.CatalogEntry), plugins: make(map[string][]string)}
	for i := range accepted {
		e := &accepted[i]
		p := findPlugin(plugins, e.Plugin)
		c.add(p != nil && p.Manifest == nil, event.Custom{
			Name: e.Name, Version: e.Version, Description: e.Description, Schema: e.Schema, Example: e.Example,
			FiredBy: []string{"plugin " + e.Plugin}, Immediate: e.Immediate,
		})
	}
	for i := range plugins {
		p := &plugins[i]
		if p.Manifest == nil {
			continue
		}
		for _, e := range p.Manifest.Emits {
			c.plugins[e.Name] = append(c.plugins[e.Name], p.Name)
			if familyOf(e.Name) != p.Name || event.Reserved(p.Name) {
				continue // its handshake is refused for it
			}
			c.add(true, event.Custom{
				Name: e.Name, Version: e.Version, Description: e.Description, Schema: e.Schema, Example: e.Example,
				FiredBy: []string{"plugin " + p.Name}, Immediate: e.Immediate,
			})
		}
	}
	for name, e := range published {
		if _, ok := c.entries[name]; !ok || len(c.plugins[name]) == 0 {
			c.add(true, e)
		}
	}
	return c
}

func (c *eventCatalog) add(installed bool, e event.Custom) {
	c.entries[e.Name] = api.CatalogEntry{Entry: e.Entry(), Custom: true, Installed: installed}
}

// templateEvents returns the events that templates publish, by name.
func templateEvents(set *template.Set) map[string]event.Custom {
	events := make(map[string]event.Custom)
	for _, entry := range set.List() {
		publishedBy(entry.Template, events)
	}
	return events
}

// publishedBy adds the events that a template publishes.
func publishedBy(t *template.Template, events map[string]event.Custom) {
	by := "template " + t.Namespace + "/" + t.Name
	for _, e := range t.Events {
		found := event.Custom{Name: e.Name, Description: e.Description, On: e.On, Step: string(e.Step), FiredBy: events[e.Name].FiredBy}
		if !slices.Contains(found.FiredBy, by) {
			found.FiredBy = append(found.FiredBy, by)
		}
		events[e.Name] = found
	}
}

// known reports whether an event can happen here.
func (c *eventCatalog) known(name string) bool {
	if _, ok := event.Lookup(name); ok {
		return true
	}
	return c.entries[name].Installed
}

// matches reports whether a name or wildcard stands for any event that can happen here.
func (c *eventCatalog) matches(pattern string) bool {
	return slices.ContainsFunc(c.names(), func(name string) bool { return event.Match(pattern, name) })
}

// names returns the names of all events that can happen here, sorted.
func (c *eventCatalog) names() []string {
	var names []string
	for _, e := range event.Catalog() {
		names = append(names, e.Name)
	}
	for name, e := range c.entries {
		if e.Installed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// payloads returns the schemas of the payloads that events of these names and wildcards
// can have. One of them is empty when not all are known: more than the events of Tasker
// may match a wildcard, now or when another plugin is there.
func (c *eventCatalog) payloads(patterns []string) []json.RawMessage {
	var schemas []json.RawMessage
	for _, p := range patterns {
		if !strings.Contains(p, ".") || !event.Reserved(familyOf(p)) {
			schemas = append(schemas, c.entries[p].PayloadSchema)
			continue
		}
		for _, e := range event.Catalog() {
			if event.Match(p, e.Name) {
				schemas = append(schemas, e.PayloadSchema)
			}
		}
	}
	return schemas
}

// list returns all entries: those of Tasker, then the others by name.
func (c *eventCatalog) list() []api.CatalogEntry {
	var entries []api.CatalogEntry
	for _, e := range event.Catalog() {
		entries = append(entries, api.CatalogEntry{Entry: e, Installed: true})
	}
	for _, name := range slices.Sorted(maps.Keys(c.entries)) {
		entries = append(entries, c.entries[name])
	}
	return entries
}

// entry returns the entry of an event.
func (c *eventCatalog) entry(name string) (api.CatalogEntry, bool) {
	if e, ok := event.Lookup(name); ok {
		return api.CatalogEntry{Entry: e, Installed: true}, true
	}
	e, ok := c.entries[name]
	return e, ok
}

// eventCatalog returns the events that are known when no host runs.
func (r reading) eventCatalog(ctx context.Context) (*eventCatalog, error) {
	accepted, err := r.store.CustomEvents(ctx)
	if err != nil {
		return nil, err
	}
	return newEventCatalog(nil, templateEvents(r.templates), accepted), nil
}

// eventCatalog returns the events that are known now.
func (h *Host) eventCatalog(ctx context.Context, plugins []supervisor.PluginInfo) (*eventCatalog, error) {
	accepted, err := h.store.CustomEvents(ctx)
	if err != nil {
		return nil, err
	}
	return newEventCatalog(plugins, h.given.events(), accepted), nil
}

// nearestNames returns up to three names that were probably meant, the nearest first.
func nearestNames(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, n := range names {
		if d := levenshtein.ComputeDistance(name, n); d <= max(2, len(name)/3) {
			near = append(near, candidate{n, d})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var found []string
	for _, c := range near[:min(len(near), 3)] {
		found = append(found, c.name)
	}
	return found
}
