package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// schemaDoc is what is documented of a JSON Schema.
type schemaDoc struct {
	Ref         string               `json:"$ref"`
	Defs        map[string]schemaDoc `json:"$defs"`
	Type        json.RawMessage      `json:"type"`
	Description string               `json:"description"`
	Enum        []json.RawMessage    `json:"enum"`
	Default     json.RawMessage      `json:"default"`
	Required    []string             `json:"required"`
	Properties  json.RawMessage      `json:"properties"`
	Items       *schemaDoc           `json:"items"`
	OneOf       []schemaDoc          `json:"oneOf"`
	AnyOf       []schemaDoc          `json:"anyOf"`
	WriteOnly   bool                 `json:"writeOnly"`
}

// schemaField is a row of a table: a value by its path.
type schemaField struct {
	path, kind, about string
	required          bool
}

// maxFieldDepth is how deep objects within objects are documented.
const maxFieldDepth = 4

// schemaFields lists the values of objects that a schema describes, in its order; an
// object's own are behind a dot, those of a list's elements behind [].
func schemaFields(raw json.RawMessage) []schemaField {
	var root schemaDoc
	if len(raw) == 0 || json.Unmarshal(raw, &root) != nil {
		return nil
	}
	var out []schemaField
	root.collect(&root, "", 0, &out)
	return out
}

func (s *schemaDoc) collect(root *schemaDoc, prefix string, depth int, out *[]schemaField) {
	at := s.resolve(root)
	if at.Items != nil {
		at.Items.collect(root, prefix+"[]", depth+1, out)
		return
	}
	keys, values := orderedProperties(at.Properties)
	for i, key := range keys {
		path := strings.TrimPrefix(prefix+"."+key, ".")
		field := values[i].resolve(root)
		*out = append(*out, schemaField{
			path: path, kind: field.kind(root), about: field.about(values[i].Description), required: slices.Contains(at.Required, key),
		})
		if depth < maxFieldDepth {
			field.collect(root, path, depth+1, out)
		}
	}
}

// resolve follows a reference, and takes the alternative that is not null.
func (s *schemaDoc) resolve(root *schemaDoc) *schemaDoc {
	for range maxFieldDepth {
		switch {
		case s.Ref != "":
			def, ok := root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
			if !ok {
				return s
			}
			s = &def
		case len(s.OneOf) > 0:
			s = s.alternative(s.OneOf)
		case len(s.AnyOf) > 0:
			s = s.alternative(s.AnyOf)
		default:
			return s
		}
	}
	return s
}

// alternative is the first one that is not null, with the description of the whole.
func (s *schemaDoc) alternative(of []schemaDoc) *schemaDoc {
	first := of[0]
	for i := range of {
		if string(of[i].Type) != `"null"` {
			first = of[i]
			break
		}
	}
	if first.Description == "" {
		first.Description = s.Description
	}
	return &first
}

// kind is the type in words: "string", "list of integer", "a, b".
func (s *schemaDoc) kind(root *schemaDoc) string {
	if len(s.Enum) > 0 {
		return "`" + strings.Join(texts(s.Enum), "`, `") + "`"
	}
	var one string
	var many []string
	switch {
	case s.Items != nil:
		return "list of " + s.Items.resolve(root).kind(root)
	case json.Unmarshal(s.Type, &one) == nil:
		return one
	case json.Unmarshal(s.Type, &many) == nil:
		return strings.Join(slices.DeleteFunc(many, func(t string) bool { return t == "null" }), " or ")
	default:
		return "any"
	}
}

// about is the description, with what else is to be known.
func (s *schemaDoc) about(own string) string {
	text := own
	if text == "" {
		text = s.Description
	}
	if len(s.Default) > 0 {
		text += " Default `" + string(s.Default) + "`."
	}
	if s.WriteOnly {
		text += " Secret."
	}
	return strings.TrimSpace(text)
}

// texts are JSON values without the quotes of texts.
func texts(values []json.RawMessage) []string {
	out := make([]string, len(values))
	for i, v := range values {
		if json.Unmarshal(v, &out[i]) != nil {
			out[i] = string(v)
		}
	}
	return out
}

// orderedProperties returns properties in the order in which the schema has them.
func orderedProperties(raw json.RawMessage) (keys []string, values []schemaDoc) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil
	}
	for dec.More() {
		key, err := dec.Token()
		var value schemaDoc
		if err == nil {
			var doc json.RawMessage
			if err = dec.Decode(&doc); err == nil {
				_ = json.Unmarshal(doc, &value) // true and false are schemas, too: of anything
			}
		}
		if err != nil {
			return keys, values
		}
		keys, values = append(keys, fmt.Sprint(key)), append(values, value)
	}
	return keys, values
}

// fieldTable writes fields as a table.
func fieldTable(b *strings.Builder, fields []schemaField) {
	if len(fields) == 0 {
		return
	}
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	b.WriteString("\n| key | type | required | meaning |\n|---|---|---|---|\n")
	for _, f := range fields {
		required := ""
		if f.required {
			required = "yes"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.path, cell(f.kind), required, cell(f.about))
	}
}
