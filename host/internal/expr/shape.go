package expr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
)

// kinds is a set of JSON's kinds of values; none of them means any.
type kinds uint8

const (
	nullKind kinds = 1 << iota
	boolKind
	wholeKind  // a number without a fraction
	numberKind // any number
	textKind
	listKind
	mapKind
)

// Shape is what a JSON Schema says about the kinds and fields of a value; the zero Shape
// is any value. What a schema says beyond that, such as alternatives, makes a shape less
// definite, never wrong.
type Shape struct {
	kinds    kinds
	fields   map[string]*Shape
	required []string
	open     bool   // there may be fields that are not in fields
	rest     *Shape // of those, nil = any
	items    *Shape // of a list, nil = any
	typ      string // the name of the type, when fields are known and no others can be
}

// shapes knows the shapes behind the names of types. A nil one knows none. It is not safe
// for concurrent use: it remembers which field was missed last.
type shapes struct {
	byType  map[string]*Shape
	results map[string]*Shape // by step
	missed  map[string]string // field -> type
}

// maxShapes is how many parts of schemas are looked at; others are any value.
const maxShapes = 20_000

// shapeReader reads one schema.
type shapeReader struct {
	root  map[string]any
	known *shapes
	refs  map[string]*Shape
	read  int
}

// shape reads a schema; what is no schema is any value.
func (k *shapes) shape(schema json.RawMessage) *Shape {
	var doc any
	if len(schema) == 0 || json.Unmarshal(schema, &doc) != nil {
		return &Shape{}
	}
	root, ok := doc.(map[string]any)
	if !ok {
		return &Shape{}
	}
	r := &shapeReader{root: root, known: k, refs: make(map[string]*Shape)}
	out := &Shape{}
	r.fill(out, root)
	return out
}

// annotations are the keywords that say nothing about values.
const annotations = " $schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly "

// indefinite are the keywords beside which fields can be allowed that properties does not
// name.
const indefinite = `allOf anyOf oneOf if then else dependentSchemas patternProperties dependencies
	unevaluatedProperties $dynamicRef $recursiveRef propertyNames`

func (r *shapeReader) of(schema any) *Shape {
	out := &Shape{}
	if m, ok := schema.(map[string]any); ok {
		if target, ok := m["$ref"].(string); ok {
			return r.refer(target, m)
		}
		r.fill(out, m)
	}
	return out
}

// refer follows a reference inside the schema; one with something beside it is any value.
func (r *shapeReader) refer(target string, m map[string]any) *Shape {
	for key := range m {
		if key != "$ref" && !strings.Contains(annotations, " "+key+" ") {
			return &Shape{}
		}
	}
	if s, ok := r.refs[target]; ok {
		return s
	}
	out := &Shape{}
	r.refs[target] = out
	path, ok := strings.CutPrefix(target, "#")
	if !ok || (path != "" && path[0] != '/') {
		return out
	}
	var at any = r.root
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path == "" {
			break
		}
		m, ok := at.(map[string]any)
		if !ok {
			return out
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	if m, ok := at.(map[string]any); ok {
		if next, ok := m["$ref"].(string); ok {
			*out = *r.refer(next, m)
			return out
		}
		r.fill(out, m)
	}
	return out
}

// fill reads one schema that is a map.
func (r *shapeReader) fill(out *Shape, m map[string]any) {
	if r.read++; r.read > maxShapes {
		return
	}
	if target, ok := m["$ref"].(string); ok {
		*out = *r.refer(target, m)
		return
	}
	out.kinds = kindsOf(m)
	out.items = nil
	if items, ok := m["items"].(map[string]any); ok && m["prefixItems"] == nil {
		out.items = r.of(items)
	}
	for key := range strings.FieldsSeq(indefinite) {
		_, there := m[key]
		out.open = out.open || there
	}
	switch more := m["additionalProperties"].(type) {
	case bool:
		out.open = out.open || more
	case map[string]any:
		out.open = true
		out.rest = r.of(more)
	}
	if properties, ok := m["properties"].(map[string]any); ok {
		out.fields = make(map[string]*Shape, len(properties))
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			out.fields[name] = r.of(properties[name])
		}
	}
	required, _ := m["required"].([]any)
	for _, name := range required {
		if s, ok := name.(string); ok {
			out.required = append(out.required, s)
		}
	}
	if out.kinds == mapKind && out.fields != nil {
		out.typ = typePrefix + letters(len(r.known.byType))
		r.known.byType[out.typ] = out
	}
}

