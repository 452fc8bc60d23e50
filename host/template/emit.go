package template

import (
	"encoding/json"
	"regexp"
	"strings"
)

// textNode makes a node of a text.
func textNode(s string) *node { return (&node{kind: kindText, text: s}).seal() }

// numberNode makes a node of a JSON number.
func numberNode(s string) *node { return (&node{kind: kindNumber, text: s}).seal() }

// boolNode makes a node of true or false.
func boolNode(b bool) *node {
	n := &node{kind: kindBool, text: "false"}
	if b {
		n.text = "true"
	}
	return n.seal()
}

// put sets a key of the map n, behind those that it has.
func (n *node) put(key string, value *node) {
	for i := range n.entries {
		if n.entries[i].key == key {
			n.entries[i].value = value
			return
		}
	}
	n.entries = append(n.entries, entry{key: key, value: value})
}

// writeYAML writes a map as a block: keys in their order, lists of maps as items, what
// is short and flat on one line. What it writes reads back as the same values.
func writeYAML(b *strings.Builder, n *node, indent string) {
	for _, e := range n.entries {
		b.WriteString(indent + yamlText(e.key) + ":")
		writeValue(b, e.value, indent+"  ")
	}
}

// writeValue writes a value behind its key, with the end of the line.
func writeValue(b *strings.Builder, n *node, indent string) {
	switch {
	case n.isNull():
		b.WriteString("\n")
	case n.kind == kindMap && len(n.entries) > 0:
		b.WriteString("\n")
		writeYAML(b, n, indent)
	case n.kind == kindList && !flat(n):
		b.WriteString("\n")
		for _, item := range n.items {
			writeItem(b, item, indent)
		}
	default:
		b.WriteString(" " + inline(n) + "\n")
	}
}

// writeItem writes an item of a list.
func writeItem(b *strings.Builder, n *node, indent string) {
	if n.kind != kindMap || len(n.entries) == 0 {
		b.WriteString(indent + "- " + inline(n) + "\n")
		return
	}
	var item strings.Builder
	writeYAML(&item, n, indent+"  ")
	b.WriteString(indent + "- " + strings.TrimPrefix(item.String(), indent+"  "))
}

// flat reports whether a list fits on one line.
func flat(n *node) bool {
	const most = 100 // characters
	for _, item := range n.items {
		if item.kind == kindMap || item.kind == kindList {
			return false
		}
	}
	return len(inline(n)) <= most
}

// inline returns a value on one line.
func inline(n *node) string {
	switch n.kind {
	case kindText:
		return yamlText(n.text)
	case kindList:
		items := make([]string, len(n.items))
		for i, item := range n.items {
			items[i] = inline(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case kindMap:
		entries := make([]string, len(n.entries))
		for i, e := range n.entries {
			entries[i] = yamlText(e.key) + ": " + inline(e.value)
		}
		return "{" + strings.Join(entries, ", ") + "}"
	case kindNull:
		return "null"
	default:
		return n.text
	}
}

// plainText is what needs no quotes anywhere: it begins with a letter, and has nothing
// that means something in YAML; or it is a version or a duration.
const plainText = `^[A-Za-z][A-Za-z0-9_./@-]*( [A-Za-z0-9_./@-]+)*$|^[0-9]+\.[0-9]+\.[0-9]+$|^([0-9.]+(h|m|s|ms|us|ns))+$`

// yamlText writes a text so that it is read as one.
func yamlText(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
	default:
		if regexp.MustCompile(plainText).MatchString(s) {
			return s
		}
	}
	var quoted strings.Builder
	enc := json.NewEncoder(&quoted) // every JSON text is a YAML text
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil { // a text always can be
		return `""`
	}
	return strings.TrimSpace(quoted.String())
}
