package template

import (
	"encoding/json"
	"slices"
)

// kind is what a value of a file is, in JSON's terms.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindText
	kindList
	kindMap
)

// String returns the word that diagnostics use.
func (k kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "text", "a list", "a map"}[k]
}

// pos is a place in the file; both count from 1.
type pos struct{ line, column int }

// node is one value of a file. It is immutable: aliases and merged environments share
// nodes, so each keeps the place where it was really written.
type node struct {
	kind    kind
	at      pos
	text    string  // of text; a JSON literal for numbers; "true" or "false"
	items   []*node // of a list
	entries []entry // of a map, in the order of the file, keys unique

	// What aliases can expand to, of the tree below with itself: the number of its
	// values, the bytes of its texts and keys, and its levels.
	size   int
	bytes  int
	height int
}

// entry is one key of a map with its value.
type entry struct {
	key   string
	at    pos // of the key
	value *node
}

// seal computes size, bytes and height once the children are known.
func (n *node) seal() *node {
	n.size, n.bytes, n.height = 1, len(n.text), 1
	grow := func(c *node) {
		n.size += c.size
		n.bytes += c.bytes
		n.height = max(n.height, c.height+1)
	}
	for _, c := range n.items {
		grow(c)
	}
	for _, e := range n.entries {
		grow(e.value)
		n.bytes += len(e.key)
	}
	return n
}

// get returns the value of a key, nil when it is absent.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key {
			return n.entries[i].value
		}
	}
	return nil
}

// isNull reports whether n is absent or has no value.
func (n *node) isNull() bool { return n == nil || n.kind == kindNull }

// value returns n as encoding/json would decode it with UseNumber.
func (n *node) value() any {
	switch n.kind {
	case kindBool:
		return n.text == "true"
	case kindNumber:
		return json.Number(n.text)
	case kindText:
		return n.text
	case kindList:
		list := make([]any, len(n.items))
		for i, c := range n.items {
			list[i] = c.value()
		}
		return list
	case kindMap:
		m := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			m[e.key] = e.value.value()
		}
		return m
	default:
		return nil
	}
}

// json returns n as canonical JSON.
func (n *node) json() (json.RawMessage, error) { return marshal(n.value()) }

// find follows a JSON pointer, already split, as far as it leads.
func (n *node) find(path []string) *node {
	for _, part := range path {
		var next *node
		switch n.kind {
		case kindMap:
			next = n.get(part)
		case kindList:
			if i, ok := index(part, len(n.items)); ok {
				next = n.items[i]
			}
		default:
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// index parses part as an index below length.
func index(part string, length int) (int, bool) {
	i := 0
	for _, r := range part {
		if r < '0' || r > '9' || i >= length {
			return 0, false
		}
		i = i*10 + int(r-'0')
	}
	return i, part != "" && i < length
}

// merge lays over on top of base: maps are merged key by key, everything else is
// replaced. The order is that of base; new keys follow.
func merge(base, over *node) *node {
	if base.isNull() || over.isNull() || base.kind != kindMap || over.kind != kindMap {
		return over
	}
	m := &node{kind: kindMap, at: base.at, entries: slices.Clone(base.entries)}
	places := make(map[string]int, len(base.entries))
	for i, e := range base.entries {
		places[e.key] = i
	}
	for _, e := range over.entries {
		if i, ok := places[e.key]; ok {
			m.entries[i] = entry{key: e.key, at: e.at, value: merge(base.entries[i].value, e.value)}
			continue
		}
		m.entries = append(m.entries, e)
	}
	return m.seal()
}

// with returns a copy of the map n in which key has another value.
func (n *node) with(key string, value *node) *node {
	m := &node{kind: kindMap, at: n.at, entries: slices.Clone(n.entries)}
	for i := range m.entries {
		if m.entries[i].key == key {
			m.entries[i].value = value
		}
	}
	return m.seal()
}

// without returns a copy of the map n without the key.
func (n *node) without(key string) *node {
	m := &node{kind: kindMap, at: n.at, entries: slices.Clone(n.entries)}
	m.entries = slices.DeleteFunc(m.entries, func(e entry) bool { return e.key == key })
	return m.seal()
}