// kindsOf returns the kinds that type, const and enum allow.
func kindsOf(m map[string]any) kinds {
	switch t := m["type"].(type) {
	case string:
		return kindNamed(t)
	case []any:
		var all kinds
		for _, one := range t {
			s, _ := one.(string)
			k := kindNamed(s)
			if k == 0 {
				return 0
			}
			all |= k
		}
		return all
	}
	allowed, _ := m["enum"].([]any)
	if c, ok := m["const"]; ok {
		allowed = []any{c}
	}
	var all kinds
	for _, v := range allowed {
		all |= kindOf(v)
	}
	return all
}

func kindNamed(name string) kinds {
	switch name {
	case "null":
		return nullKind
	case "boolean":
		return boolKind
	case "integer":
		return wholeKind
	case "number":
		return numberKind
	case "string":
		return textKind
	case "array":
		return listKind
	case "object":
		return mapKind
	default:
		return 0
	}
}

// kindOf returns the kind of a decoded JSON value.
func kindOf(v any) kinds {
	switch v := v.(type) {
	case nil:
		return nullKind
	case bool:
		return boolKind
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") {
			return numberKind
		}
		return wholeKind
	case float64:
		if v == float64(int64(v)) {
			return wholeKind
		}
		return numberKind
	case int64, uint64:
		return wholeKind
	case string:
		return textKind
	case []any:
		return listKind
	default:
		return mapKind
	}
}

// String returns the words for a set of kinds: "text or a number".
func (k kinds) String() string {
	words := []struct {
		kind kinds
		word string
	}{
		{textKind, "text"},
		{wholeKind, "a whole number"},
		{numberKind, "a number"},
		{boolKind, "true or false"},
		{listKind, "a list"},
		{mapKind, "a map"},
		{nullKind, "null"},
	}
	var out []string
	for _, w := range words {
		if k&w.kind != 0 {
			out = append(out, w.word)
		}
	}
	if len(out) == 0 {
		return "any value"
	}
	return strings.Join(out, " or ")
}

// takes reports whether a value of one kind can be one of k.
func (k kinds) takes(one kinds) bool {
	return k == 0 || k&one != 0 || (one == wholeKind && k&numberKind != 0)
}

// typePrefix begins the names of the types of maps with known fields.
const typePrefix = "tasker.map."

// letters writes a number in letters: messages are rewritten by patterns for names.
func letters(n int) string {
	out := string(rune('a' + n%26))
	for n /= 26; n > 0; n /= 26 {
		out = string(rune('a'+n%26)) + out
	}
	return out
}

// celType returns the type that the compiler knows a shape by.
func (s *Shape) celType() *types.Type {
	switch {
	case s == nil:
		return types.DynType
	case s.typ != "":
		return types.NewObjectType(s.typ)
	}
	switch s.kinds {
	case boolKind:
		return types.BoolType
	case wholeKind:
		return types.IntType
	case numberKind, numberKind | wholeKind:
		return types.DoubleType
	case textKind:
		return types.StringType
	case listKind:
		return types.NewListType(s.items.celType())
	case mapKind:
		return types.NewMapType(types.StringType, s.rest.celType())
	default:
		return types.DynType
	}
}

func (k *shapes) has(typ string) bool {
	if k == nil {
		return false
	}
	_, ok := k.byType[typ]
	return ok
}

// result returns the type of the results of a step.
func (k *shapes) result(step string) *types.Type {
	if k == nil {
		return types.DynType
	}
	return k.results[step].celType()
}

// field returns the type of a field of a type that is known.
func (k *shapes) field(typ, name string) (*types.FieldType, bool) {
	s := k.byType[typ]
	f, ok := s.fields[name]
	if !ok && !s.open {
		k.miss(typ, name)
		return nil, false
	}
	if !ok {
		f = s.rest
	}
	return &types.FieldType{
		Type: f.celType(), IsSet: func(any) bool { return false },
		GetFrom: func(any) (any, error) { return nil, errNoVars },
	}, true
}

// miss remembers a field that a type does not have.
func (k *shapes) miss(typ, name string) {
	if k != nil {
		k.missed[name] = typ
	}
}

// missing returns what to say of a field that does not exist.
func (k *shapes) missing(name string) string {
	if k == nil {
		return fmt.Sprintf("there is no %q", name)
	}
	var names []string
	switch typ := k.missed[name]; {
	case typ == taskType:
		names = taskFields()
	case k.has(typ):
		names = slices.Sorted(maps.Keys(k.byType[typ].fields))
	}
	return fmt.Sprintf("there is no %q%s", name, suggest(name, names, "there is "+orNothing(names)))
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
