package recording

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Redact replaces in a document what a JSON Schema marks with writeOnly by [Redacted], and returns the JSON pointers of
// those places below a prefix. A document or schema that cannot be read stays as it is.
func Redact(doc, schema json.RawMessage, prefix string) (json.RawMessage, []string) {
	value, r := redacted(doc, schema, prefix)
	if r.places == nil {
		return doc, nil
	}
	out, err := json.Marshal(value)
	if err != nil {
		return doc, nil
	}
	return out, r.places
}

// Marked returns what a document has where a JSON Schema says writeOnly, decoded as by [json.Unmarshal] with UseNumber, in
// no particular order. Of a document or schema that cannot be read it returns nothing.
func Marked(doc, schema json.RawMessage) []any {
	_, r := redacted(doc, schema, "")
	return r.values
}

// RedactTexts replaces texts in a document, keys among them, and returns the JSON pointers below a prefix of those for which
// the function returns true. A document that cannot be read stays as it is.
func RedactTexts(doc json.RawMessage, replace func(string) (string, bool), prefix string) (json.RawMessage, []string) {
	if len(doc) == 0 || !json.Valid(doc) {
		return doc, nil
	}
	var places []string
	value := replaceTexts(decode(doc), replace, prefix, &places)
	if places == nil {
		return doc, nil
	}
	out, err := json.Marshal(value)
	if err != nil {
		return doc, nil
	}
	return out, places
}

func replaceTexts(v any, replace func(string) (string, bool), at string, places *[]string) any {
	text := func(s, at string) string {
		with, redacted := replace(s)
		if redacted {
			*places = append(*places, at)
		}
		return with
	}
	switch v := v.(type) {
	case string:
		return text(v, at)
	case []any:
		for i := range v {
			v[i] = replaceTexts(v[i], replace, at+"/"+strconv.Itoa(i), places)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			with := text(key, at)
			out[with] = replaceTexts(v[key], replace, at+"/"+escape.Replace(with), places)
		}
		return out
	}
	return v
}

// Escape writes a key as a part of a JSON pointer.
func Escape(key string) string { return escape.Replace(key) }

func redacted(doc, schema json.RawMessage, prefix string) (any, *redaction) {
	r := &redaction{}
	if len(doc) == 0 || json.Unmarshal(schema, &r.root) != nil {
		return nil, r
	}
	return r.walk(decode(doc), r.root, prefix, 0), r
}

// maxDepth bounds schemas that hold themselves.
const maxDepth = 64

type redaction struct {
	root   any
	places []string
	values []any // what was there
}

func (r *redaction) walk(v, schema any, at string, depth int) any {
	s, _ := schema.(map[string]any)
	if s == nil || depth > maxDepth {
		return v
	}
	if s["writeOnly"] == true {
		if !slices.Contains(r.places, at) {
			r.places, r.values = append(r.places, at), append(r.values, v)
		}
		return Redacted
	}
	if ref, ok := s["$ref"].(string); ok {
		v = r.walk(v, r.resolve(ref), at, depth+1)
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := s[key].([]any)
		for _, inner := range list {
			v = r.walk(v, inner, at, depth+1)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			inner, ok := properties[key]
			if !ok {
				inner = s["additionalProperties"]
			}
			v[key] = r.walk(v[key], inner, at+"/"+escape.Replace(key), depth+1)
		}
	case []any:
		for i := range v {
			v[i] = r.walk(v[i], s["items"], at+"/"+strconv.Itoa(i), depth+1)
		}
	}
	return v
}

// resolve follows a reference within the schema.
func (r *redaction) resolve(ref string) any {
	path, local := strings.CutPrefix(ref, "#")
	if !local {
		return nil
	}
	at := r.root
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if part == "" {
			continue
		}
		m, _ := at.(map[string]any)
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return at
}
