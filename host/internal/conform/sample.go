package conform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compile makes a validator; references lead nowhere but into the schema.
func compile(schema []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("no valid JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource("tasker:schema", doc); err != nil {
		return nil, err
	}
	return c.Compile("tasker:schema")
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s: want references within the schema only", url)
}

// fits checks a document against a schema. An empty schema takes anything.
func fits(schema, doc []byte) error {
	if len(schema) == 0 {
		return nil
	}
	s, err := compile(schema)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return fmt.Errorf("no valid JSON: %w", err)
	}
	return s.Validate(v)
}

// sample makes a document that fits a schema: its example or default where it has one,
// else the least that it asks for. Nil = none was found. An empty schema gets {}.
func sample(schema []byte) []byte { return sampled(schema, false) }

// sampleSecret is sample with a text of our own in each secret.
func sampleSecret(schema []byte) []byte { return sampled(schema, true) }

func sampled(schema []byte, secrets bool) []byte {
	if len(schema) == 0 {
		return []byte("{}")
	}
	var root any
	if json.Unmarshal(schema, &root) != nil {
		return nil
	}
	doc, err := json.Marshal((&sampler{root: root, secrets: secrets}).value(root, 0))
	if err != nil || fits(schema, doc) != nil {
		return nil
	}
	return doc
}

// violation makes a document that breaks a schema. Nil = none was found.
func violation(schema, good []byte) []byte {
	candidates := []string{`42`, `"conform"`, `[]`, `null`}
	var object map[string]json.RawMessage
	if json.Unmarshal(good, &object) == nil && object != nil {
		candidates = slices.Concat(wrongMembers(schema, object), candidates)
	}
	for _, c := range candidates {
		if fits(schema, []byte(c)) != nil {
			return []byte(c)
		}
	}
	return nil
}

// wrongMembers are objects with one member of another type, or one too many.
func wrongMembers(schema []byte, good map[string]json.RawMessage) (docs []string) {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	_ = json.Unmarshal(schema, &s) // one of another form has none
	names := []string{"conform_unknown_key"}
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, wrong := range []string{`{"conform": [1]}`, `"\u0000conform"`, `-1.5`} {
			changed := map[string]json.RawMessage{name: json.RawMessage(wrong)}
			for k, v := range good {
				if k != name {
					changed[k] = v
				}
			}
			if doc, err := json.Marshal(changed); err == nil {
				docs = append(docs, string(doc))
			}
		}
	}
	return docs
}

// sampler walks a schema.
type sampler struct {
	root    any
	secrets bool // give each secret a value of our own
}

// ourSecret is what a secret holds when nobody says what it should.
const ourSecret = "conform-secret-3b9f1c"

const maxDepth = 12

func (s *sampler) value(schema any, depth int) any {
	m, ok := schema.(map[string]any)
	if !ok || depth > maxDepth {
		return nil
	}
	if ref, ok := m["$ref"].(string); ok {
		return s.value(s.resolve(ref), depth+1)
	}
	if examples, ok := m["examples"].([]any); ok && len(examples) > 0 {
		return examples[0]
	}
	for _, key := range []string{"default", "const", "example"} {
		if v, ok := m[key]; ok {
			return v
		}
	}
	if enum, ok := m["enum"].([]any); ok && len(enum) > 0 {
		return enum[0]
	}
	for _, key := range []string{"oneOf", "anyOf", "allOf"} {
		if choices, ok := m[key].([]any); ok && len(choices) > 0 && m["type"] == nil && m["properties"] == nil {
			return s.value(choices[0], depth+1)
		}
	}
	return s.typed(m, depth)
}

func (s *sampler) typed(m map[string]any, depth int) any {
	switch typeOf(m) {
	case "object":
		return s.object(m, depth)
	case "array":
		items := []any{}
		for range int(numberOr(m["minItems"], 0)) {
			items = append(items, s.value(m["items"], depth+1))
		}
		return items
	case "string":
		return text(m)
	case "integer", "number":
		if v, ok := m["exclusiveMinimum"].(float64); ok {
			return v + 1
		}
		return max(numberOr(m["minimum"], 1), min(1, numberOr(m["maximum"], 1)))
	case "boolean":
		return false
	case "null":
		return nil
	default:
		return map[string]any{}
	}
}

func (s *sampler) object(m map[string]any, depth int) any {
	properties, _ := m["properties"].(map[string]any)
	required, _ := m["required"].([]any)
	out := make(map[string]any)
	for name, p := range properties {
		member, _ := p.(map[string]any)
		switch {
		case s.secrets && member["writeOnly"] == true && typeOf(member) == "string":
			out[name] = ourSecret
		case slices.Contains(required, any(name)), member["examples"] != nil:
			out[name] = s.value(p, depth+1)
		}
	}
	return out
}

func typeOf(m map[string]any) string {
	switch t := m["type"].(type) {
	case string:
		return t
	case []any:
		if len(t) > 0 {
			name, _ := t[0].(string)
			return name
		}
	}
	if m["properties"] != nil {
		return "object"
	}
	return ""
}

// text makes a string of the format and length that are asked for.
func text(m map[string]any) string {
	switch m["format"] {
	case "date-time":
		return "2026-05-04T12:00:00Z"
	case "date":
		return "2026-05-04"
	case "uri", "url":
		return "http://localhost/"
	case "email":
		return "ada@example.org"
	}
	word := "example"
	if most := int(numberOr(m["maxLength"], 64)); most < len(word) {
		word = word[:most]
	}
	if least := int(numberOr(m["minLength"], 0)); least > len(word) && least < 1<<16 {
		word += strings.Repeat("x", least-len(word))
	}
	return word
}

func numberOr(v any, otherwise float64) float64 {
	if n, ok := v.(float64); ok {
		return n
	}
	return otherwise
}

// resolve follows a reference within the schema, such as "#/$defs/target".
func (s *sampler) resolve(ref string) any {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	at := s.root
	for key := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if key == "" {
			continue
		}
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
	}
	return at
}
