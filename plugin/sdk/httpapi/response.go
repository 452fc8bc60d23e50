package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	derive "github.com/invopop/jsonschema"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Response is an answer that means success, read to its end. As JSON, which is how it is stored when a handler
// returns it, it is
//
//	{"status": 200, "headers": {"content-type": "application/json"}, "body": {...}}
//
// with the headers that [Options.StoredHeaders] names, in lower case. The body is JSON if it was; otherwise a text; if it is
// neither, it is base64 and there is "encoding": "base64". Without a body it is null.
type Response struct {
	// Status is the status, such as 200.
	Status int
	// Header are all headers.
	Header http.Header
	// Body is the body, decompressed. Empty = none.
	Body []byte

	stored []string // canonical names of the headers that are stored
	what   string   // the request, for errors
}

// Decode decodes the body, which must be JSON. An answer that does not fit is no answer: another attempt may get a better
// one. The error has the code [CodeInvalidResponse].
func (r Response) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return invalid(fmt.Errorf("%s: the answer is no JSON that fits: %w", r.what, err))
	}
	return nil
}

// document is how a Response is stored.
type document struct {
	Status   int               `json:"status"`
	Headers  map[string]string `json:"headers"`
	Body     any               `json:"body"`
	Encoding string            `json:"encoding,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (r Response) MarshalJSON() ([]byte, error) {
	d := document{Status: r.Status, Headers: make(map[string]string)}
	for _, name := range r.stored {
		if values := r.Header.Values(name); len(values) > 0 {
			d.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	switch {
	case len(r.Body) == 0: // null
	case r.isJSON():
		d.Body = json.RawMessage(r.Body)
	case utf8.Valid(r.Body):
		d.Body = string(r.Body)
	default:
		d.Body, d.Encoding = base64.StdEncoding.EncodeToString(r.Body), "base64"
	}
	return encode(d)
}

// JSONSchema describes what is stored.
func (Response) JSONSchema() *derive.Schema {
	properties := derive.NewProperties()
	properties.Set("status", &derive.Schema{Type: "integer", Description: "The status, such as 200."})
	properties.Set("headers", &derive.Schema{
		Type: "object", AdditionalProperties: &derive.Schema{Type: "string"},
		Description: "Some of the headers, by their names in lower case.",
	})
	properties.Set("body", &derive.Schema{Description: "The body: JSON, a text, or null."})
	properties.Set("encoding", &derive.Schema{Type: "string", Enum: []any{"base64"}, Description: "How a body is encoded that is neither JSON nor a text."})
	return &derive.Schema{Type: "object", Properties: properties, Required: []string{"status", "headers", "body"}}
}

// isJSON reports whether the body says that it is JSON, or does not say what it is and looks like JSON.
func (r Response) isJSON() bool {
	kind := r.Header.Get("Content-Type")
	return saysJSON(kind) || kind == "" && json.Valid(r.Body)
}

// saysJSON reports whether a media type is that of JSON.
func saysJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

// check refuses an answer that is not what it says.
func (r Response) check(compressed string) error {
	switch {
	case compressed != "" && !strings.EqualFold(compressed, "identity"):
		return invalid(fmt.Errorf("%s: the answer is compressed with %.40q, which was not asked for", r.what, compressed))
	case len(r.Body) > 0 && saysJSON(r.Header.Get("Content-Type")) && !json.Valid(r.Body):
		return invalid(fmt.Errorf("%s: the answer says that it is JSON, and is not", r.what))
	}
	return nil
}

func invalid(err error) error {
	return &sdk.Error{Err: err, Verdict: sdk.Retryable, Code: CodeInvalidResponse, Source: sdk.FromDownstream}
}

// encode marshals a document without escaping what only HTML needs escaped.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// API is a [Client] with a ProcessResults that stores the decoded body of an answer, as T. Embed it in a handler:
//
//	type charge struct{ httpapi.API[Receipt] }
//
//	func (c charge) Process(ctx context.Context, in Order) (*httpapi.Response, error) {
//		return c.Post(ctx, "/charges", in)
//	}
type API[T any] struct{ *Client }

// ProcessResults decodes the body, as [Response.Decode] does.
func (API[T]) ProcessResults(_ context.Context, r *Response) (T, error) {
	var out T
	err := r.Decode(&out)
	return out, err
}
