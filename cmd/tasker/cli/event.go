package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func (a *app) eventCommand() *cobra.Command {
	return a.noun("event", "Read the log of events, and what each event means",
		a.eventTailCommand(), a.eventListCommand(), a.eventShowCommand(), a.eventSendCommand(), a.eventNewCommand(),
	)
}

// catalog is the events that there are, and from whom they are known.
type catalog struct {
	entries []host.CatalogEntry
	source  string // for people; empty = a running host
}

// catalog asks the host for the events; without one the store, and without a store there
// are those of Tasker.
func (a *app) catalog(ctx context.Context, cfg *config) (*catalog, error) {
	s, release, err := a.reading(ctx, cfg)
	if errors.Is(err, task.ErrNotFound) {
		return &catalog{ownEntries(), "there is no home at " + cfg.Home + ": these are Tasker's own events"}, nil
	}
	if err != nil {
		return nil, err
	}
	defer release()
	entries, err := s.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	out := &catalog{entries: entries}
	if _, running := s.(*host.Client); !running {
		out.source = "no host is running in " + cfg.Home + ": custom events and subscribers are those that the store knows"
	}
	return out, nil
}

// ownEntries is the catalog without any plugin.
func ownEntries() []host.CatalogEntry {
	own := event.Catalog()
	out := make([]host.CatalogEntry, len(own))
	for i := range own {
		out[i] = host.CatalogEntry{Entry: own[i], Installed: true}
	}
	return out
}

// names of all events.
func (c *catalog) names() []string {
	out := make([]string, len(c.entries))
	for i := range c.entries {
		out[i] = c.entries[i].Name
	}
	return out
}

// unknownTypes finds a name that no event has though it is of a family of Tasker's own. A
// pattern, and a name of another family, may mean events of a plugin that is not there now.
func unknownTypes(types ...string) error {
	own := &catalog{entries: ownEntries()}
	for _, name := range types {
		family, _, _ := strings.Cut(name, ".")
		if _, known := own.lookup(name); !known && !strings.Contains(name, "*") && slices.Contains(event.Families(), family) {
			return own.unknownEvent(name)
		}
	}
	return nil
}

// families of all events, Tasker's own first.
func (c *catalog) families() []string {
	out := event.Families()
	for i := range c.entries {
		if f := c.entries[i].Category; !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// search returns the entries that contain every word of a text, those first that have
// them in their name, then in their description, then in their fields.
func (c *catalog) search(text string) []host.CatalogEntry {
	words := strings.Fields(strings.ToLower(text))
	var found [3][]host.CatalogEntry
	for i := range c.entries {
		e := &c.entries[i]
		var fields strings.Builder
		for _, f := range e.Fields() {
			fields.WriteString("\n" + f.Name)
		}
		about := e.Name + "\n" + e.Description
		for rank, where := range []string{e.Name, about, about + fields.String()} {
			where = strings.ToLower(where)
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(where, word) }) {
				found[rank] = append(found[rank], *e)
				break
			}
		}
	}
	return slices.Concat(found[:]...)
}

// lookup finds an event by name.
func (c *catalog) lookup(name string) (*host.CatalogEntry, bool) {
	for i := range c.entries {
		if c.entries[i].Name == name {
			return &c.entries[i], true
		}
	}
	return nil, false
}

// completeCatalog is the catalog for a shell: what is known in time.
func (a *app) completeCatalog(c *cobra.Command) *catalog {
	known := &catalog{entries: ownEntries()}
	a.completion(c, nil, func(ctx context.Context, cfg *config) []string {
		if found, err := a.catalog(ctx, cfg); err == nil {
			known = found
		}
		return nil
	})
	return known
}

// completeEvents proposes the names of events, with what they mean.
func (a *app) completeEvents(c *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	var proposals []string
	if len(done) == 0 {
		known := a.completeCatalog(c)
		for i := range known.entries {
			proposals = append(proposals, known.entries[i].Name+"\t"+oneLine(known.entries[i].Description))
		}
	}
	return proposals, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeEventTypes proposes what --type takes: names, and a pattern for each family.
func (a *app) completeEventTypes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	known := a.completeCatalog(c)
	var proposals []string
	for i := range known.entries {
		proposals = append(proposals, known.entries[i].Name+"\t"+oneLine(known.entries[i].Description))
	}
	for _, family := range known.families() {
		proposals = append(proposals, family+".*\tall of the family "+family)
	}
	return proposals, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// firedBy is the components that fire an event, as people read them.
func firedBy(e *event.Entry) string { return strings.Join(e.FiredBy, ", ") }
