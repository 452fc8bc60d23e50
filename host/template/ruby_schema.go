package template

import (
	"slices"
	"strings"
)

// oldDraft is the draft of JSON Schema that Ruby Tasker reads schemas by.
const oldDraft = "http://json-schema.org/draft-04/schema#"

// schema carries over the schema of a task's context. Nil when it cannot be carried
// over.
func (im *importer) schema(n *node) *node {
	d := &decoder{file: im.file, suggest: suggester{budget: suggestBudget}}
	clean := im.cleanSchema(n, schemaKeywords(true))
	d.checkSchema(clean)
	if len(d.found) == 0 {
		return clean
	}
	first := d.found
	d.found = nil
	old := &node{kind: kindMap, at: clean.at, entries: []entry{{key: "$schema", value: textNode(oldDraft)}}}
	old.entries = append(old.entries, clean.without("$schema").entries...)
	d.checkSchema(old.seal())
	if len(d.found) == 0 {
		im.warn(n.at, "schema is read by draft 4 of JSON Schema, as in Ruby Tasker: %s", plainSchemaMessage(first[0]))
		return old
	}
	for _, bad := range first.sorted() {
		im.warn(pos{bad.Line, bad.Column}, "schema is left out: %s", plainSchemaMessage(bad))
	}
	return nil
}

// cleanSchema takes out what the validator of Ruby Tasker ignores and Tasker refuses.
func (im *importer) cleanSchema(n *node, words map[string]keywordKind) *node {
	switch n.kind {
	case kindList:
		list := &node{kind: kindList, at: n.at}
		for _, item := range n.items {
			list.items = append(list.items, im.cleanSchema(item, words))
		}
		return list.seal()
	case kindMap:
	default:
		return n
	}
	out := &node{kind: kindMap, at: n.at}
	for _, e := range n.entries {
		kind, known := words[e.key]
		switch {
		case !known && !strings.HasPrefix(e.key, "x-"):
			im.warn(e.at, "schema: %q is no keyword of JSON Schema: it is now %q, which says nothing", e.key, "x-"+e.key)
			e.key = "x-" + e.key
		case kind == schemaKeyword:
			e.value = im.cleanSchema(e.value, words)
		case kind == schemasKeyword && e.value.kind == kindMap:
			named := &node{kind: kindMap, at: e.value.at}
			for _, s := range e.value.entries {
				s.value = im.cleanSchema(s.value, words)
				named.entries = append(named.entries, s)
			}
			e.value = named.seal()
		case e.key == "format" && e.value.kind == kindText && !slices.Contains(strings.Fields(schemaFormats), e.value.text):
			im.warn(e.value.at, "schema: format %q is unknown: it is now x-format, which says nothing", e.value.text)
			e.key = "x-format"
		}
		out.entries = append(out.entries, e)
	}
	return out.seal()
}

// plainSchemaMessage is what is wrong with a schema, without the key that it has here.
func plainSchemaMessage(d Diagnostic) string { return strings.TrimPrefix(d.Message, "input: ") }
