package secrets

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// Hidden stands for a secret.
const Hidden = "***"

// Redactor hides secrets. Nil hides nothing.
type Redactor struct {
	text, data *replacer
}

// NewRedactor returns what hides secrets, nil when there are none: those found are hidden in texts and in data, those
// of the second kind in texts only.
func NewRedactor(found, inTexts []string) *Redactor {
	r := &Redactor{text: newReplacer(minText, slices.Concat(found, inTexts)), data: newReplacer(minData, found)}
	if r.text == nil {
		return nil // what is long enough for data is so for texts
	}
	return r
}

// Marked returns the secrets that stand in a configuration itself, where its JSON Schema says writeOnly. Texts at such a
// place are secrets like those found by [Resolve]. Texts further down are those of a map or list that is marked as a whole,
// such as headers, where most are none: they are to be hidden in texts only.
func Marked(config, schema json.RawMessage) (found, inTexts []string) {
	for _, v := range recording.Marked(config, schema) {
		if s, ok := v.(string); ok {
			found = append(found, s)
			continue
		}
		inTexts = append(inTexts, Texts(v)...)
	}
	return found, inTexts
}

// Texts returns the texts in a JSON value, which is what [json.Unmarshal] makes.
func Texts(v any) (texts []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, inner := range v {
			texts = append(texts, Texts(inner)...)
		}
	case map[string]any:
		for _, inner := range v {
			texts = append(texts, Texts(inner)...)
		}
	}
	return texts
}

// Text returns a text for people without the secrets.
func (r *Redactor) Text(s string) string {
	if r == nil {
		return s
	}
	return r.text.replace(s)
}

// JSON returns a document for people without the secrets: it stays one.
func (r *Redactor) JSON(doc json.RawMessage) json.RawMessage {
	if r == nil {
		return doc
	}
	return r.text.document(doc)
}

// Data returns a document that programs work on without the secrets: it stays one. Numbers stay as they are.
func (r *Redactor) Data(doc []byte) []byte {
	if r == nil {
		return doc
	}
	return r.data.document(doc)
}

// Word returns a word that programs work on, such as an error's code, without the secrets.
func (r *Redactor) Word(s string) string {
	if r == nil {
		return s
	}
	return r.data.replace(s)
}

// Finds reports whether a secret that is hidden in texts is among bytes.
func (r *Redactor) Finds(raw []byte) bool { return r != nil && r.text.within(raw) }

// Error returns an error whose text is without the secrets; nil stays nil.
func (r *Redactor) Error(err error) error {
	if err == nil || r == nil || r.Text(err.Error()) == err.Error() {
		return err
	}
	return &redacted{text: r.Text(err.Error()), err: err}
}

type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

// document replaces in the texts of a JSON document, however they are escaped, and nowhere else: what is 1234 is not to
// become 1***. It is on the path of every result of a plugin with secrets, so one without any costs a search.
func (r *replacer) document(doc []byte) []byte {
	if r == nil || !bytes.ContainsRune(doc, '\\') && !r.within(doc) {
		return doc
	}
	var out []byte // nil = nothing was replaced yet
	done := 0      // what of doc is in out
	for at := bytes.IndexByte(doc, '"'); at >= 0; {
		end := literalEnd(doc, at)
		if with, ok := r.literal(doc[at:end]); ok {
			out = append(append(out, doc[done:at]...), with...)
			done = end
		}
		next := bytes.IndexByte(doc[end:], '"')
		if next < 0 {
			break
		}
		at = end + next
	}
	if out == nil {
		return doc
	}
	return append(out, doc[done:]...)
}

// literal returns what takes the place of a text, in quotes, when it holds a secret.
func (r *replacer) literal(quoted []byte) ([]byte, bool) {
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil, false // no JSON: whoever asked finds out
	}
	with := r.replace(s)
	if with == s {
		return nil, false
	}
	raw, err := json.Marshal(with)
	return raw, err == nil
}

// literalEnd returns where the text ends that begins with the quote at a place.
func literalEnd(doc []byte, at int) int {
	for i := at + 1; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(doc)
}
