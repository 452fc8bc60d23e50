package template

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
	schemakind "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Document is a YAML file that is no template, read with the same care: see [ReadDocument].
type Document struct {
	file string
	root *node
}

// ReadDocument reads a YAML or JSON file within the bounds and rules of templates: one document of JSON values, no key
// twice, no number that versions of YAML read differently. The diagnostics say all that is wrong, nil when nothing is.
func ReadDocument(file string, src []byte) (*Document, Diagnostics) {
	r := &reader{file: file, anchors: make(map[string]*node)}
	body := r.parse(src)
	if body == nil && len(r.found) == 0 {
		r.add(pos{1, 1}, "the file is empty", "")
	}
	if len(r.found) > 0 {
		return nil, r.found
	}
	d := &Document{file: file, root: r.node(body, 1)}
	if len(r.found) > 0 {
		return nil, r.found.sorted()
	}
	return d, nil
}

// Decode decodes the document into v as encoding/json does. Check it against a schema first: the error has no place.
func (d *Document) Decode(v any) error {
	doc, err := d.root.json()
	if err == nil {
		err = json.Unmarshal(doc, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.file, err)
	}
	return nil
}

// Validate checks the document against a JSON Schema and returns all that is wrong, each at its place.
func (d *Document) Validate(schema []byte) (Diagnostics, error) {
	compiled, err := compileSchema(schema)
	if err != nil {
		return nil, err
	}
	src, err := d.root.json()
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	err = compiled.Validate(doc)
	if err == nil {
		return nil, nil
	}
	e := &violations{d: d, p: message.NewPrinter(language.English)}
	if invalid, ok := err.(*jsonschema.ValidationError); ok { //nolint:errorlint // Validate returns it bare
		e.collect(invalid)
		return e.found.sorted(), nil
	}
	return nil, err
}

// Diagnose says that something is wrong at a path of keys and indexes, as far as it leads.
func (d *Document) Diagnose(path []string, hint, format string, args ...any) Diagnostic {
	return diagnose(d.file, d.place(path), fmt.Sprintf(format, args...), hint)
}

// place is where the value at a path stands; for what a map lacks, the map.
func (d *Document) place(path []string) pos { return d.root.find(path).at }

// DiagnoseKey is [Document.Diagnose] for a key of the map at a path.
func (d *Document) DiagnoseKey(path []string, key, hint, format string, args ...any) Diagnostic {
	return diagnose(d.file, d.keyPlace(path, key), fmt.Sprintf(format, args...), hint)
}

// keyPlace is where a key of the map at a path stands.
func (d *Document) keyPlace(path []string, key string) pos {
	m := d.root.find(path)
	for _, e := range m.entries {
		if e.key == key {
			return e.at
		}
	}
	return m.at
}

// violations gathers what a schema does not let through.
type violations struct {
	d     *Document
	p     *message.Printer
	found Diagnostics
}

func (v *violations) collect(e *jsonschema.ValidationError) {
	switch k := e.ErrorKind.(type) {
	case *schemakind.AnyOf, *schemakind.OneOf, *schemakind.Contains:
	case *schemakind.AdditionalProperties:
		for _, name := range k.Properties {
			v.found = append(v.found, diagnose(v.d.file, v.d.keyPlace(e.InstanceLocation, name), fmt.Sprintf("unknown key %q", name), ""))
		}
		return
	default:
		if len(e.Causes) > 0 {
			for _, cause := range e.Causes {
				v.collect(cause)
			}
			return
		}
	}
	where := ""
	if at := pointer(e.InstanceLocation); at != "" {
		where = at[1:] + ": "
	}
	v.found = append(v.found, v.d.Diagnose(e.InstanceLocation, "", "%s%s", where, words(e, v.p)))
}
