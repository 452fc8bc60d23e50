package main

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

// settings is the configuration of a service: all that a template's author need not know.
type settings struct {
	URL           string            `json:"url"                       jsonschema_description:"What the URLs of steps are below, such as https://api.example.com/v1."`
	Headers       map[string]string `json:"headers,omitempty"         jsonschema_extras:"writeOnly=true" jsonschema_description:"Sent with each request, such as an API key."`
	Bearer        string            `json:"bearer,omitempty"          jsonschema:"writeOnly=true" jsonschema_description:"A token that requests log in with."`
	Basic         *basic            `json:"basic,omitempty"           jsonschema_description:"A name and a password that requests log in with."`
	OAuth2        *oauth            `json:"oauth2,omitempty"          jsonschema_description:"How to get tokens (client credentials) that requests log in with."`
	Timeout       sdk.Duration      `json:"timeout,omitempty"         jsonschema_description:"How long a request may take. Default as long as the attempt."`
	Rate          float64           `json:"rate,omitempty"            jsonschema:"minimum=0" jsonschema_description:"How many requests per second there may be; others wait. Default any number."`
	Burst         int               `json:"burst,omitempty"           jsonschema:"minimum=0" jsonschema_description:"How many requests may be made at once before rate counts. Default those of one second."`
	MaxConcurrent int               `json:"max_concurrent,omitempty"  jsonschema:"minimum=0" jsonschema_description:"How many connections there may be; further requests wait. Default any number."`
	Redirects     int               `json:"redirects,omitempty"       jsonschema:"minimum=0,maximum=20" jsonschema_description:"How many redirects a request follows, on the same host. Default none."`
	MaxRetryAfter sdk.Duration      `json:"max_retry_after,omitempty" jsonschema_description:"The longest wait that the service may ask for. Default 5m."`
	Breaker       breaker           `json:"breaker,omitzero"          jsonschema_description:"When a service that fails is left alone."`
	TLS           httpapi.TLS       `json:"tls,omitzero"              jsonschema_description:"Of https URLs."`
}

// basic is a login.
type basic struct {
	Username string `json:"username" jsonschema_description:"The name."`
	Password string `json:"password" jsonschema:"writeOnly=true" jsonschema_description:"The password."`
}

// oauth is how to get tokens.
type oauth struct {
	TokenURL     string              `json:"token_url"            jsonschema_description:"Where tokens are given out."`
	ClientID     string              `json:"client_id"            jsonschema_description:"The client's id."`
	ClientSecret string              `json:"client_secret"        jsonschema:"writeOnly=true" jsonschema_description:"The client's secret."`
	ClientAuth   string              `json:"client_auth,omitempty" jsonschema:"enum=header,enum=body" jsonschema_description:"Where id and secret are sent: as the header Authorization, or in the body. Default header."`
	Scopes       []string            `json:"scopes,omitempty"     jsonschema_description:"What the tokens are for. Default what the client may do."`
	Parameters   map[string][]string `json:"parameters,omitempty" jsonschema_description:"Further parameters of the request for a token, such as audience."`
}

// breaker is when a service is left alone.
type breaker struct {
	Failures int          `json:"failures,omitempty" jsonschema:"minimum=-1" jsonschema_description:"How many failures in a row it takes; -1 is never. Default 20."`
	Delay    sdk.Duration `json:"delay,omitempty"    jsonschema_description:"For how long; then one request tries it. Default 10s."`
}

// service is where requests go.
type service struct {
	client *httpapi.Client
	header string  // Authorization, when it is always the same; "" = none
	tokens *tokens // nil = none
}

// service makes the service. Its errors start with the place in the settings, and do not repeat secrets.
func (s settings) service() (*service, error) {
	header := userAgent()
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if !isToken(name) || strings.ContainsAny(s.Headers[name], "\r\n\x00") {
			return nil, fmt.Errorf("/headers: %q is no header", name)
		}
		header[textproto.CanonicalMIMEHeaderKey(name)] = []string{s.Headers[name]}
	}
	tlsConfig, err := s.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("/tls%w", err)
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("/url: want an http or https URL with a host, without credentials and without a query")
	}
	opts := httpapi.Options{
		BaseURL: s.URL, Header: header, SecretHeaders: slices.Collect(maps.Keys(s.Headers)), Timeout: s.Timeout.D(),
		MaxRetryAfter: s.MaxRetryAfter.D(), Redirects: s.Redirects, MaxConns: s.MaxConcurrent, TLS: tlsConfig,
		Rate: httpapi.Rate{PerSecond: s.Rate, Burst: s.Burst}, Breaker: httpapi.Breaker{Failures: s.Breaker.Failures, Delay: s.Breaker.Delay.D()},
	}
	client, err := httpapi.New(opts)
	if err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	to := &service{client: client}
	if err := to.loginWith(s, tlsConfig); err != nil {
		return nil, err
	}
	return to, nil
}

// loginWith chooses how requests log in.
func (s *service) loginWith(from settings, tlsConfig *tls.Config) error {
	ways := 0
	if from.Bearer != "" {
		s.header = "Bearer " + from.Bearer
		ways++
	}
	if b := from.Basic; b != nil {
		s.header = "Basic " + base64.StdEncoding.EncodeToString([]byte(b.Username+":"+b.Password))
		ways++
	}
	if o := from.OAuth2; o != nil {
		u, err := url.Parse(o.TokenURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("/oauth2/token_url: want an http or https URL with a host")
		}
		s.tokens = newTokens(o, tlsConfig)
		ways++
	}
	switch {
	case ways > 1:
		return errors.New(": one of bearer, basic and oauth2 is enough")
	case strings.ContainsAny(s.header, "\r\n\x00"):
		return errors.New("/bearer: the token has more than one line")
	}
	return nil
}

// do sends a request. A token that is refused is replaced, once.
func (s *service) do(req *http.Request, opts ...httpapi.CallOption) (*httpapi.Response, error) {
	token, err := s.authorize(req)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req, opts...)
	refused, ok := errors.AsType[*httpapi.StatusError](err)
	if token == nil || !ok || refused.Status != http.StatusUnauthorized {
		return resp, err
	}
	s.tokens.forget(token)
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	if _, err := s.authorize(again); err != nil {
		return nil, err
	}
	return s.client.Do(again, opts...)
}

// authorize adds the login to a request. The token is nil when there is none.
func (s *service) authorize(req *http.Request) (*oauth2.Token, error) {
	if s.tokens == nil {
		if s.header != "" {
			req.Header.Set("Authorization", s.header)
		}
		return nil, nil
	}
	token, err := s.tokens.get(req.Context())
	if err != nil {
		return nil, err
	}
	token.SetAuthHeader(req)
	return token, nil
}
