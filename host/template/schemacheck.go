package template

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	schemakind "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// checkSchema reports what is wrong with an input schema, each at its place.
func (d *decoder) checkSchema(n *node) {
	d.checkKeywords(n)
	src, err := n.json()
	if err == nil {
		_, err = compileSchema(src)
	}
	if err == nil {
		return
	}
	if invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if fields, ok := errors.AsType[*jsonschema.ValidationError](invalid.Err); ok {
			d.schemaViolations(n, fields, message.NewPrinter(language.English))
			return
		}
	}
	at, text := schemaError(n, err)
	d.add(at, "", "input: %s", text)
}

// schemaViolations reports the leaves of v.
func (d *decoder) schemaViolations(n *node, v *jsonschema.ValidationError, p *message.Printer) {
	switch v.ErrorKind.(type) {
	case *schemakind.AnyOf, *schemakind.OneOf, *schemakind.Contains:
	default:
		if len(v.Causes) > 0 {
			for _, cause := range v.Causes {
				d.schemaViolations(n, cause, p)
			}
			return
		}
	}
	at := ""
	if len(v.InstanceLocation) > 0 {
		at = fmt.Sprintf(" at %q", pointer(v.InstanceLocation))
	}
	d.add(n.find(v.InstanceLocation).at, "", "input: no JSON Schema: %s%s", words(v, p), at)
}

// schemaError finds the place and the words for the errors that are not about fields.
func schemaError(n *node, err error) (pos, string) {
	if load, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		if draft := n.get("$schema"); draft != nil && strings.HasPrefix(load.URL, draft.text) {
			return draft.at, "$schema names no draft of JSON Schema"
		}
		return refAt(n, func(ref string) bool { return !strings.HasPrefix(ref, "#") }), errFetch.Error()
	}
	target := ""
	if missing, ok := errors.AsType[*jsonschema.JSONPointerNotFoundError](err); ok {
		target = missing.URL
	}
	if anchor, ok := errors.AsType[*jsonschema.AnchorNotFoundError](err); ok {
		target = anchor.Reference
	}
	if _, fragment, ok := strings.Cut(target, "#"); ok {
		ref := "#" + fragment
		return refAt(n, func(r string) bool { return r == ref }), "$ref " + ref + " leads nowhere"
	}
	if _, ok := errors.AsType[*jsonschema.ParseIDError](err); ok {
		return n.find([]string{"$id"}).at, "an $id is no URL"
	}
	return n.at, "no JSON Schema: " + strings.ReplaceAll(err.Error(), inputURL, "")
}

// refAt returns where the first $ref of a kind stands.
func refAt(n *node, is func(string) bool) pos {
	if at, ok := findRef(n, is); ok {
		return at
	}
	return n.at
}

func findRef(n *node, is func(string) bool) (pos, bool) {
	for _, e := range n.entries {
		if (e.key == "$ref" || e.key == "$dynamicRef") && e.value.kind == kindText && is(e.value.text) {
			return e.value.at, true
		}
		if at, ok := findRef(e.value, is); ok {
			return at, true
		}
	}
	for _, item := range n.items {
		if at, ok := findRef(item, is); ok {
			return at, true
		}
	}
	return pos{}, false
}

// How the value of a schema keyword continues the schema.
type keywordKind uint8

const (
	plainKeyword   keywordKind = iota
	schemaKeyword              // a schema, or a list of schemas
	schemasKeyword             // a map from names to schemas
)

// schemaKeywords are the keywords of the drafts that the validator knows. It ignores
// others, and an ignored "requird" would let every input pass, so they are refused
// unless they begin with "x-".
// The keywords that only older drafts know count when old is true.
func schemaKeywords(old bool) map[string]keywordKind {
	words := make(map[string]keywordKind, 64)
	add := func(k keywordKind, names string) {
		for n := range strings.FieldsSeq(names) {
			words[n] = k
		}
	}
	add(plainKeyword, `$schema $id $ref $anchor $dynamicRef $dynamicAnchor
		$vocabulary $comment title description default examples deprecated readOnly writeOnly
		type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum
		maxLength minLength pattern maxItems minItems uniqueItems maxContains minContains
		maxProperties minProperties required dependentRequired
		format contentEncoding contentMediaType`)
	add(schemaKeyword, `allOf anyOf oneOf not if then else items prefixItems unevaluatedItems contains
		additionalProperties unevaluatedProperties propertyNames contentSchema`)
	add(schemasKeyword, `$defs definitions properties patternProperties dependentSchemas`)
	if old {
		add(plainKeyword, `id $recursiveRef $recursiveAnchor`)
		add(schemaKeyword, `additionalItems`)
		add(schemasKeyword, `dependencies`)
	}
	return words
}

// schemaFormats are the formats that the validator asserts.
const schemaFormats = `json-pointer relative-json-pointer uuid duration period ipv4 ipv6 hostname email date time
	date-time uri iri uri-reference iri-reference uri-template semver regex`

// checkKeywords reports keywords and formats that would have no effect.
func (d *decoder) checkKeywords(n *node) {
	k := keywordChecker{d: d, words: schemaKeywords(n.get("$schema") != nil), formats: strings.Fields(schemaFormats)}
	k.schema(n)
}

type keywordChecker struct {
	d       *decoder
	words   map[string]keywordKind
	formats []string
}

func (k *keywordChecker) schema(n *node) {
	for _, item := range n.items {
		k.schema(item)
	}
	for _, e := range n.entries {
		kind, known := k.words[e.key]
		switch {
		case strings.HasPrefix(e.key, "x-"):
		case !known:
			k.d.add(e.at, k.d.suggest.hint(e.key, k.names()), "input: unknown schema keyword %q", e.key)
		case kind == schemaKeyword:
			k.schema(e.value)
		case kind == schemasKeyword:
			for _, named := range e.value.entries {
				k.schema(named.value)
			}
		case e.key == "format":
			k.format(e.value)
		}
	}
}

func (k *keywordChecker) format(n *node) {
	if n.kind != kindText {
		return // the schema of schemas says so
	}
	if slices.Contains(k.formats, n.text) {
		return
	}
	k.d.add(n.at, k.d.suggest.hint(n.text, texts(k.formats)), "input: unknown format %q", n.text)
}

// names yields the keywords in one order: suggestions are the same from run to run.
func (k *keywordChecker) names() iter.Seq[string] {
	return slices.Values(slices.Sorted(maps.Keys(k.words)))
}
