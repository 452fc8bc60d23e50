package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxExpressions is how many expressions a mapping may have.
const MaxExpressions = 500

// Mark is what a text begins with that is an expression in a [Mapping].
const Mark = "="

// Mapping is a JSON document whose texts that begin with [Mark] are expressions. Make it
// with [CompileMapping]; it is safe for concurrent use.
type Mapping struct {
	root  *part
	exprs []*part
}

// part is one value of a mapping.
type part struct {
	pointer string
	expr    *Value
	literal json.RawMessage // when there is no expression in it
	kind    kinds
	keys    []string // of a map, sorted
	parts   []*part  // of a map by keys, or of a list
}

// MappingError is what is wrong with one value of a mapping.
type MappingError struct {
	Pointer string // JSON pointer to it
	// Line and Column are the place in its expression, behind the mark, from 1; 0 when it
	// is about the value as a whole.
	Line, Column int
	Key          bool // it is about the key and not about its value
	Message      string
	Hint         string // what to do about it, may be empty
}

// Error returns "pointer: message".
func (e *MappingError) Error() string {
	where := e.Pointer
	if where == "" {
		where = "(all)"
	}
	if e.Hint != "" {
		return where + ": " + e.Message + "; " + e.Hint
	}
	return where + ": " + e.Message
}

// CompileMapping compiles a mapping. Everything that is wrong with it is returned.
func CompileMapping(doc json.RawMessage) (*Mapping, []*MappingError) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, []*MappingError{{Message: "no JSON: " + err.Error()}}
	}
	m := &Mapping{}
	var wrong []*MappingError
	m.root = m.compile("", v, &wrong)
	if m.root.kind != mapKind && m.root.expr == nil {
		wrong = append(wrong, &MappingError{Message: "want a map or an expression, got " + m.root.kind.String()})
	}
	if len(m.exprs) > MaxExpressions {
		wrong = append(wrong, &MappingError{Message: fmt.Sprintf("%d expressions: the limit is %d", len(m.exprs), MaxExpressions)})
	}
	return m, wrong
}

func (m *Mapping) compile(pointer string, v any, wrong *[]*MappingError) *part {
	p := &part{pointer: pointer, kind: kindOf(v)}
	fixed := true
	switch v := v.(type) {
	case string:
		if source, ok := strings.CutPrefix(v, Mark); ok {
			m.exprs = append(m.exprs, p)
			p.kind, p.expr = 0, m.expression(pointer, source, wrong)
			return p
		}
	case map[string]any:
		for key := range v {
			p.keys = append(p.keys, key)
		}
		slices.Sort(p.keys)
		for _, key := range p.keys {
			child := m.compile(pointer+"/"+escape(key), v[key], wrong)
			p.parts = append(p.parts, child)
			fixed = fixed && child.literal != nil
		}
	case []any:
		for i, item := range v {
			child := m.compile(fmt.Sprintf("%s/%d", pointer, i), item, wrong)
			p.parts = append(p.parts, child)
			fixed = fixed && child.literal != nil
		}
	}
	if fixed {
		p.literal = literal(v)
	}
	return p
}

func (m *Mapping) expression(pointer, source string, wrong *[]*MappingError) *Value {
	v, err := CompileValue(source)
	if err == nil {
		return v
	}
	bad := &MappingError{Pointer: pointer, Message: err.Error(), Hint: textHint(source)}
	if at, ok := errors.AsType[*Error](err); ok {
		bad.Line, bad.Column, bad.Message = at.Line, at.Column, at.Message
	}
	*wrong = append(*wrong, bad)
	return &Value{source: source} // never evaluated
}

// textHint says how to write a text that begins with the mark, when it may be one.
func textHint(source string) string {
	if source != "" && strings.Trim(source, "= ") != "" && !strings.HasPrefix(source, "=") {
		return ""
	}
	return `a text that begins with = is written '="=..."'`
}

// literal returns v as JSON, without escaping for HTML.
func literal(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil // it was decoded from JSON
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// Expressions yields the expressions with their JSON pointers, in one order.
func (m *Mapping) Expressions(yield func(pointer string, v *Value) bool) {
	for _, p := range m.exprs {
		if !yield(p.pointer, p.expr) {
			return
		}
	}
}

// ErrTooLarge is the error of a document over the limit.
var ErrTooLarge = errors.New("the document is too large")

// Resolve evaluates the expressions and returns the document, of at most limit bytes,
// with sorted keys and without white space. An expression that comes to an empty optional
// leaves its key or place out. The error names the first value that cannot be made.
func (m *Mapping) Resolve(vars *Vars, limit int) (json.RawMessage, error) {
	r := &resolver{vars: vars, out: encoder{limit: limit}}
	there, err := r.part(m.root)
	switch {
	case err != nil:
		return nil, err
	case !there:
		return json.RawMessage("null"), nil
	}
	return r.out.b, nil
}

type resolver struct {
	vars *Vars
	out  encoder
	cost uint64
}

// part appends one value; false when it is left out.
func (r *resolver) part(p *part) (there bool, err error) {
	switch {
	case p.expr != nil:
		there, err = r.expression(p)
	case p.literal != nil:
		there, err = true, r.out.raw(p.literal)
	default:
		return true, r.nested(p)
	}
	if err != nil {
		return false, &MappingError{Pointer: p.pointer, Message: about(p, err)}
	}
	return there, nil
}

func about(p *part, err error) string {
	if p.expr == nil {
		return err.Error()
	}
	return fmt.Sprintf("%s%s: %s", Mark, p.expr.source, err)
}

func (r *resolver) expression(p *part) (bool, error) {
	v, cost, err := p.expr.eval(r.vars)
	if r.cost += cost; err == nil && r.cost > MaxValueCost {
		err = ErrValueCost
	}
	if err != nil {
		return false, err
	}
	v, there := present(v)
	if !there {
		return false, nil
	}
	return true, r.out.value(v)
}

// nested appends a map or a list.
func (r *resolver) nested(p *part) error {
	begin, end := byte('{'), byte('}')
	if p.kind == listKind {
		begin, end = '[', ']'
	}
	r.out.b = append(r.out.b, begin)
	first := true
	for i, child := range p.parts {
		mark := len(r.out.b)
		if !first {
			r.out.b = append(r.out.b, ',')
		}
		if p.kind == mapKind {
			r.out.text(p.keys[i])
			r.out.b = append(r.out.b, ':')
		}
		there, err := r.part(child)
		if err != nil {
			return err
		}
		if !there {
			r.out.b = r.out.b[:mark]
			continue
		}
		first = false
	}
	r.out.b = append(r.out.b, end)
	return nil
}

// JSON evaluates the expression and returns what it comes to, of at most limit bytes.
func (v *Value) JSON(vars *Vars, limit int) (json.RawMessage, error) {
	out, _, err := v.eval(vars)
	if err != nil {
		return nil, err
	}
	e := encoder{limit: limit}
	if out, there := present(out); there {
		err = e.value(out)
	} else {
		err = e.raw([]byte("null"))
	}
	return e.b, err
}
