package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	derive "github.com/invopop/jsonschema"
	validate "github.com/santhosh-tekuri/jsonschema/v6"
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
	r := &derive.Reflector{Anonymous: true, ExpandedStruct: true, AllowAdditionalProperties: open}
	raw, err := json.Marshal(r.ReflectFromType(t))
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
	const name = "schema.json"
	c := validate.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("derive the JSON Schema of %s: %w", t, err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("derive the JSON Schema of %s: %w", t, err)
	}
	s = &schema{raw: raw, compiled: compiled, object: object["type"] == "object"}
	s.empty = s.check([]byte("{}"))
	return s, nil
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

// check returns where a document does not fit.
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
	return leaves(nil, invalid, message.NewPrinter(language.English))
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
		list = leaves(list, cause, p)
	}
	return list
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
