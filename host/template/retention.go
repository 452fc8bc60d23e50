package template

import (
	"errors"
	"math"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tasker-engine/tasker/host/task"
)

// Retention says how long finished tasks of a template are kept (rule of the host's
// configuration that it narrows). Zero fields say nothing.
type Retention struct {
	Complete         task.Duration `json:"complete,omitempty"` // after a task has ended so
	Error            task.Duration `json:"error,omitempty"`
	Cancelled        task.Duration `json:"cancelled,omitempty"`
	ResolvedManually task.Duration `json:"resolved_manually,omitempty"`
	// Last is how many finished tasks are kept in each of these statuses, the newest.
	Last int `json:"last,omitempty"`
}

// For returns how long tasks in a finished status are kept, 0 when nothing is said.
func (r *Retention) For(status task.Status) task.Duration {
	switch status {
	case task.Complete:
		return r.Complete
	case task.Error:
		return r.Error
	case task.Cancelled:
		return r.Cancelled
	case task.ResolvedManually:
		return r.ResolvedManually
	default:
		return 0
	}
}

// Forever is a time for which tasks are kept that is no limit at all.
const Forever = task.Duration(math.MaxInt64)

// RetentionRule is what a host's configuration says of the tasks of some templates.
type RetentionRule struct {
	Retention

	Template string // "namespace/name", "name" of the default namespace, or "namespace/*"
}

// Matches reports whether the rule is about a template.
func (r *RetentionRule) Matches(namespace, name string) bool {
	of, which, both := strings.Cut(r.Template, "/")
	if !both {
		of, which = DefaultNamespace, r.Template
	}
	return of == namespace && (which == name || which == "*")
}

// Check returns an error for values that make no sense.
func (r *Retention) Check() error {
	if min(r.Complete, r.Error, r.Cancelled, r.ResolvedManually) < 0 || r.Last < 0 {
		return errors.New("retention: want no negative values")
	}
	return nil
}

// retentionKeys are the keys of retention.
func retentionKeys() []key[Retention] {
	age := func(name string, of func(*Retention) *task.Duration) key[Retention] {
		return key[Retention]{name, func(d *decoder, r *Retention, n *node) {
			if v, ok := d.readDuration("retention."+name, n); ok && v > 0 {
				*of(r) = task.Duration(v)
			} else if ok {
				d.add(n.at, "leave it out for what the host's configuration says", "retention.%s: a time of 0", name)
			}
		}}
	}
	return []key[Retention]{
		age("complete", func(r *Retention) *task.Duration { return &r.Complete }),
		age("error", func(r *Retention) *task.Duration { return &r.Error }),
		age("cancelled", func(r *Retention) *task.Duration { return &r.Cancelled }),
		age("resolved_manually", func(r *Retention) *task.Duration { return &r.ResolvedManually }),
		{"last", func(d *decoder, r *Retention, n *node) {
			if v, ok := d.readInt("retention.last", n, 1, math.MaxInt32); ok {
				r.Last = int(v)
			}
		}},
	}
}

// forever is how a configuration says that tasks are kept without end.
const forever = "forever"

// ReadRetentionRules reads the value of `retention.rules` in a host's configuration: a
// list of maps as a template's `retention`, each with the `template` that it is about; a
// time may be forever. value is a part of the file that filename is the name of. What is
// wrong comes with its place.
func ReadRetentionRules(filename string, value ast.Node) ([]RetentionRule, Diagnostics) {
	r := &reader{file: filename, anchors: make(map[string]*node)}
	n := r.node(value, 1)
	if len(r.found) > 0 || n.isNull() {
		return nil, r.found.sorted()
	}
	d := &decoder{file: filename, suggest: suggester{budget: suggestBudget}}
	var rules []RetentionRule
	if d.want("retention.rules", n, kindList) {
		for _, item := range n.items {
			var rule RetentionRule
			if object(d, "a rule of retention", item, ruleKeys(), &rule) && rule.Template == "" && len(d.found) == 0 {
				d.add(item.at, "write template: namespace/name, or namespace/*", "a rule of retention without a template")
			}
			rules = append(rules, rule)
		}
	}
	if len(d.found) > 0 {
		return nil, d.found.sorted()
	}
	return rules, nil
}

// ruleKeys are the keys of a rule.
func ruleKeys() []key[RetentionRule] {
	keys := []key[RetentionRule]{{"template", func(d *decoder, r *RetentionRule, n *node) {
		if !d.want("template", n, kindText) {
			return
		}
		namespace, name, both := strings.Cut(n.text, "/")
		if !ValidName(namespace) || both && name != "*" && !ValidName(name) {
			d.add(n.at, "", "template %q: want namespace/name, or namespace/* for all of a namespace", n.text)
		}
		r.Template = n.text
	}}}
	for _, k := range retentionKeys() {
		keys = append(keys, key[RetentionRule]{k.name, func(d *decoder, r *RetentionRule, n *node) {
			if n.kind == kindText && n.text == forever && k.name != "last" {
				switch k.name {
				case "complete":
					r.Complete = Forever
				case "error":
					r.Error = Forever
				case "cancelled":
					r.Cancelled = Forever
				default:
					r.ResolvedManually = Forever
				}
				return
			}
			k.read(d, &r.Retention, n)
		}})
	}
	return keys
}
