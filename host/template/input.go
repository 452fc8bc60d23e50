package template

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	schemakind "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tasker-engine/tasker/host/task"
)

// inputURL is the name under which an input schema is compiled; it is never fetched.
const inputURL = "tasker:///input"

// errFetch refuses references to schemas outside the template.
var errFetch = errors.New("a schema cannot refer to another document")

// noLoader keeps the schema compiler from reading files and the network.
type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errFetch }

// Violation is one way in which an input breaks the template's schema.
type Violation struct {
	Pointer string `json:"pointer"` // JSON pointer into the input; "" is the whole input
	Message string `json:"message"`
}

// InputError lists everything that is wrong with an input. It wraps [task.ErrInvalid].
type InputError struct {
	Template   task.TemplateRef
	Violations []Violation
}

// Error returns a head line and one line per violation: "  /items/0/count: message".
func (e *InputError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the input does not fit template %s:", e.Template)
	for _, v := range e.Violations {
		where := v.Pointer
		if where == "" {
			where = "(input)"
		}
		fmt.Fprintf(&b, "\n  %s: %s", where, v.Message)
	}
	return b.String()
}

// Unwrap returns [task.ErrInvalid].
func (e *InputError) Unwrap() error { return task.ErrInvalid }

// ValidateInput checks one JSON document against the template's schema. The error is an
// [*InputError] with every violation. No input at all is checked as an empty object.
// The input is not modified: `default` in a schema is documentation.
func (t *Template) ValidateInput(input []byte) error {
	if len(bytes.TrimSpace(input)) == 0 {
		input = []byte("{}")
	}
	schema, err := t.schema()
	if err == nil && schema == nil && json.Valid(input) {
		return nil
	}
	doc, broken := jsonschema.UnmarshalJSON(bytes.NewReader(input))
	if broken != nil {
		return &InputError{Template: t.Ref(), Violations: []Violation{{Message: "not JSON: " + broken.Error()}}}
	}
	if err != nil {
		return fmt.Errorf("template %s: input schema: %w", t.Ref(), err)
	}
	if schema == nil {
		return nil
	}
	err = schema.Validate(doc)
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("template %s: input: %w: %w", t.Ref(), task.ErrInvalid, err)
	}
	e := &InputError{Template: t.Ref()}
	e.collect(invalid, message.NewPrinter(language.English))
	slices.SortFunc(e.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Message, b.Message))
	})
	return e
}

// collect adds the violations at the leaves of v; a branch of anyOf or oneOf is one
// violation, because which alternative was meant is unknown.
func (e *InputError) collect(v *jsonschema.ValidationError, p *message.Printer) {
	switch v.ErrorKind.(type) {
	case *schemakind.AnyOf, *schemakind.OneOf, *schemakind.Contains:
	default:
		if len(v.Causes) > 0 {
			for _, cause := range v.Causes {
				e.collect(cause, p)
			}
			return
		}
	}
	e.Violations = append(e.Violations, Violation{Pointer: pointer(v.InstanceLocation), Message: words(v, p)})
}

// words says what one violation is; of alternatives, why none of them fits.
func words(v *jsonschema.ValidationError, p *message.Printer) string {
	if len(v.Causes) == 0 {
		return v.ErrorKind.LocalizedString(p)
	}
	reasons := make([]string, len(v.Causes))
	for i, cause := range v.Causes {
		reasons[i] = alternative(cause, p)
	}
	return "fits no alternative: " + strings.Join(slices.Compact(reasons), " | ")
}

// alternative says in one phrase why one branch of anyOf or oneOf did not fit.
func alternative(v *jsonschema.ValidationError, p *message.Printer) string {
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	return v.ErrorKind.LocalizedString(p)
}

// pointer writes a path as a JSON pointer (RFC 6901).
func pointer(path []string) string {
	var b strings.Builder
	for _, part := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
	}
	return b.String()
}

// lazySchema returns a function that compiles the schema at its first call.
func lazySchema(src []byte) func() (*jsonschema.Schema, error) {
	return sync.OnceValues(func() (*jsonschema.Schema, error) { return compileSchema(src) })
}

// compileSchema compiles src; no source is no schema. Formats such as "email" are
// asserted: a keyword that changes nothing would be a trap.
func compileSchema(src []byte) (*jsonschema.Schema, error) {
	if len(src) == 0 {
		return nil, nil //nolint:nilnil // no schema is a value here: anything goes
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource(inputURL, doc); err != nil {
		return nil, fmt.Errorf("add schema: %w", err)
	}
	schema, err := c.Compile(inputURL)
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return schema, nil
}
