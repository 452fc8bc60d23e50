package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	maxDrained    = 64 << 10 // bytes of an answer that are read for the connection's sake
	maxExcerpt    = 200      // bytes of an answer that an error shows
	maxRedirects  = 5
	maxRetryAfter = time.Hour
	minRetryAfter = time.Second
)

// message is what is posted.
type message struct {
	id          string
	contentType string
	header      http.Header // nil = none beside the endpoint's
	body        []byte
}

// endpoint posts to one URL.
type endpoint struct {
	name    string
	url     *url.URL
	header  http.Header
	signers []*standardwebhooks.Webhook
	timeout time.Duration
	client  *http.Client
	slots   chan struct{} // as many as requests may be on their way
	breaker circuitbreaker.CircuitBreaker[any]
	delay   time.Duration // of the breaker
	redact  *strings.Replacer

	mu    sync.Mutex
	until time.Time // when the endpoint wants to hear again
}

// newEndpoint makes an endpoint. Its errors start with the place in the target's configuration.
func newEndpoint(name string, t target, log *slog.Logger) (*endpoint, error) {
	t = t.withDefaults()
	if err := t.validate(); err != nil {
		return nil, err
	}
	u, err := t.parseURL()
	if err != nil {
		return nil, err
	}
	signers, err := t.signers()
	if err != nil {
		return nil, err
	}
	header, err := t.header()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := t.TLS.config()
	if err != nil {
		return nil, err
	}
	e := &endpoint{
		name: name, url: u, header: header, signers: signers, timeout: t.Timeout.D(), delay: t.Breaker.Delay.D(),
		slots: make(chan struct{}, t.MaxConcurrent), redact: redactor(t, u),
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true,
				MaxIdleConnsPerHost: t.MaxConcurrent, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: followNone,
		},
		breaker: circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(uint(t.Breaker.Failures)).WithSuccessThreshold(1).WithDelay(t.Breaker.Delay.D()).
			OnOpen(func(circuitbreaker.StateChangedEvent) {
				log.Warn("the endpoint fails and is left alone for a while", "endpoint", name, "for", t.Breaker.Delay.String())
			}).
			OnClose(func(circuitbreaker.StateChangedEvent) { log.Info("the endpoint works again", "endpoint", name) }).
			Build(),
	}
	if t.FollowRedirects {
		e.client.CheckRedirect = followSame
	}
	return e, nil
}

func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// followSame follows redirects that keep method, body and host, so that the headers stay with whom they are for.
func followSame(to *http.Request, via []*http.Request) error {
	if to.Method != http.MethodPost || to.URL.Host != via[0].URL.Host || to.URL.Scheme != via[0].URL.Scheme || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

// post sends a message. A nil error means that the endpoint has accepted it; others say whether it may be sent again.
func (e *endpoint) post(ctx context.Context, m message) error {
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-e.slots }()
	if err := e.permit(); err != nil {
		return err
	}
	err := e.request(ctx, m)
	failed, ok := errors.AsType[*failure](err)
	if !ok {
		e.breaker.RecordSuccess() // it answers, if only that it does not want this one
		return err
	}
	e.breaker.RecordFailure()
	if failed.away {
		err = sdk.Unavailable(err)
	}
	if failed.after == 0 {
		return err
	}
	e.mu.Lock()
	e.until = time.Now().Add(failed.after)
	e.mu.Unlock()
	return sdk.RetryAfter(err, failed.after)
}

// acquire waits for a slot, but not for longer than a request takes: what an event waits for, the host waits for, and
// with it the events of other endpoints. The caller gives the slot back.
func (e *endpoint) acquire(ctx context.Context) error {
	patience := time.NewTimer(e.timeout)
	defer patience.Stop()
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-patience.C:
		return sdk.RetryAfter(sdk.Unavailable(fmt.Errorf("endpoint %s is busy with %d requests", e.name, cap(e.slots))), e.timeout)
	case <-ctx.Done():
		return fmt.Errorf("endpoint %s is busy: %w", e.name, context.Cause(ctx))
	}
}

// permit returns an error if the endpoint is to be left alone: it asked for it, or it fails. That is no failure of an
// event that was not even sent.
func (e *endpoint) permit() error {
	e.mu.Lock()
	wait := time.Until(e.until)
	e.mu.Unlock()
	if wait > 0 {
		return sdk.RetryAfter(sdk.Unavailable(fmt.Errorf("endpoint %s has asked for a pause", e.name)), max(wait, minRetryAfter))
	}
	if !e.breaker.TryAcquirePermit() {
		wait := cmp.Or(e.breaker.RemainingDelay(), e.delay) // 0: another event is trying it right now
		return sdk.RetryAfter(sdk.Unavailable(fmt.Errorf("endpoint %s fails and is left alone for a while", e.name)), max(wait, minRetryAfter))
	}
	return nil
}

