package template

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// maxDiagnostics is how many diagnostics one file may have before reading on is noise.
const maxDiagnostics = 1000

// tooMany is the message that ends a list that was cut.
const tooMany = "too many problems: the rest is not listed"

// MaxDuration is the longest time that a template may name.
const MaxDuration = task.MaxDuration

// key is one key of the format: how it is read, or why it is refused.
type key[T any] struct {
	name string
	read func(d *decoder, into *T, n *node) // nil = not yet supported
}

// decoder reads nodes into Go values and collects what is wrong with them.
type decoder struct {
	file    string
	source  string // of the file
	suggest suggester
	found   Diagnostics
	schemas map[*node]bool // input schemas that were checked already: environments share them

	compiled    map[*node]compiled // expressions, for the same reason
	expressions int
}

func (d *decoder) add(at pos, hint, format string, args ...any) {
	switch {
	case len(d.found) < maxDiagnostics:
		d.found = append(d.found, diagnose(d.file, at, fmt.Sprintf(format, args...), hint))
	case len(d.found) == maxDiagnostics:
		d.found = append(d.found, diagnose(d.file, pos{}, tooMany, ""))
	}
}

// object reads a map by its table of keys. A key without a value counts as not written,
// so that an environment can take a setting back. It reports whether n is a map.
func object[T any](d *decoder, what string, n *node, keys []key[T], into *T) bool {
	if n.kind != kindMap {
		d.add(n.at, "", "%s: want a map, got %s", what, n.kind)
		return false
	}
	for _, e := range n.entries {
		i := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == e.key })
		switch {
		case i < 0:
			names := func(yield func(string) bool) {
				for _, k := range keys {
					if k.read != nil && !yield(k.name) {
						return
					}
				}
			}
			d.add(e.at, d.suggest.hint(e.key, names), "unknown key %q in %s", e.key, what)
		case e.value.isNull():
		case keys[i].read == nil:
			d.add(e.at, "remove it", "%q is not yet supported", e.key)
		default:
			keys[i].read(d, into, e.value)
		}
	}
	return true
}

// want reports whether n is of kind k, with a diagnostic when it is not.
func (d *decoder) want(name string, n *node, k kind) bool {
	if n.kind == k {
		return true
	}
	hint := ""
	if k == kindText && n.kind == kindNumber {
		hint = fmt.Sprintf("write it in quotes: %q", n.text)
	}
	if k == kindBool && n.kind == kindText {
		hint = "write true or false, without quotes"
	}
	if k == kindList && n.kind == kindText {
		hint = fmt.Sprintf("write [%s]", n.text)
	}
	d.add(n.at, hint, "%s: want %s, got %s", name, k, n.kind)
	return false
}

// readText reads a text.
func (d *decoder) readText(name string, n *node, into *string) {
	if d.want(name, n, kindText) {
		*into = n.text
	}
}

// readBool reads true or false.
func (d *decoder) readBool(name string, n *node, into *bool) {
	if d.want(name, n, kindBool) {
		*into = n.text == "true"
	}
}

// readInt reads a whole number between low and high.
func (d *decoder) readInt(name string, n *node, low, high int64) (int64, bool) {
	if !d.want(name, n, kindNumber) {
		return 0, false
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || v < low || v > high {
		d.add(n.at, "", "%s: want a whole number from %d to %d, got %s", name, low, high, n.text)
		return 0, false
	}
	return v, true
}

// readFloat reads a number that is at least low.
func (d *decoder) readFloat(name string, n *node, low, high float64) (float64, bool) {
	if !d.want(name, n, kindNumber) {
		return 0, false
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || v < low || v > high {
		d.add(n.at, "", "%s: want a number from %v to %v, got %s", name, low, high, n.text)
		return 0, false
	}
	return v, true
}

// readWord reads one of a few words.
func readWord[T ~string](d *decoder, name string, n *node, into *T, words ...T) {
	if !d.want(name, n, kindText) {
		return
	}
	if slices.Contains(words, T(n.text)) {
		*into = T(n.text)
		return
	}
	d.add(n.at, d.suggest.hint(n.text, texts(words)), "%s: want %s, got %q", name, alternatives(words), n.text)
}

func texts[T ~string](words []T) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, w := range words {
			if !yield(string(w)) {
				return
			}
		}
	}
}

// alternatives prints "a, b or c".
func alternatives[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// noLimit is how a template says that there is explicitly no limit.
const noLimit = "none"

// readLimit reads a time limit: a positive duration, or none for 0.
func (d *decoder) readLimit(name string, n *node) (time.Duration, bool) {
	if n.kind == kindText && n.text == noLimit {
		return 0, true
	}
	v, ok := d.readDuration(name, n)
	if ok && v == 0 {
		d.add(n.at, "write none for no limit", "%s: a limit of 0", name)
		return 0, false
	}
	return v, ok
}

// readDuration reads a duration such as 1m30s, 0 or more.
func (d *decoder) readDuration(name string, n *node) (time.Duration, bool) {
	if n.kind == kindNumber {
		d.add(n.at, fmt.Sprintf("write %ss for seconds", n.text), "%s: %s has no unit", name, n.text)
		return 0, false
	}
	if !d.want(name, n, kindText) {
		return 0, false
	}
	v, err := time.ParseDuration(n.text)
	switch {
	case err != nil:
		d.add(n.at, "", "%s: %q is no duration: want a number with a unit such as 500ms, 10s, 5m or 1h30m", name, n.text)
	case v < 0:
		d.add(n.at, "", "%s: %s is negative", name, n.text)
	case v > MaxDuration:
		d.add(n.at, "", "%s: %s is longer than ten years", name, n.text)
	default:
		return v, true
	}
	return 0, false
}
