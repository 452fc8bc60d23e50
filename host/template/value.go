package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/task"
)

// Join says which dependencies a step waits for (rule S2).
type Join string

// The joins.
const (
	// JoinAll waits until every dependency is complete, resolved by hand or skipped; the
	// zero Join means it.
	JoinAll Join = "all"
	// JoinAny waits until one dependency is complete or resolved by hand, or all of them
	// were skipped.
	JoinAny Join = "any"
)

// ErrValueTooLarge is the error of an input that [Template.Resolve] would make too large.
var ErrValueTooLarge = expr.ErrTooLarge

// Values are what the expressions of a step can read, decoded by [DecodeValue]. What is
// not read is not asked for.
type Values struct {
	Task *task.Spec
	// Input returns the task's input.
	Input func() (any, error)
	// Result returns the results of a step; false when it has none yet.
	Result func(step task.StepName) (value any, there bool, err error)
}

func (v *Values) vars() *expr.Vars {
	t := v.Task
	return &expr.Vars{
		Task: expr.Task{
			ID: string(t.ID), Namespace: t.Template.Namespace, Template: t.Template.Name, Version: t.Template.Version,
			CorrelationID: t.CorrelationID, CreatedAt: t.CreatedAt,
		},
		Input: v.Input,
		Result: func(step string) (any, bool, error) {
			return v.Result(task.StepName(step))
		},
	}
}

// DecodeValue decodes a JSON document for [Values]; no document is null.
func DecodeValue(doc json.RawMessage) (any, error) { return expr.Decode(doc) }

// Reads is what expressions read.
type Reads struct {
	Input bool
	Steps []task.Ordinal // ascending
}

// dataflow is what the expressions of a step come to.
type dataflow struct {
	with      *expr.Mapping
	when      *expr.Value
	withReads Reads
	whenReads Reads
}

// dataflow compiles the expressions of a step when they are first needed.
func (t *Template) dataflow(o task.Ordinal) (*dataflow, error) {
	if t.flows == nil || t.flows[o] == nil {
		return &dataflow{}, nil
	}
	return t.flows[o]()
}

// lazyFlows prepares the expressions of all steps.
func (t *Template) lazyFlows() {
	t.flows = nil
	for i := range t.Steps {
		if f := t.lazyFlow(&t.Steps[i]); f != nil {
			if t.flows == nil {
				t.flows = make([]func() (*dataflow, error), len(t.Steps))
			}
			t.flows[i] = f
		}
	}
}

// lazyFlow returns a function that compiles the expressions of a step at its first call.
// nil when it has none.
func (t *Template) lazyFlow(s *Step) func() (*dataflow, error) {
	if len(s.With) == 0 && s.When == "" {
		return nil
	}
	with, when, names := s.With, s.When, t.names
	return sync.OnceValues(func() (*dataflow, error) {
		var mapping *expr.Mapping
		var condition *expr.Value
		if len(with) > 0 {
			var wrong []*expr.MappingError
			if mapping, wrong = expr.CompileMapping(with); len(wrong) > 0 {
				return nil, fmt.Errorf("with: %w", wrong[0])
			}
		}
		if when != "" {
			var err error
			if condition, err = expr.CompileWhen(when); err != nil {
				return nil, fmt.Errorf("when: %w", err)
			}
		}
		return newDataflow(mapping, condition, names), nil
	})
}

func newDataflow(with *expr.Mapping, when *expr.Value, names map[task.StepName]task.Ordinal) *dataflow {
	f := &dataflow{with: with, when: when}
	if with != nil {
		for _, v := range with.Expressions {
			f.withReads.add(v, names)
		}
	}
	if when != nil {
		f.whenReads.add(when, names)
	}
	return f
}

func (r *Reads) add(v *expr.Value, names map[task.StepName]task.Ordinal) {
	r.Input = r.Input || v.ReadsInput()
	for _, read := range v.Steps() {
		if o, ok := names[task.StepName(read.Step)]; ok && !slices.Contains(r.Steps, o) {
			r.Steps = append(r.Steps, o)
		}
	}
	slices.Sort(r.Steps)
}

// WithReads returns what the mapping of a step's input reads.
func (t *Template) WithReads(o task.Ordinal) Reads {
	if f, err := t.dataflow(o); err == nil {
		return f.withReads
	}
	return Reads{}
}

