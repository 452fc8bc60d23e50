package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/task"
)

// schemaBreak is one way in which documents of a newer JSON Schema are not what a reader
// of the older one expects.
type schemaBreak struct {
	Property string // "order.lines[].price"; empty = the document as a whole
	Text     string // "was removed"
}

// String names the property and what happened to it.
func (b schemaBreak) String() string {
	if b.Property == "" {
		return "the payload " + b.Text
	}
	return fmt.Sprintf("property %q %s", b.Property, b.Text)
}

// schemaBreaks compares a JSON Schema with its successor. It finds properties that were
// removed, types that are no longer what they were, and properties that are required and
// were not; in objects, maps, arrays and alternatives at any depth, references within
// the schema followed. A schema that is empty stands for any document. Error:
// task.ErrInvalid for what is no schema.
func schemaBreaks(older, newer json.RawMessage) ([]schemaBreak, error) {
	c := schemaComparison{seen: make(map[[2]string]bool)}
	var err error
	if c.older, err = decodeSchema(older); err != nil {
		return nil, err
	}
	if c.newer, err = decodeSchema(newer); err != nil {
		return nil, err
	}
	c.compare("", c.older, c.newer)
	return c.breaks, nil
}

func decodeSchema(doc json.RawMessage) (any, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		return true, nil
	}
	var schema any
	if err := json.Unmarshal(doc, &schema); err != nil {
		return nil, fmt.Errorf("schema: %w: %w", task.ErrInvalid, err)
	}
	return schema, nil
}

type schemaComparison struct {
	older, newer any                // the whole schemas, for references
	seen         map[[2]string]bool // pairs of references that are compared already
	breaks       []schemaBreak
}

func (c *schemaComparison) add(property, format string, args ...any) {
	c.breaks = append(c.breaks, schemaBreak{Property: property, Text: fmt.Sprintf(format, args...)})
}

// compare compares the schemas of one place.
func (c *schemaComparison) compare(at string, older, newer any) {
	older, from := resolveSchema(c.older, older)
	newer, to := resolveSchema(c.newer, newer)
	if from != "" && to != "" {
		pair := [2]string{from, to}
		if c.seen[pair] {
			return // a type that holds itself
		}
		c.seen[pair] = true
	}
	was, isObject := older.(map[string]any)
	if !isObject {
		return // anything goes, or nothing did: no reader relies on more
	}
	is, isObject := newer.(map[string]any)
	if !isObject {
		is = nil // anything goes now
	}
	if !c.types(at, was, is) {
		return // what lies inside is another thing now
	}
	c.properties(at, was, is)
	c.required(at, was, is)
	c.inner(at+"[]", was, is, "items")
	c.inner(at+".*", was, is, "additionalProperties")
	for _, list := range []string{"prefixItems", "allOf", "anyOf", "oneOf"} {
		c.list(at, was, is, list)
	}
}

// types reports whether the types of a place are still among those that they were.
func (c *schemaComparison) types(at string, was, is map[string]any) bool {
	older, newer := schemaTypes(was), schemaTypes(is)
	if older == nil {
		return true
	}
	if newer == nil {
		c.add(at, "has changed its type from %s to any", strings.Join(older, " or "))
		return false
	}
	for _, t := range newer {
		if !slices.Contains(older, t) && (t != "integer" || !slices.Contains(older, "number")) {
			c.add(at, "has changed its type from %s to %s", strings.Join(older, " or "), strings.Join(newer, " or "))
			return false
		}
	}
	return true
}

// schemaTypes returns the types that a schema allows, nil for any.
func schemaTypes(schema map[string]any) []string {
	switch t := schema["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var types []string
		for _, v := range t {
			if s, ok := v.(string); ok {
				types = append(types, s)
			}
		}
		slices.Sort(types)
		return types
	}
	if v, ok := schema["const"]; ok {
		return []string{jsonType(v)}
	}
	values, _ := schema["enum"].([]any)
	var types []string
	for _, v := range values {
		if t := jsonType(v); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

func jsonType(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}

func (c *schemaComparison) properties(at string, was, is map[string]any) {
	older, _ := was["properties"].(map[string]any)
	newer, _ := is["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(older)) {
		where := strings.TrimPrefix(at+"."+name, ".")
		if next, ok := newer[name]; ok {
			c.compare(where, older[name], next)
		} else {
			c.add(where, "was removed")
		}
	}
}

func (c *schemaComparison) required(at string, was, is map[string]any) {
	older, _ := was["required"].([]any)
	newer, _ := is["required"].([]any)
	for _, name := range newer {
		if s, ok := name.(string); ok && !slices.Contains(older, name) {
			c.add(strings.TrimPrefix(at+"."+s, "."), "is required now")
		}
	}
}

// inner compares the schema of the elements of a place.
func (c *schemaComparison) inner(at string, was, is map[string]any, key string) {
	older, had := was[key]
	if _, isObject := older.(map[string]any); !had || !isObject {
		return
	}
	newer, has := is[key]
	if !has {
		newer = true
	}
	c.compare(strings.TrimPrefix(at, "."), older, newer)
}

// list compares schemas that stand in a row.
func (c *schemaComparison) list(at string, was, is map[string]any, key string) {
	older, _ := was[key].([]any)
	newer, _ := is[key].([]any)
	if len(older) == 0 {
		return
	}
	if len(newer) > len(older) && key != "prefixItems" && key != "allOf" || len(newer) < len(older) && (key == "prefixItems" || key == "allOf") {
		c.add(at, "has changed its type: %s has %d schemas, not %d", key, len(newer), len(older))
		return
	}
	for i := range min(len(older), len(newer)) {
		where := at
		if key == "prefixItems" {
			where = fmt.Sprintf("%s[%d]", at, i)
		}
		c.compare(where, older[i], newer[i])
	}
	if len(newer) == 0 && key != "allOf" {
		c.add(at, "has changed its type: %s is gone", key)
	}
}

// resolveSchema follows references within a schema; it returns the last one too, empty
// when there was none. What cannot be found stands for any document.
func resolveSchema(root, schema any) (resolved any, ref string) {
	for range 32 { // a reference to itself stands for anything
		m, isObject := schema.(map[string]any)
		if !isObject {
			return schema, ref
		}
		next, isRef := m["$ref"].(string)
		if !isRef {
			return schema, ref
		}
		ref = next
		schema = root
		if next == "#" {
			continue
		}
		path, local := strings.CutPrefix(next, "#/")
		if !local {
			return true, ref
		}
		for part := range strings.SplitSeq(path, "/") {
			part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
			inside, isObject := schema.(map[string]any)
			if !isObject {
				return true, ref
			}
			if schema = inside[part]; schema == nil {
				return true, ref
			}
		}
	}
	return true, ref
}
