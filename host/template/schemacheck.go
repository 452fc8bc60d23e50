package template

import (
	"errors"
	"iter"
	"maps"
	"net/url"
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
	var invalid *jsonschema.SchemaValidationError
	var fields *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &fields) {
		d.schemaViolations(n, fields, message.NewPrinter(language.English))
		return
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
	d.add(n.find(v.InstanceLocation).at, "", "input: no JSON Schema: %s at %q", words(v, p), pointer(v.InstanceLocation))
}

// schemaError finds the place and the words for the errors that are not about fields.
func schemaError(n *node, err error) (pos, string) {
	var regex *jsonschema.InvalidRegexError
	var load *jsonschema.LoadURLError
	var scheme *jsonschema.UnsupportedURLSchemeError
	var missing *jsonschema.JSONPointerNotFoundError
	var anchor *jsonschema.AnchorNotFoundError
	switch {
	case errors.As(err, &regex):
		return n.find(fragment(regex.URL)).at, "the pattern " + regex.Regex + " is no regular expression (RE2): " + regex.Err.Error()
	case errors.As(err, &load), errors.As(err, &scheme):
		return refAt(n, func(ref string) bool { return !strings.HasPrefix(ref, "#") }), errFetch.Error()
	case errors.As(err, &missing):
		_, frag, _ := strings.Cut(missing.URL, "#")
		ref := "#" + frag
		return refAt(n, func(r string) bool { return r == ref }), "$ref " + ref + " leads nowhere"
	case errors.As(err, &anchor):
		_, frag, _ := strings.Cut(anchor.Reference, "#")
		ref := "#" + frag
		return refAt(n, func(r string) bool { return r == ref }), "$ref " + ref + " leads nowhere"
	}
	return n.at, "no JSON Schema: " + strings.ReplaceAll(err.Error(), inputURL, "")
}

// fragment splits the JSON pointer in a URL's fragment.
func fragment(u string) []string {
	_, frag, _ := strings.Cut(u, "#")
	if plain, err := url.PathUnescape(frag); err == nil {
		frag = plain
	}
	if frag == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(frag, "/"), "/")
	for i, p := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
	}
	return parts
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
