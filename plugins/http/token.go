package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

// tokenTimeout is how long getting a token may take.
const tokenTimeout = 30 * time.Second

// tokens gets tokens and keeps the last one while it is valid.
type tokens struct {
	config clientcredentials.Config
	http   *http.Client

	slot chan struct{} // held while a token is fetched, so that one is fetched for all who wait

	mu   sync.Mutex
	last *oauth2.Token // nil = none
}

func newTokens(o *oauth, tlsConfig *tls.Config) *tokens {
	style := oauth2.AuthStyleInHeader
	if o.ClientAuth == "body" {
		style = oauth2.AuthStyleInParams
	}
	return &tokens{
		config: clientcredentials.Config{
			ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes, EndpointParams: url.Values(o.Parameters), AuthStyle: style,
		},
		http: &http.Client{
			Timeout: tokenTimeout,
			Transport: httpapi.Traced(&http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig.Clone(), ForceAttemptHTTP2: true,
				DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, // tokens are rare
			}),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slot: make(chan struct{}, 1),
	}
}

// get returns a token that is valid.
func (t *tokens) get(ctx context.Context) (*oauth2.Token, error) {
	select {
	case t.slot <- struct{}{}:
		defer func() { <-t.slot }()
	case <-ctx.Done():
		return nil, fmt.Errorf("get a token: %w", context.Cause(ctx))
	}
	t.mu.Lock()
	last := t.last
	t.mu.Unlock()
	if last.Valid() {
		return last, nil
	}
	token, err := t.config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.http))
	if err != nil {
		return nil, tokenFailure(ctx, err)
	}
	t.mu.Lock()
	t.last = token
	t.mu.Unlock()
	return token, nil
}

// forget drops a token that was refused.
func (t *tokens) forget(token *oauth2.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == token {
		t.last = nil
	}
}

// tokenFailure says what follows when there is no token, by the same rules as for any answer.
func tokenFailure(ctx context.Context, err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch cause := context.Cause(ctx); {
	case cause != nil:
		return fmt.Errorf("get a token: %w", cause)
	case !ok:
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return &sdk.Error{Err: fmt.Errorf("get a token: %w", err), Verdict: sdk.Retryable, Code: httpapi.CodeNetwork, Source: sdk.FromDownstream}
	}
	status := refused.Response.StatusCode
	text := strings.TrimSpace(refused.ErrorCode + " " + refused.ErrorDescription)
	out := &sdk.Error{
		Err:  fmt.Errorf("get a token: %d %s %s", status, http.StatusText(status), text),
		Code: fmt.Sprintf("HTTP_%d", status), Verdict: sdk.Retryable, Source: sdk.FromDownstream,
	}
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		out.Verdict = sdk.Final
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		out.RetryAfter = httpapi.RetryAfter(refused.Response.Header.Get("Retry-After"), time.Now(), httpapi.DefaultMaxRetryAfter)
	}
	return out
}