// WhenReads returns what a step's condition reads.
func (t *Template) WhenReads(o task.Ordinal) Reads {
	if f, err := t.dataflow(o); err == nil {
		return f.whenReads
	}
	return Reads{}
}

// Resolve makes the input of a step from its mapping, a JSON document of at most
// [task.MaxValue] bytes. The error says which value cannot be made and why.
func (t *Template) Resolve(o task.Ordinal, v *Values) (json.RawMessage, error) {
	f, err := t.dataflow(o)
	switch {
	case err != nil:
		return nil, err
	case f.with == nil:
		return nil, errors.New("the step has no mapping")
	}
	out, err := f.with.Resolve(v.vars(), task.MaxValue)
	if err != nil {
		return nil, fmt.Errorf("with: %w", err)
	}
	return out, nil
}

// Taken evaluates a step's condition; a step without one is always taken.
func (t *Template) Taken(o task.Ordinal, v *Values) (bool, error) {
	f, err := t.dataflow(o)
	switch {
	case err != nil:
		return false, err
	case f.when == nil:
		return true, nil
	}
	taken, err := f.when.True(v.vars())
	if err != nil {
		return false, fmt.Errorf("when: %s: %w", f.when, err)
	}
	return taken, nil
}

// checkFlow checks the join and the expressions of a step that no file holds.
func (t *Template) checkFlow(o task.Ordinal) error {
	s := &t.Steps[o]
	switch {
	case s.Join == JoinAll:
		s.Join = ""
	case s.Join != "" && s.Join != JoinAny:
		return fmt.Errorf("join %q: want all or any", s.Join)
	}
	if s.Join == JoinAny && len(s.DependsOn) < 2 {
		return errors.New(joinAlone)
	}
	var err error
	if s.With, err = canonical(s.With); err != nil {
		return fmt.Errorf("with: %w", err)
	}
	if len(s.With) > task.MaxInline {
		return fmt.Errorf("with: %d bytes as JSON, the limit is %d", len(s.With), task.MaxInline)
	}
	flow := t.lazyFlow(s)
	if flow == nil {
		return nil
	}
	f, err := flow()
	if err != nil {
		return err
	}
	above := ancestors{steps: t.Steps, of: o}
	check := func(what string, v *expr.Value) {
		for _, read := range v.Steps() {
			if message, hint := t.checkRead(&above, read.Step); message != "" && err == nil {
				err = errors.New(strings.TrimSuffix(what+": "+message+"; "+hint, "; "))
			}
		}
	}
	if f.with != nil {
		for pointer, v := range f.with.Expressions {
			check("with: "+pointer, v)
		}
	}
	if f.when != nil {
		check("when", f.when)
	}
	return err
}

const joinAlone = "join: any has no effect with fewer than two dependencies"

// checkRead returns what is wrong with reading the results of a step, and what to do
// about it.
func (t *Template) checkRead(above *ancestors, name string) (message, hint string) {
	self := t.Steps[above.of].Name
	o, ok := t.names[task.StepName(name)]
	switch {
	case !ok:
		suggest := suggester{budget: suggestBudget}
		return fmt.Sprintf("there is no step %q", name), suggest.hint(name, func(yield func(string) bool) {
			for i := range t.Steps {
				if t.Steps[i].Name != self && !yield(string(t.Steps[i].Name)) {
					return
				}
			}
		})
	case o == above.of:
		return fmt.Sprintf("step %s reads its own results", name), ""
	case !above.has(o):
		return fmt.Sprintf("step %s reads the results of %s, which it does not depend on", self, name), "add it to depends_on"
	}
	return "", ""
}

// ancestors answers which steps another one depends on, directly or not.
type ancestors struct {
	steps []Step
	of    task.Ordinal
	seen  map[task.Ordinal]bool // nil = not looked for yet
}

func (a *ancestors) has(o task.Ordinal) bool {
	if slices.Contains(a.steps[a.of].DependsOn, o) {
		return true
	}
	if a.seen == nil {
		a.seen = make(map[task.Ordinal]bool)
		stack := slices.Clone(a.steps[a.of].DependsOn)
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if a.seen[at] {
				continue
			}
			a.seen[at] = true
			stack = append(stack, a.steps[at].DependsOn...)
		}
	}
	return a.seen[o]
}

// HasValues reports whether a step of the template has expressions.
func (t *Template) HasValues() bool { return t.flows != nil }
