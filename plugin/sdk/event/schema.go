package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// schema is as much of JSON Schema as payloads need. Further properties are allowed
// everywhere, because a payload may grow.
type schema struct {
	Dialect     string     `json:"$schema,omitempty"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        string     `json:"type,omitempty"` // empty = any JSON
	Format      string     `json:"format,omitempty"`
	Minimum     *int       `json:"minimum,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
	Items       *schema    `json:"items,omitempty"`
	Values      *schema    `json:"additionalProperties,omitempty"` // of an object with keys of any name
}

// property is a named schema.
type property struct {
	name string
	of   *schema
}

// properties is an object in JSON that keeps its order.
type properties []property

// MarshalJSON implements [json.Marshaler].
func (p properties) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, member := range p {
		name, err := json.Marshal(member.name)
		if err != nil {
			return nil, err
		}
		of, err := json.Marshal(member.of)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), ':'), of...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (p *properties) UnmarshalJSON(doc []byte) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("properties: want an object, found %v: %w", open, err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("properties: %w", err)
		}
		member := property{name: fmt.Sprint(name), of: &schema{}}
		if err := dec.Decode(member.of); err != nil {
			return fmt.Errorf("property %s: %w", member.name, err)
		}
		*p = append(*p, member)
	}
	return nil
}

// schemaOf derives the schema of a type. Fields that JSON may leave out are not
// required; embedded structs are part of the object around them.
func schemaOf(of reflect.Type) *schema {
	switch of {
	case reflect.TypeFor[json.RawMessage]():
		return &schema{}
	case reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	}
	switch of.Kind() {
	case reflect.Pointer:
		return schemaOf(of.Elem())
	case reflect.Struct:
		s := &schema{Type: "object"}
		s.addFields(of, true)
		return s
	case reflect.Slice:
		return &schema{Type: "array", Items: schemaOf(of.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Values: schemaOf(of.Elem())}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: new(int)}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return &schema{Type: "integer"}
	default:
		return &schema{Type: of.String()} // no type of JSON: the tests refuse it
	}
}

// addFields adds the fields of a struct. Those of an embedded pointer are there all or
// none, so none is required.
func (s *schema) addFields(of reflect.Type, required bool) {
	for f := range of.Fields() {
		if f.Anonymous {
			part, optional := f.Type, f.Type.Kind() == reflect.Pointer
			if optional {
				part = part.Elem()
			}
			s.addFields(part, required && !optional)
			continue
		}
		tag := strings.Split(f.Tag.Get("json"), ",")
		value := schemaOf(f.Type)
		value.Description = f.Tag.Get("doc")
		s.Properties = append(s.Properties, property{tag[0], value})
		if required && !slices.Contains(tag, "omitempty") && !slices.Contains(tag, "omitzero") {
			s.Required = append(s.Required, tag[0])
		}
	}
}

// Field is one field of a payload.
type Field struct {
	Name        string // path: "task_id", "failed_steps[].step_name"
	Type        string // for people: "string", "time", "array of string", "any"
	Required    bool   // always there when the object around it is
	Description string
}

// Fields returns the fields of the payload as its schema has them, those of objects
// after the object. A schema that cannot be read has none.
func (e Entry) Fields() []Field {
	var of schema
	if json.Unmarshal(e.PayloadSchema, &of) != nil {
		return nil
	}
	return of.fields("")
}

func (s *schema) fields(prefix string) (found []Field) {
	for _, p := range s.Properties {
		name := prefix + p.name
		found = append(found, Field{
			Name: name, Type: p.of.typeName(), Required: slices.Contains(s.Required, p.name), Description: p.of.Description,
		})
		found = append(found, p.of.fields(name+".")...)
		if p.of.Items != nil {
			found = append(found, p.of.Items.fields(name+"[].")...)
		}
	}
	return found
}

// typeName is a schema's type for people.
func (s *schema) typeName() string {
	switch {
	case s.Type == "":
		return "any"
	case s.Format == "date-time":
		return "time"
	case s.Items != nil:
		return "array of " + s.Items.typeName()
	case s.Values != nil:
		return "object of " + s.Values.typeName()
	default:
		return s.Type
	}
}
