package delivery

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
)

// bindings knows which bindings there are: those of the host, and those of templates as
// far as an event of theirs was seen.
type bindings struct {
	template func(context.Context, task.TemplateRef, task.ID) ([]Binding, error)

	mu         sync.Mutex
	generation uint64 // counts the changes of what is known, from 1
	changes    uint64 // counts those that a look-up under way may have missed
	host       map[string][]*Binding
	templates  map[origin]map[string][]*Binding
}

func newBindings(o *Options) *bindings {
	b := &bindings{template: o.Template}
	b.set(o.Bindings)
	return b
}

// set replaces the bindings of the host and forgets those of templates.
func (b *bindings) set(host []Binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.generation++
	b.changes++
	b.host = bySubscription(host)
	b.templates = make(map[origin]map[string][]*Binding)
}

func bySubscription(all []Binding) map[string][]*Binding {
	out := make(map[string][]*Binding)
	for i := range all {
		name := all[i].Subscription
		out[name] = append(out[name], &all[i])
	}
	return out
}

// ofHost returns the host's bindings of a subscription and the generation.
func (b *bindings) ofHost(subscription string) ([]*Binding, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.host[subscription], b.generation
}

// forget has the bindings of a template looked up again.
func (b *bindings) forget(o origin) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes++
	if _, ok := b.templates[o]; ok {
		delete(b.templates, o)
		b.generation++
	}
}

// ofTemplate returns the bindings of a subscription that a template brings. Errors: of
// the look-up.
func (b *bindings) ofTemplate(ctx context.Context, o *origin, id task.ID, subscription string) ([]*Binding, error) {
	for {
		b.mu.Lock()
		known, ok := b.templates[*o]
		changes := b.changes
		b.mu.Unlock()
		if ok {
			return known[subscription], nil
		}
		found, err := b.template(ctx, o.ref(), id)
		if err != nil {
			return nil, fmt.Errorf("subscriptions of template %s: %w", o.ref(), err)
		}
		b.learn(*o, found, changes)
	}
}

// learn keeps the bindings of a template, unless there was a change since it was asked
// for.
func (b *bindings) learn(o origin, found []Binding, changes uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.templates[o]; !ok && changes == b.changes {
		b.templates[o] = bySubscription(found)
	}
}

// router decides which events go to one subscription. It is used by one goroutine.
type router struct {
	bindings *bindings
	sub      *Subscription
	log      hclog.Logger

	generation uint64
	rules      map[ruleKey]*rule
	warned     map[*expr.Filter]bool
}

type ruleKey struct {
	kind   string
	origin *origin
}

// rule is what is known of the events of one type and template: nothing of them is
// wanted, or those that the filters let pass.
type rule struct {
	never bool
	// candidates are asked in order; none = the declared subscription decides alone.
	candidates []*Binding
}

func newRouter(b *bindings, sub *Subscription, log hclog.Logger) *router {
	return &router{bindings: b, sub: sub, log: log, warned: make(map[*expr.Filter]bool)}
}

// refresh forgets what was derived from bindings that have changed, and returns the
// generation of the present ones.
func (r *router) refresh() uint64 {
	if _, generation := r.bindings.ofHost(r.sub.Name); generation != r.generation || len(r.rules) > maxNames {
		r.generation = generation
		r.rules = make(map[ruleKey]*rule)
	}
	return r.generation
}

// route appends a verdict for each event to out. Errors: of [Options.Template], of ctx.
func (r *router) route(ctx context.Context, entries []*entry, out []verdict) ([]verdict, error) {
	r.refresh()
	var last ruleKey
	var found *rule
	for _, e := range entries {
		if err := ctx.Err(); err != nil { // a filter may take its time for each of them
			return out, err
		}
		if key := (ruleKey{e.kind, e.origin}); found == nil || key != last {
			var err error
			if found, err = r.ruleOf(ctx, key, e); err != nil {
				return out, err
			}
			last = key
		}
		switch {
		case found.never, e.corrupt, e.about == r.sub.Name:
			out = append(out, verdict{})
		case len(found.candidates) == 0 && r.sub.Filter == nil:
			out = append(out, verdict{wanted: true})
		default:
			out = append(out, r.judge(found, e)) //nolint:contextcheck // a filter ends in time by itself
		}
	}
	return out, nil
}

// ruleOf returns the rule for a type and a template.
func (r *router) ruleOf(ctx context.Context, key ruleKey, e *entry) (*rule, error) {
	if known, ok := r.rules[key]; ok {
		return known, nil
	}
	made, err := r.newRule(ctx, key, e)
	if err != nil {
		return nil, err
	}
	r.rules[key] = made
	return made, nil
}

// newRule finds the bindings that decide: of the template, else of the host, else the
// subscription as it is declared.
func (r *router) newRule(ctx context.Context, key ruleKey, e *entry) (*rule, error) {
	if !matches(r.sub.Events, key.kind) {
		return &rule{never: true}, nil
	}
	var deciding []*Binding
	if key.origin != nil && r.bindings.template != nil {
		var err error
		if deciding, err = r.bindings.ofTemplate(ctx, key.origin, task.ID(e.task), r.sub.Name); err != nil {
			return nil, err
		}
	}
	if len(deciding) == 0 {
		host, _ := r.bindings.ofHost(r.sub.Name)
		for _, b := range host {
			if b.Template == nil || key.origin != nil && b.covers(key.origin) {
				deciding = append(deciding, b)
			}
		}
	}
	if len(deciding) == 0 {
		return &rule{never: r.sub.Bound}, nil
	}
	made := &rule{}
	for _, b := range deciding {
		if b.Enabled && (b.Events == nil || matches(b.Events, key.kind)) {
			made.candidates = append(made.candidates, b)
		}
	}
	made.never = len(made.candidates) == 0
	return made, nil
}

// covers reports whether a binding of the host is for the events of a template. One
// without a version is for all of them.
func (b *Binding) covers(o *origin) bool {
	t := b.Template
	return t.Namespace == o.namespace && t.Name == o.name && (t.Version == "" || t.Version == o.version)
}

// judge asks the filters.
func (r *router) judge(found *rule, e *entry) verdict {
	if !r.passes(r.sub.Filter, e) {
		return verdict{}
	}
	for _, b := range found.candidates {
		if r.passes(b.Filter, e) {
			return verdict{wanted: true, through: b}
		}
	}
	return verdict{wanted: len(found.candidates) == 0}
}

// passes reports whether a filter, nil = none, lets an event pass. One that fails does
// not; that is told once.
func (r *router) passes(f *expr.Filter, e *entry) bool {
	if f == nil {
		return true
	}
	ok, err := f.Match(e.event())
	if err != nil && !r.warned[f] {
		r.warned[f] = true
		r.log.Warn("a filter fails, which counts as no match; this is told once",
			about(e.encoded).With(logkeys.Subscription, r.sub.Name, logkeys.Filter, f.String(), logkeys.Seq, e.seq, logkeys.Type, e.kind, logkeys.Error, err)...)
	}
	return ok
}
