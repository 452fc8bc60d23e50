package template

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/task"
)

// MaxExpressions is how many expressions all steps of a template may have together.
const MaxExpressions = 20_000

// readWith reads the mapping of a step's input.
func readWith(d *decoder, s *stepSpec, n *node) {
	if n.kind != kindMap && (n.kind != kindText || !strings.HasPrefix(n.text, expr.Mark)) {
		d.add(n.at, "write each field of the input with its value; an expression begins with =", "with: want a map or an expression, got %s", n.kind)
		return
	}
	s.with = n
}

// readWhen reads the condition of a step.
func readWhen(d *decoder, s *stepSpec, n *node) {
	if n.kind == kindBool {
		d.add(n.at, "leave it out, or override it in an environment", "when: want a condition, got %s", n.text)
		return
	}
	if !d.want("when", n, kindText) {
		return
	}
	s.when = n
}

func readJoin(d *decoder, s *stepSpec, n *node) {
	if n.kind == kindMap {
		d.add(n.at, "write all or any", "a join of some of the dependencies is not yet supported")
		return
	}
	readWord(d, "join", n, &s.join, JoinAll, JoinAny)
	s.joinAt = n.at
}

// origin is where the expressions of a template were written.
type origin struct {
	file   string
	source string
	with   []*node // by step, nil = it has none
	when   []*node
}

// compiled is a mapping or a condition that was compiled before: environments share nodes.
type compiled struct {
	mapping *expr.Mapping
	value   *expr.Value
}

// flows compiles the expressions of all steps and says what is wrong with them.
func (d *decoder) flows(t *Template, specs []stepSpec) {
	t.index()
	from := &origin{file: d.file, source: d.source, with: make([]*node, len(specs)), when: make([]*node, len(specs))}
	flows := make([]func() (*dataflow, error), len(specs))
	for i := range specs {
		s := &specs[i]
		step := &t.Steps[i]
		if s.join == JoinAny {
			step.Join = JoinAny
			if len(s.dependsOn) < 2 {
				d.add(s.joinAt, "leave it out", joinAlone)
			}
		}
		if s.with != nil {
			b, err := s.with.json()
			if err != nil {
				d.add(s.with.at, "", "with: %s", err)
			}
			if len(b) > task.MaxInline {
				d.add(s.with.at, "", "with: %d bytes as JSON, the limit is %d", len(b), task.MaxInline)
				continue
			}
			step.With, from.with[i] = b, s.with
		}
		if s.when != nil {
			step.When, from.when[i] = s.when.text, s.when
		}
		mapping, condition := d.compileWith(step.Name, s.with, step.With), d.compileWhen(step.Name, s.when)
		if mapping == nil && condition == nil {
			continue
		}
		d.reads(t, ordinal(i), from, mapping, condition)
		f := newDataflow(mapping, condition, t.names)
		flows[i] = func() (*dataflow, error) { return f, nil }
		t.flows, t.origin = flows, from
	}
	if t.HasValues() {
		if len(d.found) == 0 { // what is unknown would be told twice
			d.checkTypes(t)
		}
	}
}

func (d *decoder) compileWith(step task.StepName, n *node, doc []byte) *expr.Mapping {
	if n == nil || doc == nil {
		return nil
	}
	if c, ok := d.compiled[n]; ok {
		return c.mapping
	}
	m, wrong := expr.CompileMapping(doc)
	for _, w := range wrong {
		d.mappingError(step, n, w)
	}
	if len(wrong) > 0 {
		m = nil
	}
	if m != nil {
		for range m.Expressions {
			d.expressions++
		}
	}
	if d.expressions > MaxExpressions {
		d.add(n.at, "", "more than %d expressions", MaxExpressions)
	}
	d.compiled[n] = compiled{mapping: m}
	return m
}

func (d *decoder) compileWhen(step task.StepName, n *node) *expr.Value {
	if n == nil {
		return nil
	}
	if c, ok := d.compiled[n]; ok {
		return c.value
	}
	v, err := expr.CompileWhen(n.text)
	if err != nil {
		d.conditionError(step, n, err)
		v = nil
	}
	d.expressions++
	d.compiled[n] = compiled{value: v}
	return v
}

// mappingError reports what is wrong with one value of a mapping, at its place.
func (d *decoder) mappingError(step task.StepName, n *node, w *expr.MappingError) {
	path := pointerPath(w.Pointer)
	where := "with"
	if len(path) > 0 {
		where += "." + strings.Join(path, ".")
	}
	d.add(d.mappingAt(n, path, w), w.Hint, "step %s: %s: %s", orUnnamed(string(step)), where, w.Message)
}

