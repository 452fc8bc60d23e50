package template

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// reader turns YAML into a tree of nodes.
type reader struct {
	file    string
	anchors map[string]*node
	size    int // values so far, aliases expanded
	bytes   int // of texts and keys so far, aliases expanded
	found   Diagnostics
	full    bool // a bound was hit: stop
}

// readTree reads the one document of a file. The tree is nil when the file is not YAML
// at all or over a bound; diagnostics may come with a tree.
func readTree(file string, src []byte) (*node, Diagnostics) {
	r := &reader{file: file, anchors: make(map[string]*node)}
	body := r.parse(src)
	if len(r.found) > 0 {
		return nil, r.found
	}
	if body == nil {
		r.add(pos{1, 1}, "the file is empty", "a template needs name, version and steps")
		return nil, r.found
	}
	n := r.node(body, 1)
	if r.full {
		return nil, r.found
	}
	return n, r.found
}

func (r *reader) add(at pos, message, hint string) {
	if len(r.found) < maxDiagnostics {
		r.found = append(r.found, diagnose(r.file, at, message, hint))
	}
}

// parse returns the body of the only document, nil when there is none.
func (r *reader) parse(src []byte) ast.Node {
	if len(src) > MaxFileSize {
		r.add(pos{}, fmt.Sprintf("the file is larger than %d bytes", MaxFileSize), "")
		return nil
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if at, ok := badText(src); !ok {
		r.add(at, "the file is not UTF-8 text", "")
		return nil
	}
	file, err := parseYAML(src)
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case body == nil:
			body = doc.Body
		default:
			r.add(place(doc.Body), "a second document in the file", "a file holds one template")
			return nil
		}
	}
	return body
}

// parseYAML checks the tokens and parses them. A panic of the YAML library is an error
// of the file: templates come from users, and one bad file must not stop a host.
func parseYAML(src []byte) (f *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	tokens := lexer.Tokenize(string(src))
	if bad := tokens.InvalidToken(); bad == nil {
		if d := scan(tokens); d != nil {
			return nil, *d
		}
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntax reports an error of the YAML parser at its token.
func (r *reader) syntax(err error) {
	if d, ok := errors.AsType[Diagnostic](err); ok {
		r.add(pos{d.Line, d.Column}, d.Message, d.Hint)
		return
	}
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil && ye.GetToken().Position != nil {
		p := ye.GetToken().Position
		message, hint := ye.GetMessage(), ""
		if strings.Contains(message, "\t") {
			message, hint = strings.ReplaceAll(message, "\t", `\t`), "indent with spaces, not with tabs"
		}
		r.add(pos{max(p.Line, 1), max(p.Column, 1)}, "not YAML: "+message, hint)
		return
	}
	r.add(pos{1, 1}, "not YAML: "+err.Error(), "")
}

// badText returns the place of the first byte that is not text.
func badText(src []byte) (pos, bool) {
	if utf8.Valid(src) && bytes.IndexByte(src, 0) < 0 {
		return pos{}, true
	}
	at := pos{1, 1}
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		if r == 0 || (r == utf8.RuneError && size == 1) {
			break
		}
		at.column++
		if r == '\n' {
			at = pos{at.line + 1, 1}
		}
		i += size
	}
	return at, false
}

// place returns where a value begins: for a block map that is its first key.
func place(n ast.Node) pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return place(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return place(n.Key)
	}
	tk := n.GetToken()
	if tk == nil || tk.Position == nil {
		return pos{1, 1}
	}
	return pos{max(tk.Position.Line, 1), max(tk.Position.Column, 1)}
}

// node converts one value and everything below it.
func (r *reader) node(n ast.Node, depth int) *node {
	out := r.convert(n, depth)
	r.size++
	r.bytes += len(out.text)
	for i := range out.entries {
		r.bytes += len(out.entries[i].key)
	}
	switch {
	case r.full:
	case depth+out.height-1 > MaxDepth:
		r.full = true
		r.add(place(n), fmt.Sprintf("nested more than %d levels deep", MaxDepth), "")
	case r.size > MaxValues:
		r.full = true
		r.add(place(n), fmt.Sprintf("more than %d values", MaxValues), "aliases count as often as they are used")
	case r.bytes > 2*MaxFileSize:
		r.full = true
		r.add(place(n), fmt.Sprintf("more than %d bytes of text", 2*MaxFileSize), "aliases count as often as they are used")
	}
	return out
}

