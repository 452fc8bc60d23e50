package host

import (
	"context"
	"sync"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// maxGiven bounds what is known of templates that came with requests; beyond it that
// starts anew.
const maxGiven = 256

// given knows the templates that came with the requests of tasks: they are registered
// nowhere, or under a version whose content is another one.
type given struct {
	registered *template.Set

	mu         sync.Mutex
	publishing map[string]*template.Template // by ref: those with events
	newest     map[string]*template.Template // by ref: what the newest task runs
	recalled   bool                          // those of unfinished tasks are known
}

func newGiven(registered *template.Set) *given {
	return &given{registered: registered, publishing: make(map[string]*template.Template), newest: make(map[string]*template.Template)}
}

// announce makes the events of a template known. It reports whether that is news.
func (g *given) announce(t *template.Template) bool {
	ref := t.Ref()
	if len(t.Events) == 0 || g.isRegistered(ref) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := g.publishing[ref.String()]; last != nil && last.Ref().Hash == ref.Hash {
		return false
	}
	keep(g.publishing, t)
	return true
}

// use says what the tasks of a template run from now on. It reports whether they may have
// run something else before that says otherwise who gets their events.
func (g *given) use(t *template.Template) bool {
	ref := t.Ref()
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.newest[ref.String()]
	if g.isRegistered(ref) {
		delete(g.newest, ref.String())
		return last != nil && subscribes(last, t)
	}
	if last == nil {
		last, _ = g.registered.Get(ref.String())
	} else if last.Ref().Hash == ref.Hash {
		return false
	}
	keep(g.newest, t)
	return last == nil || subscribes(last, t)
}

// subscribes reports whether any of two templates says who gets events.
func subscribes(a, b *template.Template) bool { return len(a.Subscriptions)+len(b.Subscriptions) > 0 }

// keep notes a template under its reference.
func keep(m map[string]*template.Template, t *template.Template) {
	if len(m) >= maxGiven {
		clear(m)
	}
	m[t.Ref().String()] = t
}

// isRegistered reports whether a template is among those that are registered, as it is.
func (g *given) isRegistered(ref task.TemplateRef) bool {
	t, err := g.registered.Get(ref.String())
	return err == nil && t.Ref().Hash == ref.Hash
}

// get returns what the tasks of a template run, nil when they run what is registered, or
// when that is not known.
func (g *given) get(ref task.TemplateRef) *template.Template {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest[ref.String()]
}

// events returns the events that templates publish, registered ones and others, by name.
func (g *given) events() map[string]event.Custom {
	events := templateEvents(g.registered)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.publishing {
		publishedBy(t, events)
	}
	return events
}

// recall makes the events known that the templates of unfinished tasks publish. What was
// read once is not read again. Errors: of the store.
func (g *given) recall(ctx context.Context, r reading) error {
	g.mu.Lock()
	done := g.recalled
	g.mu.Unlock()
	if done {
		return nil
	}
	seen := make(map[string]bool)
	f := store.Filter{Statuses: []task.Status{task.Pending, task.InProgress, task.Paused}}
	for page := (store.Page{Limit: store.MaxPage}); ; {
		found, next, err := r.store.List(ctx, f, page)
		if err != nil {
			return err
		}
		for i := range found {
			ref := found[i].Spec.Template
			if seen[ref.Hash] || g.isRegistered(ref) {
				continue
			}
			seen[ref.Hash] = true
			if stored, err := r.store.Load(ctx, found[i].Spec.ID); err == nil {
				if t, err := r.snapshots.get(ref.Hash, stored.Template); err == nil {
					g.announce(t) // the runner tells of those that cannot be read
				}
			}
		}
		if next == "" {
			g.mu.Lock()
			g.recalled = true
			g.mu.Unlock()
			return nil
		}
		page.After = found[len(found)-1].Spec.ID
	}
}