func (d *decoder) mappingAt(n *node, path []string, w *expr.MappingError) pos {
	at := n.find(path)
	switch {
	case w.Key && len(path) > 0:
		parent := n.find(path[:len(path)-1])
		for _, e := range parent.entries {
			if e.key == path[len(path)-1] {
				return e.at
			}
		}
		return at.at
	case w.Line == 1:
		return d.within(at, 1, w.Column+len(expr.Mark))
	case w.Line > 1:
		return d.within(at, w.Line, w.Column)
	default:
		return at.at
	}
}

// pointerPath splits a JSON pointer.
func pointerPath(pointer string) []string {
	if pointer == "" {
		return nil
	}
	parts := strings.Split(pointer[1:], "/")
	for i := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
	}
	return parts
}

func (d *decoder) conditionError(step task.StepName, n *node, err error) {
	at := n.at
	if bad, ok := errors.AsType[*expr.Error](err); ok {
		at = d.within(n, bad.Line, bad.Column)
		err = errors.New(bad.Message)
	}
	d.add(at, "", "step %s: when: %s", orUnnamed(string(step)), err)
}

// reads reports steps that expressions read and cannot.
func (d *decoder) reads(t *Template, o task.Ordinal, from *origin, with *expr.Mapping, when *expr.Value) {
	above := ancestors{steps: t.Steps, of: o}
	s := &t.Steps[o]
	if with != nil {
		for pointer, v := range with.Expressions {
			for _, read := range v.Steps() {
				if message, hint := t.checkRead(&above, read.Step); message != "" {
					d.mappingError(s.Name, from.with[o], &expr.MappingError{
						Pointer: pointer, Line: read.Line, Column: read.Column, Message: message, Hint: hint,
					})
				}
			}
		}
	}
	if when != nil {
		for _, read := range when.Steps() {
			if message, hint := t.checkRead(&above, read.Step); message != "" {
				d.add(d.within(from.when[o], read.Line, read.Column), hint, "step %s: when: %s", s.Name, message)
			}
		}
	}
}

// HandlerSchemas are the JSON Schemas that a manifest declares of a handler; nil says
// nothing.
type HandlerSchemas struct {
	Input  []byte
	Output []byte // of the results
}

// checkTypes checks the expressions against the schema of the task's input.
func (d *decoder) checkTypes(t *Template) {
	if t.Input == nil {
		return
	}
	t.checkValues(d, func(task.HandlerRef) (HandlerSchemas, bool) { return HandlerSchemas{}, false })
}

// CheckHandlers checks the expressions of the steps against what handlers declare of their
// inputs and results; of handlers that are not known anything is allowed. Places are those
// of the file that the template was read from, if it was.
func (t *Template) CheckHandlers(schemas func(task.HandlerRef) (HandlerSchemas, bool)) Diagnostics {
	if !t.HasValues() {
		return nil
	}
	d := &decoder{file: t.Ref().String(), suggest: suggester{budget: suggestBudget}}
	if t.origin != nil {
		d.file, d.source = t.origin.file, t.origin.source
	}
	t.checkValues(d, schemas)
	return d.found.sorted()
}

func (t *Template) checkValues(d *decoder, schemas func(task.HandlerRef) (HandlerSchemas, bool)) {
	results := make(map[string]json.RawMessage)
	for i := range t.Steps {
		for _, o := range slices.Concat(t.WithReads(ordinal(i)).Steps, t.WhenReads(ordinal(i)).Steps) {
			if s, ok := schemas(t.Steps[o].Handler); ok {
				results[string(t.Steps[o].Name)] = s.Output
			}
		}
	}
	scope, err := expr.NewScope(t.Input, results)
	if err != nil {
		d.add(pos{}, "", "%s", err)
		return
	}
	wanted := make(map[task.HandlerRef]*expr.Shape)
	for i := range t.Steps {
		s := &t.Steps[i]
		withAt, whenAt := &node{}, &node{} // without a place
		if t.origin != nil {
			withAt, whenAt = t.origin.with[i], t.origin.when[i]
		}
		f, err := t.dataflow(ordinal(i))
		if err != nil || f.with == nil && f.when == nil {
			continue
		}
		if f.when != nil {
			if err := scope.CheckWhen(f.when); err != nil {
				d.conditionError(s.Name, whenAt, err)
			}
		}
		if f.with == nil {
			continue
		}
		want, seen := wanted[s.Handler]
		if found, ok := schemas(s.Handler); ok && !seen {
			want = scope.Shape(found.Input)
			wanted[s.Handler] = want
		}
		for _, w := range scope.CheckMapping(f.with, want) {
			d.mappingError(s.Name, withAt, w)
		}
	}
}