func (r *reader) convert(n ast.Node, depth int) *node {
	at := place(n)
	if r.full {
		return (&node{at: at}).seal()
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return r.mapping(at, n.Values, depth)
	case *ast.MappingValueNode:
		return r.mapping(at, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		list := &node{kind: kindList, at: at, items: make([]*node, 0, len(n.Values))}
		for _, v := range n.Values {
			list.items = append(list.items, r.node(v, depth+1))
		}
		return list.seal()
	case *ast.AnchorNode:
		v := r.node(n.Value, depth)
		r.anchors[n.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		return r.alias(at, n)
	default:
		return r.scalar(at, n).seal()
	}
}

// alias shares the node of its anchor. An anchor is known only after its value, so a
// value cannot contain itself.
func (r *reader) alias(at pos, n *ast.AliasNode) *node {
	name := n.Value.GetToken().Value
	v, ok := r.anchors[name]
	if !ok {
		r.add(at, fmt.Sprintf("unknown anchor %q", name), "")
		return (&node{at: at}).seal()
	}
	r.size += v.size
	r.bytes += v.bytes
	return v
}

func (r *reader) scalar(at pos, n ast.Node) *node {
	switch n := n.(type) {
	case *ast.NullNode:
		return &node{kind: kindNull, at: at}
	case *ast.BoolNode:
		return &node{kind: kindBool, at: at, text: strconv.FormatBool(n.Value)}
	case *ast.IntegerNode:
		return r.number(at, n.GetToken().Value, fmt.Sprint(n.Value))
	case *ast.FloatNode:
		return r.number(at, n.GetToken().Value, strconv.FormatFloat(n.Value, 'g', -1, 64))
	case *ast.StringNode:
		tk := n.GetToken()
		// The parser takes 1e3 and whole numbers over 64 bits for text; JSON does not.
		if tk.Type == token.StringType && jsonNumber(n.Value) {
			return &node{kind: kindNumber, at: at, text: n.Value}
		}
		if tk.Type == token.StringType {
			r.leadingZero(at, n.Value)
		}
		return &node{kind: kindText, at: at, text: n.Value}
	case *ast.LiteralNode:
		return &node{kind: kindText, at: at, text: n.Value.Value}
	case *ast.InfinityNode, *ast.NanNode:
		r.add(at, "infinity and NaN are no JSON values", "")
		return &node{kind: kindNumber, at: at, text: "0"}
	default:
		r.add(at, "this kind of YAML value is not supported", "")
		return &node{kind: kindNull, at: at}
	}
}

// number converts a number that the parser read as value.
func (r *reader) number(at pos, text, value string) *node {
	switch signs := len(text) - len(strings.TrimLeft(text, "+-")); {
	case signs > 1: // the parser takes +-1 for a number
		return &node{kind: kindText, at: at, text: text}
	case jsonNumber(text):
		return &node{kind: kindNumber, at: at, text: text}
	}
	r.leadingZero(at, text)
	return &node{kind: kindNumber, at: at, text: value}
}

// leadingZero refuses numbers such as 0123, which one version of YAML reads as octal,
// the next as decimal, and a user may have meant as a postal code.
func (r *reader) leadingZero(at pos, text string) {
	plain := strings.TrimLeft(text, "+-")
	if len(plain) > 1 && plain[0] == '0' && digits(plain) == len(plain) {
		r.add(at, text+" has a leading zero: versions of YAML differ on what that means",
			fmt.Sprintf("write %q in quotes, or the number without the zero", text))
	}
}

// jsonNumber reports whether s is a number as JSON writes it.
func jsonNumber(s string) bool {
	rest := strings.TrimPrefix(s, "-")
	whole := digits(rest)
	if whole == 0 || (whole > 1 && rest[0] == '0') {
		return false
	}
	rest = rest[whole:]
	if strings.HasPrefix(rest, ".") {
		n := digits(rest[1:])
		if n == 0 {
			return false
		}
		rest = rest[1+n:]
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	rest = rest[1:]
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		rest = rest[1:]
	}
	n := digits(rest)
	return n > 0 && n == len(rest)
}

// digits counts the decimal digits at the start of s.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

// mapping converts a map: keys are taken as they are written, duplicates are reported,
// and "<<" merges maps below the keys that are written out.
func (r *reader) mapping(at pos, values []*ast.MappingValueNode, depth int) *node {
	m := &node{kind: kindMap, at: at, entries: make([]entry, 0, len(values))}
	seen := make(map[string]pos, len(values))
	var merged []*node
	for _, v := range values {
		value := r.node(v.Value, depth+1)
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			merged = append(merged, r.mergeKey(value)...)
			continue
		}
		key, ok := r.key(v.Key)
		if !ok {
			continue
		}
		where := place(v.Key)
		if first, twice := seen[key]; twice {
			r.add(where, fmt.Sprintf("key %q is there twice", key), fmt.Sprintf("the first one is at line %d", first.line))
			continue
		}
		seen[key] = where
		m.entries = append(m.entries, entry{key: key, at: where, value: value})
	}
	for _, from := range merged {
		for _, e := range from.entries {
			if _, ok := seen[e.key]; !ok {
				seen[e.key] = e.at
				m.entries = append(m.entries, e)
			}
		}
	}
	return m.seal()
}

// mergeKey returns the maps that a "<<" key names: one, or a list of which the first
// wins.
func (r *reader) mergeKey(value *node) []*node {
	maps := []*node{value}
	if value.kind == kindList {
		maps = value.items
	}
	for _, m := range maps {
		if m.kind != kindMap {
			r.add(m.at, fmt.Sprintf("<< merges maps, this is %s", m.kind), "")
			return nil
		}
	}
	return maps
}

// key returns the text of a map key; numbers and the like are taken as written.
func (r *reader) key(n ast.MapKeyNode) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	default:
		r.add(place(n), "a key must be plain text", "")
		return "", false
	}
}
