package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

const version = "1.0.0"

// Codes of the failures, beside those of httpapi.
const (
	codeReference = "unresolved_reference" // permanent: a reference leads nowhere
	codePages     = "too_many_pages"       // permanent: there are more pages than the step allows
)

// plugin is the plugin.
func plugin() sdk.Plugin {
	s := &services{}
	return sdk.Plugin{
		Name:        "http",
		Version:     version,
		Title:       "Calls HTTP APIs as steps.",
		Description: "A step's config says what to ask for and what to keep of the answer; services and their credentials are in the plugin's configuration.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      s,
		Permissions: sdk.Permissions{Network: sdk.NetworkAny, FSRead: []string{"config:/services/*/tls/ca_file", "config:/services/*/tls/cert_file", "config:/services/*/tls/key_file"}, Env: []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}},
		Handlers: sdk.Handlers{
			"request": sdk.Func(s.request, sdk.Options{
				Description: "Sends a request; the answer, or what is extracted from it, is the result.",
				Config:      config{},
				ErrorCodes: []string{
					codeReference, codePages, httpapi.CodeNetwork, httpapi.CodeTLS, httpapi.CodeTimeout, httpapi.CodeCircuitOpen, httpapi.CodeRateLimited,
					httpapi.CodeInvalidRequest, httpapi.CodeRequestTooLarge, httpapi.CodeTooLarge, httpapi.CodeInvalidResponse,
				},
			}),
		},
	}
}

// services is the plugin's configuration, and what is made of it.
type services struct {
	Services map[string]settings `json:"services,omitempty" jsonschema_description:"APIs, by the names that steps use. Default none."`

	served map[string]*service
	open   *service // for URLs of no service
}

var (
	_ sdk.Checker = (*services)(nil)
	_ io.Closer   = (*services)(nil)
)

// Check makes the clients, and refuses what the schema cannot.
func (s *services) Check(context.Context) error {
	s.served = make(map[string]*service, len(s.Services))
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		one, err := s.Services[name].service()
		if err != nil {
			return fmt.Errorf("/services/%s%w", name, err)
		}
		s.served[name] = one
	}
	client, err := httpapi.New(httpapi.Options{Header: userAgent()})
	if err != nil {
		return err
	}
	s.open = &service{client: client}
	return nil
}

// Close gives up the connections.
func (s *services) Close() error {
	var errs []error
	for _, one := range s.served {
		errs = append(errs, one.client.Close())
	}
	if s.open != nil {
		errs = append(errs, s.open.client.Close())
	}
	return errors.Join(errs...)
}

func userAgent() http.Header { return http.Header{"User-Agent": {"tasker-plugin-http/" + version}} }

// of returns the service that a step names.
func (s *services) of(name string) (*service, error) {
	if name == "" {
		return s.open, nil
	}
	one, ok := s.served[name]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(s.served)), ", ")
		return nil, misconfigured(fmt.Errorf("the plugin's configuration has no service %q, only [%s]", name, known))
	}
	return one, nil
}

func misconfigured(err error) error {
	return sdk.Permanent(sdk.WithCode(err, sdk.CodeInvalidConfig))
}

// request carries out a step.
func (s *services) request(ctx context.Context, input json.RawMessage) (any, error) {
	c, err := sdk.Config[config](ctx)
	if err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, misconfigured(err)
	}
	to, err := s.of(c.Service)
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, to, values{ctx: ctx, input: input})
	if err != nil {
		return nil, err
	}
	got, err := to.fetch(req, &c)
	if err != nil {
		return nil, err
	}
	return c.Extract.from(got)
}

// request makes the request that a config asks for.
func (c *config) request(ctx context.Context, to *service, v values) (*http.Request, error) {
	path, err := c.path(v)
	if err != nil {
		return nil, err
	}
	query, err := v.query("/query", c.Query)
	if err != nil {
		return nil, err
	}
	body, err := c.body(v)
	if err != nil {
		return nil, err
	}
	req, err := to.client.Request(ctx, c.method(), path, body)
	if err != nil {
		return nil, err
	}
	if len(query) > 0 {
		req.URL.RawQuery = strings.Trim(req.URL.RawQuery+"&"+query.Encode(), "&")
	}
	if c.Encoding == encodeText {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value, err := v.text("/headers/"+name, c.Headers[name])
		switch {
		case err != nil:
			return nil, err
		case strings.ContainsAny(value, "\r\n\x00"):
			return nil, unresolved(fmt.Errorf("/headers/%s: the value has more than one line", name))
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// path makes the URL, relative to the service's: what url says, and below it the segments of path.
func (c *config) path(v values) (string, error) {
	if len(c.Path) == 0 {
		return c.URL, nil
	}
	segments := make([]string, len(c.Path))
	for i, ref := range c.Path {
		place := fmt.Sprintf("/path/%d", i)
		text, err := v.text(place, ref)
		if err != nil {
			return "", err
		}
		if text == "" || text == "." || text == ".." {
			return "", unresolved(fmt.Errorf("%s: %q is no segment of a path", place, text))
		}
		segments[i] = text
	}
	base, query, _ := strings.Cut(c.URL, "?")
	path := strings.TrimSuffix(base, "/") + httpapi.Path(segments...)
	if query != "" {
		path += "?" + query
	}
	return path, nil
}

// body makes the body, in a form that the client sends as it is.
func (c *config) body(v values) (any, error) {
	if len(c.Body) == 0 {
		return nil, nil
	}
	if c.Encoding == encodeForm {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(c.Body, &fields); err != nil {
			return nil, misconfigured(errors.New("/body: with encoding: form it is an object"))
		}
		form, err := v.query("/body", fields)
		if err != nil {
			return nil, err
		}
		return form, nil
	}
	value, err := v.resolve("/body", c.Body)
	if err != nil {
		return nil, err
	}
	if c.Encoding != encodeText {
		doc, err := json.Marshal(value)
		return json.RawMessage(doc), err
	}
	text, err := scalar("/body", value)
	return []byte(text), err
}
