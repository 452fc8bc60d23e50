package httpapi

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Defaults of [Options].
const (
	// DefaultIdempotencyHeader carries the step's idempotency key.
	DefaultIdempotencyHeader = "Idempotency-Key"
	// DefaultMaxBody is the size of the largest body that is sent or taken, in bytes.
	DefaultMaxBody = 10 << 20
	// DefaultMaxRetryAfter is the longest wait that an API may ask for.
	DefaultMaxRetryAfter = 300 * time.Second
	// DefaultMaxIdle is how many connections to a host are kept for later.
	DefaultMaxIdle = 64
	// DefaultFailures is how many failures in a row it takes until a host is left alone.
	DefaultFailures = 20
	// DefaultDelay is for how long.
	DefaultDelay = 10 * time.Second
)

// Options are how a client calls. The zero value is a good client.
type Options struct {
	// BaseURL is what the paths of requests are below, such as "https://api.example.com/v1". Empty = requests
	// have whole URLs.
	BaseURL string
	// Header is sent with each request that does not set the same header. Nil = none.
	Header http.Header
	// IdempotencyHeader carries the step's idempotency key. Empty = [DefaultIdempotencyHeader]; "-" = it is not sent.
	IdempotencyHeader string
	// Timeout is the limit of one call, in addition to the context's. 0 = none of its own.
	Timeout time.Duration
	// MaxRequestBody and MaxResponseBody are the sizes of the largest bodies in bytes, decompressed. 0 = [DefaultMaxBody].
	MaxRequestBody, MaxResponseBody int64
	// MaxRetryAfter is the longest wait that an API may ask for. 0 = [DefaultMaxRetryAfter].
	MaxRetryAfter time.Duration
	// StoredHeaders are the headers of answers that are stored. Nil = those that [StoredHeaders] lists; empty = none.
	StoredHeaders []string
	// SecretHeaders are further headers whose values nobody may see. Headers whose names tell, such as
	// Authorization, Cookie or X-Api-Key, are secret anyway.
	SecretHeaders []string
	// Redirects is how many redirects a call follows. Only those are followed that keep method, body, scheme and host. 0 = none.
	Redirects int
	// Breaker is when a host that fails is left alone.
	Breaker Breaker
	// Rate is how many calls there may be to one host.
	Rate Rate
	// TLS is how https is spoken; [TLS.Config] makes it from files. Nil = as the system does. It is not changed.
	TLS *tls.Config
	// MaxIdle is how many connections to a host are kept for later. 0 = [DefaultMaxIdle].
	MaxIdle int
	// MaxConns is how many connections to a host there may be; further calls wait for one. 0 = any number.
	MaxConns int
	// Layers are links of the chain that a request passes, outermost first; see the package's documentation. Nil = none.
	Layers []Layer
	// Transport is the end of the chain, instead of one made from TLS, MaxIdle and MaxConns, which are then ignored. Nil = that one.
	Transport http.RoundTripper
}

// Breaker is when a host that fails is left alone: calls to it then fail at once, with the code [CodeCircuitOpen]
// and a RetryAfter. A failure is a 5xx, or no answer; any other answer ends the row.
type Breaker struct {
	// Failures is how many failures in a row it takes. 0 = [DefaultFailures]; less = the host is never left alone.
	Failures int
	// Delay is for how long; then one call tries it. 0 = [DefaultDelay].
	Delay time.Duration
}

// Rate is how many calls there may be to one host. A call waits for its turn; one whose turn comes after its context's
// deadline fails at once, with the code [CodeRateLimited] and a RetryAfter.
type Rate struct {
	// PerSecond is the number of calls per second in the long run. 0 = any number.
	PerSecond float64
	// Burst is how many may be made at once. 0 = those of one second, at least one.
	Burst int
}

// StoredHeaders are the headers of answers that are stored unless [Options.StoredHeaders] says otherwise.
func StoredHeaders() []string {
	return []string{"Content-Type", "Etag", "Last-Modified", "Link", "Location", "X-Request-Id"}
}

func (o Options) withDefaults() Options {
	o.IdempotencyHeader = cmp.Or(o.IdempotencyHeader, DefaultIdempotencyHeader)
	o.MaxRequestBody = cmp.Or(o.MaxRequestBody, DefaultMaxBody)
	o.MaxResponseBody = cmp.Or(o.MaxResponseBody, DefaultMaxBody)
	o.MaxRetryAfter = cmp.Or(o.MaxRetryAfter, DefaultMaxRetryAfter)
	o.MaxIdle = cmp.Or(o.MaxIdle, DefaultMaxIdle)
	o.Breaker.Failures = cmp.Or(o.Breaker.Failures, DefaultFailures)
	o.Breaker.Delay = cmp.Or(o.Breaker.Delay, DefaultDelay)
	if o.Rate.Burst == 0 {
		o.Rate.Burst = int(math.Ceil(max(o.Rate.PerSecond, 1)))
	}
	if o.StoredHeaders == nil {
		o.StoredHeaders = StoredHeaders()
	}
	o.StoredHeaders = canonical(o.StoredHeaders)
	o.Header = o.Header.Clone()
	return o
}

// validate refuses what cannot be meant.
func (o Options) validate() error {
	switch {
	case o.Timeout < 0, o.MaxRetryAfter < 0, o.Breaker.Delay < 0:
		return errors.New("a time is less than nothing")
	case o.MaxRequestBody < 0, o.MaxResponseBody < 0, o.Redirects < 0, o.MaxIdle < 0, o.MaxConns < 0:
		return errors.New("a limit is less than nothing")
	case o.Rate.PerSecond < 0, o.Rate.Burst < 0, math.IsNaN(o.Rate.PerSecond), math.IsInf(o.Rate.PerSecond, 0):
		return errors.New("the rate is no number of calls")
	case slices.ContainsFunc(o.Layers, func(l Layer) bool { return l == nil }):
		return errors.New("a layer is nil")
	}
	return nil
}

// base parses the base URL, whose errors do not repeat it, as it may have a password. Nil = there is none.
func (o Options) base() (*url.URL, error) {
	if o.BaseURL == "" {
		return nil, nil
	}
	u, err := url.Parse(o.BaseURL)
	if err != nil || !callable(u) {
		return nil, errors.New("the base URL is no http or https URL with a host")
	}
	return u, nil
}

// callable reports whether there is somebody to call.
func callable(u *url.URL) bool {
	return u != nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// transport makes the end of the chain.
func (o Options) transport() http.RoundTripper {
	if o.Transport != nil {
		return o.Transport
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS.Clone(), ForceAttemptHTTP2: true,
		MaxIdleConns: 0, MaxIdleConnsPerHost: o.MaxIdle, MaxConnsPerHost: o.MaxConns, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}

// New makes a client. An error says which option cannot be.
func New(opts Options) (*Client, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	base, err := opts.base()
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	c := &Client{opts: opts, base: base, secrets: newSecrets(opts.SecretHeaders), guards: newGuards(opts.Breaker, opts.Rate)}
	end := opts.transport()
	c.idle, _ = end.(interface{ CloseIdleConnections() }) // nil when it keeps none
	c.http = &http.Client{Transport: chain(end, slices.Concat([]Layer{c.identify}, opts.Layers, []Layer{traced(c.secrets)})), CheckRedirect: c.follow}
	return c, nil
}