// failure is what may be mended by time.
type failure struct {
	err   error
	after time.Duration // what the endpoint asked for, 0 = nothing
	away  bool          // another event would have fared no better
}

// Error implements error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the error inside.
func (f *failure) Unwrap() error { return f.err }

// request sends a message and judges the answer: nil, a [failure], or a permanent error.
func (e *endpoint) request(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.timeout, fmt.Errorf("no answer within %s", e.timeout))
	defer cancel()
	req, err := e.sign(ctx, m)
	if err != nil {
		return sdk.Permanent(fmt.Errorf("endpoint %s: %w", e.name, err))
	}
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	resp, err := e.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else if inner, ok := errors.AsType[*url.Error](err); ok { // it would show the URL
			err = inner.Err
		}
		return &failure{err: fmt.Errorf("endpoint %s: %w", e.name, err), away: !connected.Load()}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxDrained)) // the status has said it all
	return e.verdict(resp, answer)
}

// sign makes the request with its headers: those of Standard Webhooks, of the endpoint and of the message.
func (e *endpoint) sign(ctx context.Context, m message) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(m.body))
	if err != nil {
		return nil, errors.New("no request can be made of its URL")
	}
	req.Header = e.header.Clone()
	maps.Copy(req.Header, m.header)
	now := time.Now()
	req.Header.Set("Content-Type", m.contentType)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	signatures := make([]string, len(e.signers))
	for i, s := range e.signers {
		if signatures[i], err = s.Sign(m.id, now, m.body); err != nil {
			return nil, err
		}
	}
	if len(signatures) > 0 {
		req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	}
	// Tells the transport, and not the endpoint, that it may send again on a fresh connection if an idle one turns out dead.
	req.Header["Idempotency-Key"] = []string{}
	return req, nil
}

// verdict judges an answer.
func (e *endpoint) verdict(resp *http.Response, answer []byte) error {
	status := resp.StatusCode
	err := fmt.Errorf("endpoint %s answers %d %s%s", e.name, status, http.StatusText(status), e.excerpt(resp, answer))
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return &failure{err: err, after: retryAfter(resp.Header.Get("Retry-After")), away: isAway(status)}
	case status >= 300 && status < 400:
		return sdk.Permanent(fmt.Errorf("endpoint %s redirects (%d) to %s, which is not followed: correct its url%s",
			e.name, status, origin(resp), e.mayFollow(resp)))
	case status == http.StatusGone:
		return sdk.Permanent(fmt.Errorf("endpoint %s is gone (410): take it out of the bindings", e.name))
	default:
		return sdk.Permanent(err)
	}
}

// isAway reports whether a status is about the endpoint. The others above 500 may be about the event, which then must not
// hold up the others for good.
func isAway(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return status < http.StatusInternalServerError
	}
}

// origin is where a redirect points to, without the path, which may be a secret.
func origin(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return u.Scheme + "://" + u.Host
}

// mayFollow names the setting that would help.
func (e *endpoint) mayFollow(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil || u.Host != e.url.Host || u.Scheme != e.url.Scheme ||
		resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
		return ""
	}
	return ", or set follow_redirects"
}

// retryAfter reads the header: seconds, or a time. 0 = it asks for nothing.
func retryAfter(header string) time.Duration {
	wait := time.Duration(0)
	if s, err := strconv.ParseUint(header, 10, 32); err == nil {
		wait = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = time.Until(at)
	}
	if wait <= 0 {
		return 0
	}
	return min(max(wait, minRetryAfter), maxRetryAfter)
}

// excerpt is the beginning of an answer that people can read, as the end of a message, without secrets.
func (e *endpoint) excerpt(resp *http.Response, answer []byte) string {
	kind := resp.Header.Get("Content-Type")
	if !strings.HasPrefix(kind, "text/plain") && !strings.HasPrefix(kind, "application/json") && !strings.HasPrefix(kind, "application/problem+json") {
		return ""
	}
	text := strings.Join(strings.Fields(strings.ToValidUTF8(e.redact.Replace(string(answer)), "")), " ")
	if len(text) > maxExcerpt {
		text = strings.ToValidUTF8(text[:maxExcerpt], "") + "..."
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// redactor takes what is secret of an endpoint out of a text.
func redactor(t target, u *url.URL) *strings.Replacer {
	var pairs []string
	hide := func(secret string) {
		if len(secret) > 1 {
			pairs = append(pairs, secret, "***")
		}
	}
	hide(t.URL)
	hide(u.RequestURI())
	hide(u.Path)
	for _, s := range t.Secrets {
		hide(s)
		hide(strings.TrimPrefix(s, secretPrefix))
	}
	for _, v := range t.Headers {
		hide(v)
		if _, credentials, ok := strings.Cut(v, " "); ok { // Bearer, Basic
			hide(credentials)
		}
	}
	return strings.NewReplacer(pairs...)
}
