package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// CheckPointers refuses what permissions name by a pointer that the schema of the plugin's
// configuration does not have: such an entry never grants anything. The error names the
// nearest property. Without a schema any pointer may mean something.
func CheckPointers(m *Manifest) error {
	if len(m.ConfigSchema) == 0 {
		return nil
	}
	var root any
	if err := json.Unmarshal(m.ConfigSchema, &root); err != nil {
		return fmt.Errorf("config_schema: %w", err)
	}
	var problems []error
	for _, entry := range slices.Concat(m.Permissions.FSRead, m.Permissions.FSWrite) {
		kind, pointer := splitEntry(entry)
		if kind != byConfig && kind != byConfigDir {
			continue
		}
		keys, err := splitPointer(pointer)
		if err == nil {
			err = findPointer(root, keys)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("permission %q: %w", entry, err))
		}
	}
	return errors.Join(problems...)
}

// findPointer looks for a pointer in a schema.
func findPointer(root any, keys []string) error {
	at := []any{root}
	for i, key := range keys {
		var next []any
		names := make(map[string]bool)
		for _, schema := range at {
			next = append(next, schemaMembers(root, schema, key, names, 0)...)
		}
		if len(next) == 0 {
			return unknownProperty(keys[:i], key, slices.Sorted(maps.Keys(names)))
		}
		at = next
	}
	return nil
}

// unknownProperty says what a pointer may have meant.
func unknownProperty(before []string, key string, names []string) error {
	place := "config_schema"
	if len(before) > 0 {
		place += " below /" + strings.Join(before, "/")
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has no %q", place, key)
	}
	best, distance := "", max(2, len(key)/3)+1
	for _, name := range names {
		if d := levenshtein.ComputeDistance(key, name); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return fmt.Errorf("%s has no %q; did you mean %q?", place, key, best)
	}
	return fmt.Errorf("%s has no %q, only %s", place, key, strings.Join(names, ", "))
}

// maxSchemaDepth bounds how many references and alternatives are followed for one key: they may
// lead in a circle.
const maxSchemaDepth = 16

// schemaMembers returns the schemas of what a value of a schema has at a key, * for all; names
// takes the properties that it has.
func schemaMembers(root, schema any, key string, names map[string]bool, depth int) (found []any) {
	if schema == true { // anything
		return []any{true}
	}
	s, ok := schema.(map[string]any)
	if !ok || depth > maxSchemaDepth {
		return nil
	}
	shaped := false
	add := func(members any) {
		shaped = true
		found = append(found, members)
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf", "then", "else", "$ref"} {
		for _, part := range schemaParts(root, s[keyword]) {
			shaped = true
			found = append(found, schemaMembers(root, part, key, names, depth+1)...)
		}
	}
	if properties, ok := s["properties"].(map[string]any); ok {
		shaped = true
		for name, property := range properties {
			names[name] = true
			if key == name || key == "*" {
				add(property)
			}
		}
	}
	if patterns, ok := s["patternProperties"].(map[string]any); ok {
		for _, property := range patterns {
			add(property)
		}
	}
	if more, ok := s["additionalProperties"]; ok && more != false {
		add(more)
	}
	if items, ok := s["items"]; ok {
		shaped = true
		if key == "*" {
			add(items)
		}
	}
	if kind, ok := s["type"].(string); ok && kind != "object" && kind != "array" {
		shaped = true
	}
	if !shaped && s["additionalProperties"] != false { // an object of which nothing is said
		add(true)
	}
	return found
}

// schemaParts returns the schemas that a keyword leads to.
func schemaParts(root, value any) []any {
	switch v := value.(type) {
	case []any:
		return v
	case map[string]any:
		return []any{v}
	case string: // a reference within the document
		rest, ok := strings.CutPrefix(v, "#/")
		if !ok {
			return []any{root}
		}
		keys, err := splitPointer("/" + rest)
		at := root
		for _, key := range keys {
			object, ok := at.(map[string]any)
			if !ok {
				return nil
			}
			at = object[key]
		}
		if err != nil || at == nil {
			return nil
		}
		return []any{at}
	}
	return nil
}
