package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	derive "github.com/invopop/jsonschema"
)

// The encodings of a body.
const (
	encodeJSON = "json"
	encodeForm = "form"
	encodeText = "text"
)

// config is the step's config. What may be a reference is any JSON in the schema; see [values].
type config struct {
	Service  string                     `json:"service,omitempty"  jsonschema_description:"The name of a service in the plugin's configuration, which says where it is and how to log in. Default none: url is a whole URL, and there are no credentials."`
	Method   string                     `json:"method,omitempty"   jsonschema:"enum=GET,enum=HEAD,enum=POST,enum=PUT,enum=PATCH,enum=DELETE" jsonschema_description:"Default GET."`
	URL      string                     `json:"url,omitempty"      jsonschema_description:"The URL; of a service, the path below its URL. It is taken as it is: nothing is replaced in it."`
	Path     []json.RawMessage          `json:"path,omitempty"     jsonschema_description:"Segments below url, each escaped: a text, a number, or a reference to one."`
	Query    map[string]json.RawMessage `json:"query,omitempty"    jsonschema_description:"Values of the query: texts, numbers, booleans, lists of these, or references to them; null leaves one out."`
	Headers  map[string]json.RawMessage `json:"headers,omitempty"  jsonschema_description:"Further headers: texts, numbers, or references to them. Credentials belong into the plugin's configuration."`
	Body     json.RawMessage            `json:"body,omitempty"     jsonschema_description:"The body: any JSON, with references anywhere in it. Default none."`
	Encoding string                     `json:"encoding,omitempty" jsonschema:"enum=json,enum=form,enum=text" jsonschema_description:"How the body is sent. Default json."`
	Expect   []int                      `json:"expect,omitempty"   jsonschema_description:"The statuses that mean success. Default 200 to 226."`
	Extract  extraction                 `json:"extract,omitzero"  jsonschema_description:"What of the answer is stored: a JSON pointer into {status, headers, body}, or an object of them. Default all of it."`
	Pages    *paging                    `json:"pages,omitempty"    jsonschema_description:"The answer is one page of several, which are all fetched."`
}

// paging says how the pages of an answer hang together.
type paging struct {
	Items string `json:"items"           jsonschema_description:"A JSON pointer to the list of items in each answer; the body of the result is the list of all."`
	Next  string `json:"next,omitempty"  jsonschema_description:"A JSON pointer to the URL of the next page; null, empty or missing on the last one. Default the header Link with rel=next."`
	Limit int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"The most pages; more fail the step. Default 100."`
}

const defaultPages = 100

func (c *config) method() string { return cmp.Or(c.Method, http.MethodGet) }

// validate refuses what the schema cannot.
func (c *config) validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return errors.New("/url: this is no URL")
	case c.Service != "" && (u.IsAbs() || u.Host != ""):
		return errors.New("/url: with a service it is a path below the service's URL, so that credentials go nowhere else")
	case c.Service == "" && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https"):
		return errors.New("/url: without a service it is an http or https URL with a host")
	case u.User != nil:
		return errors.New("/url: credentials belong into the plugin's configuration")
	case u.Fragment != "":
		return errors.New("/url: a fragment is not sent to anybody")
	case len(c.Body) > 0 && (c.method() == http.MethodGet || c.method() == http.MethodHead):
		return fmt.Errorf("/body: %s has none", c.method())
	case c.Pages != nil && c.method() != http.MethodGet:
		return errors.New("/pages: only GET has pages")
	}
	for name := range c.Headers {
		if !isToken(name) {
			return fmt.Errorf("/headers: %q is no name of a header", name)
		}
	}
	if c.Pages != nil {
		return errors.Join(checkPointer("/pages/items", c.Pages.Items), checkPointer("/pages/next", c.Pages.Next))
	}
	return nil
}

// isToken reports whether a text can be the name of a header.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// extraction says what of an answer is stored. The zero value is all of it.
type extraction struct {
	asked bool
	one   string            // a pointer; counts when many is nil
	many  map[string]string // pointers by the keys of the result
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *extraction) UnmarshalJSON(doc []byte) error {
	e.asked, e.one, e.many = true, "", nil
	if bytes.HasPrefix(bytes.TrimSpace(doc), []byte{'"'}) {
		if err := json.Unmarshal(doc, &e.one); err != nil {
			return err
		}
		return checkPointer("/extract", e.one)
	}
	if err := json.Unmarshal(doc, &e.many); err != nil {
		return errors.New("/extract: want a JSON pointer or an object of them")
	}
	for key, pointer := range e.many {
		if err := checkPointer("/extract/"+key, pointer); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (e extraction) MarshalJSON() ([]byte, error) {
	if e.many == nil {
		return json.Marshal(e.one)
	}
	return json.Marshal(e.many)
}

// JSONSchema describes both forms.
func (extraction) JSONSchema() *derive.Schema {
	pointer := func() *derive.Schema { return &derive.Schema{Type: "string", Pattern: "^(/.*)?$"} }
	return &derive.Schema{OneOf: []*derive.Schema{pointer(), {Type: "object", AdditionalProperties: pointer()}}}
}

// from takes what is asked for out of an answer.
func (e extraction) from(doc any) (any, error) {
	switch {
	case !e.asked:
		return doc, nil
	case e.many == nil:
		return extract(doc, e.one)
	}
	out := make(map[string]any, len(e.many))
	for key, pointer := range e.many {
		value, err := extract(doc, pointer)
		if err != nil {
			return nil, err
		}
		out[key] = value
	}
	return out, nil
}
