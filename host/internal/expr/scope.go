package expr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Scope checks expressions against what schemas say of the values that they read. It is
// not safe for concurrent use.
type Scope struct {
	env   *cel.Env
	known *shapes
}

// NewScope returns the scope of a template: the JSON Schema of its input and those of the
// results of its steps, as far as they are known. Of what no schema tells anything is
// allowed.
func NewScope(input json.RawMessage, results map[string]json.RawMessage) (*Scope, error) {
	k := &shapes{byType: make(map[string]*Shape), results: make(map[string]*Shape), missed: make(map[string]string)}
	in := k.shape(input)
	byDoc := make(map[string]*Shape) // many steps have the same handler
	for _, step := range slices.Sorted(maps.Keys(results)) {
		doc := string(results[step])
		if byDoc[doc] == nil {
			byDoc[doc] = k.shape(results[step])
		}
		k.results[step] = byDoc[doc]
	}
	env, err := newValueEnv(in.celType(), k)
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	return &Scope{env: env, known: k}, nil
}

// Shape returns what a schema says of a value.
func (s *Scope) Shape(schema json.RawMessage) *Shape { return s.known.shape(schema) }

// typeOf returns the type of what an expression comes to.
func (s *Scope) typeOf(v *Value) (*types.Type, error) {
	clear(s.known.missed)
	compiled, issues := s.env.Compile(v.source)
	if issues.Err() != nil {
		return nil, values(s.known).firstError(v.source, issues.Errors())
	}
	return compiled.OutputType(), nil
}

// CheckWhen checks a condition. What is wrong with it is an [*Error].
func (s *Scope) CheckWhen(v *Value) error {
	out, err := s.typeOf(v)
	if err != nil {
		return err
	}
	return checkCondition(out)
}

// CheckMapping checks the expressions of a mapping, and what it makes against what is
// wanted; nil wants anything.
func (s *Scope) CheckMapping(m *Mapping, want *Shape) []*MappingError {
	c := &mappingChecker{scope: s}
	c.part(m.root, want)
	return c.wrong
}

type mappingChecker struct {
	scope *Scope
	wrong []*MappingError
}

func (c *mappingChecker) add(p *part, message, hint string) {
	c.wrong = append(c.wrong, &MappingError{Pointer: p.pointer, Message: message, Hint: hint})
}

// part checks one value of the mapping.
func (c *mappingChecker) part(p *part, want *Shape) {
	switch {
	case p.expr != nil:
		c.expression(p, want)
		return
	case want != nil && !want.kinds.takes(p.kind):
		c.add(p, fmt.Sprintf("the handler wants %s, this is %s", want.kinds, p.kind), "")
		want = nil
	}
	switch p.kind {
	case mapKind:
		c.fields(p, want)
	case listKind:
		for _, child := range p.parts {
			c.part(child, want.itemShape())
		}
	default:
	}
}

func (s *Shape) itemShape() *Shape {
	if s == nil {
		return nil
	}
	return s.items
}

// field returns the shape of a field; false when there can be none of that name.
func (s *Shape) field(name string) (*Shape, bool) {
	if s == nil {
		return nil, true
	}
	if f, ok := s.fields[name]; ok {
		return f, true
	}
	return s.rest, s.fields == nil || s.open
}

func (c *mappingChecker) fields(p *part, want *Shape) {
	for i, key := range p.keys {
		f, ok := want.field(key)
		if !ok {
			names := slices.Sorted(maps.Keys(want.fields))
			c.wrong = append(c.wrong, &MappingError{
				Pointer: p.parts[i].pointer, Key: true,
				Message: fmt.Sprintf("the handler's input has no %q%s", key, suggest(key, names, "it has "+orNothing(names))),
			})
		}
		c.part(p.parts[i], f)
	}
	if want == nil {
		return
	}
	for _, name := range want.required {
		if !slices.Contains(p.keys, name) {
			c.add(p, fmt.Sprintf("the handler's input needs %q", name), "")
		}
	}
}

func (c *mappingChecker) expression(p *part, want *Shape) {
	out, err := c.scope.typeOf(p.expr)
	if err != nil {
		bad := &MappingError{Pointer: p.pointer, Message: err.Error()}
		if at, ok := err.(*Error); ok { //nolint:errorlint // it is never wrapped
			bad.Line, bad.Column, bad.Message = at.Line, at.Column, at.Message
		}
		c.wrong = append(c.wrong, bad)
		return
	}
	if problem := c.scope.fits(out, want, "", 0); problem != "" {
		hint := ""
		if strings.Contains(problem, "wants a whole number, this is a number") {
			hint = "int(...) cuts it"
		}
		c.add(p, problem, hint)
	}
}

// maxFits is how deep types are compared; a schema may refer to itself.
const maxFits = 20

// fits returns why a value of a type is not what is wanted, "" when it is or may be.
func (s *Scope) fits(out *types.Type, want *Shape, field string, depth int) string {
	if want == nil || depth > maxFits {
		return ""
	}
	if out.TypeName() == "optional_type" && len(out.Parameters()) == 1 {
		out = out.Parameters()[0]
	}
	kind := kindOfType(out)
	if kind == 0 {
		return ""
	}
	if !want.kinds.takes(kind) {
		return fmt.Sprintf("the handler wants %s%s, this is %s", want.kinds, field, kind)
	}
	shape, known := s.known.byType[out.TypeName()]
	switch {
	case kind == listKind && want.items != nil && len(out.Parameters()) == 1:
		return s.fits(out.Parameters()[0], want.items, " in the list"+field, depth+1)
	case kind != mapKind || !known:
		return ""
	}
	for _, name := range want.required {
		if _, ok := shape.fields[name]; !ok && !shape.open {
			return fmt.Sprintf("the handler wants %q%s, which this has not", name, field)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shape.fields)) {
		f, ok := want.fields[name]
		if !ok {
			continue // what the handler does not know it leaves alone
		}
		if problem := s.fits(shape.fields[name].celType(), f, fmt.Sprintf(" as %q%s", name, field), depth+1); problem != "" {
			return problem
		}
	}
	return ""
}

// kindOfType returns the kind of the values of a type, 0 when it is not known.
func kindOfType(t *types.Type) kinds {
	switch t.Kind() {
	case types.NullTypeKind:
		return nullKind
	case types.BoolKind:
		return boolKind
	case types.IntKind, types.UintKind:
		return wholeKind
	case types.DoubleKind:
		return numberKind
	case types.StringKind, types.TimestampKind, types.DurationKind:
		return textKind
	case types.ListKind:
		return listKind
	case types.MapKind, types.StructKind:
		return mapKind
	default:
		return 0
	}
}
