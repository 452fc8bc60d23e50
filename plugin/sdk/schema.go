package sdk

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	derive "github.com/invopop/jsonschema"
	validate "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// schema is a JSON Schema derived from a Go type. Nil accepts anything.
type schema struct {
	raw      []byte
	compiled *validate.Schema
	object   bool      // describes an object, so that no document at all is read as {}
	empty    []problem // where {} does not fit
}

// problem is one place where a document does not fit a schema.
type problem struct {
	pointer string // JSON pointer, "" = the whole document
	message string
}

// deriveSchema derives a type's schema. Open lets objects have keys that the type does not have. It is nil
// when the type accepts anything.
func deriveSchema(t reflect.Type, open bool) (s *schema, err error) {
	defer func() {
		if p := recover(); p != nil { // how the deriving library refuses channels and functions
			s, err = nil, fmt.Errorf("no JSON Schema can be derived from %s: %v", t, p)
		}
	}()
	if t == nil || t.Kind() == reflect.Interface {
		return nil, nil
	}
	raw, err := reflectSchema(t, open)
	if err != nil {
		return nil, fmt.Errorf("derive the JSON Schema of %s: %w", t, err)
	}
	doc, err := validate.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("derive the JSON Schema of %s: %w", t, err)
	}
	object, ok := doc.(map[string]any)
	if !ok || len(object) <= 1 { // true, or nothing but $schema: anything
		return nil, nil
	}
	const name = "tasker:///schema.json" // absolute: a relative one is looked up below the working directory
	c := validate.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("derive the JSON Schema of %s: %w", t, err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("derive the JSON Schema of %s: %w", t, err)
	}
	s = &schema{raw: raw, compiled: compiled, object: object["type"] == "object" || object["$ref"] != nil}
	s.empty = s.check([]byte("{}"))
	return s, nil
}

// reflectSchema makes the JSON Schema of a type.
func reflectSchema(t reflect.Type, open bool) ([]byte, error) {
	names := &typeNames{taken: make(map[string]reflect.Type)}
	r := &derive.Reflector{
		Anonymous: true, ExpandedStruct: true, AllowAdditionalProperties: open,
		Namer: names.name, AdditionalFields: nullable,
	}
	raw, err := json.Marshal(r.ReflectFromType(t))
	if err != nil {
		return nil, err
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !bytes.Contains(raw, []byte(`"#/$defs/`+names.name(t)+`"`)) {
		return raw, nil
	}
	r.ExpandedStruct = false // the type refers to itself: its definition has to have a name
	return json.Marshal(r.ReflectFromType(t))
}

// typeNames names definitions: unlike the types' own names, these differ for types of different packages, and
// are fit for references.
type typeNames struct{ taken map[string]reflect.Type }

func (n *typeNames) name(t reflect.Type) string {
	base := strings.Map(func(r rune) rune {
		if r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return '_'
	}, t.Name())
	if base == "" {
		return ""
	}
	for i := 1; ; i++ {
		name := base
		if i > 1 {
			name = fmt.Sprintf("%s_%d", base, i)
		}
		if other, ok := n.taken[name]; !ok || other == t {
			n.taken[name] = t
			return name
		}
	}
}

// nullable returns the fields that may be nil, so that they are described again, as ones that may be null: that is
// how encoding/json writes them, and a result of one handler is the input of another.
func nullable(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for f := range t.Fields() {
		switch f.Type.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
		default:
			continue
		}
		if f.Anonymous || f.Type == reflect.TypeFor[json.RawMessage]() {
			continue
		}
		const tag = `jsonschema:"`
		if text := string(f.Tag); strings.Contains(text, tag) {
			f.Tag = reflect.StructTag(strings.Replace(text, tag, tag+"nullable,", 1))
		} else {
			f.Tag = reflect.StructTag(text + " " + tag + `nullable"`)
		}
		fields = append(fields, f)
	}
	return fields
}

// accept returns the document as it shall be read, and where it does not fit. For an object, no document at all is
// read as {}.
func (s *schema) accept(doc []byte) ([]byte, []problem) {
	if s == nil {
		return doc, nil
	}
	if s.object && (len(doc) == 0 || bytes.Equal(doc, []byte("null"))) {
		return []byte("{}"), s.empty
	}
	return doc, s.check(doc)
}

// check returns where a document does not fit, by place.
func (s *schema) check(doc []byte) []problem {
	v, err := validate.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return []problem{{message: "no valid JSON: " + err.Error()}}
	}
	err = s.compiled.Validate(v)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*validate.ValidationError](err)
	if !ok {
		return []problem{{message: err.Error()}}
	}
	bad := leaves(nil, invalid, message.NewPrinter(language.English))
	slices.SortFunc(bad, func(a, b problem) int { // the validator walks maps
		return cmp.Or(strings.Compare(a.pointer, b.pointer), strings.Compare(a.message, b.message))
	})
	return bad
}

// json returns the schema, nil when it accepts anything.
func (s *schema) json() []byte {
	if s == nil {
		return nil
	}
	return s.raw
}

// leaves collects the innermost causes: the places, without the way there.
func leaves(list []problem, e *validate.ValidationError, p *message.Printer) []problem {
	if len(e.Causes) == 0 {
		return append(list, problem{pointer: pointer(e.InstanceLocation), message: e.ErrorKind.LocalizedString(p)})
	}
	for _, cause := range e.Causes {
		if !wantsNull(cause) || len(e.Causes) == 1 { // that something might also be null is no news
			list = leaves(list, cause, p)
		}
	}
	return list
}

// wantsNull reports whether a document fails for not being null.
func wantsNull(e *validate.ValidationError) bool {
	k, ok := e.ErrorKind.(*kind.Type)
	return ok && len(k.Want) == 1 && k.Want[0] == "null"
}

// pointer makes a JSON pointer of its parts.
func pointer(parts []string) string {
	var b strings.Builder
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for _, part := range parts {
		b.WriteString("/" + escape.Replace(part))
	}
	return b.String()
}

// problems joins problems into one text.
func problems(list []problem) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.message
		if p.pointer != "" {
			texts[i] = p.pointer + ": " + p.message
		}
	}
	return strings.Join(texts, "; ")
}
