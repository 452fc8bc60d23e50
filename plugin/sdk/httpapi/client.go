package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// errTimeout is the cause when a call's own time is up.
var errTimeout = errors.New("the call's time is up")

// Client calls HTTP APIs; [New] makes one. It is for many goroutines.
type Client struct {
	opts    Options
	base    *url.URL // nil = none
	http    *http.Client
	idle    interface{ CloseIdleConnections() } // nil = nothing to close
	secrets *secrets
	guards  *guards
}

var _ io.Closer = (*Client)(nil)

// Close gives up the connections that no call uses. The error is nil.
func (c *Client) Close() error {
	if c.idle != nil {
		c.idle.CloseIdleConnections()
	}
	return nil
}

// Path makes the path of a request from segments, each escaped: Path("orders", "a/b") is "/orders/a%2Fb". With a
// segment that is empty or nothing but dots, such as "..", it makes a path that [Client.Request] refuses.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		if s == "" {
			s = "."
		}
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// Get asks for path, which may have a query, below the base URL, or for a whole URL.
func (c *Client) Get(ctx context.Context, path string, opts ...CallOption) (*Response, error) {
	return c.send(ctx, http.MethodGet, path, nil, opts)
}

// Post sends body, as [Client.Request] encodes it.
func (c *Client) Post(ctx context.Context, path string, body any, opts ...CallOption) (*Response, error) {
	return c.send(ctx, http.MethodPost, path, body, opts)
}

// Put sends body, as [Client.Request] encodes it.
func (c *Client) Put(ctx context.Context, path string, body any, opts ...CallOption) (*Response, error) {
	return c.send(ctx, http.MethodPut, path, body, opts)
}

// Patch sends body, as [Client.Request] encodes it.
func (c *Client) Patch(ctx context.Context, path string, body any, opts ...CallOption) (*Response, error) {
	return c.send(ctx, http.MethodPatch, path, body, opts)
}

// Delete asks for path to be deleted.
func (c *Client) Delete(ctx context.Context, path string, opts ...CallOption) (*Response, error) {
	return c.send(ctx, http.MethodDelete, path, nil, opts)
}

func (c *Client) send(ctx context.Context, method, path string, body any, opts []CallOption) (*Response, error) {
	req, err := c.Request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	return c.Do(req, opts...)
}

// Request makes a request for [Client.Do]. The path, which may have a query, is below the base URL; a whole URL stands for
// itself. The body is sent as JSON, but [url.Values] as a form, and []byte, [json.RawMessage] and [io.Reader] as they are; nil is
// none. Errors are permanent, of the code [CodeInvalidRequest] or [CodeRequestTooLarge].
func (c *Client) Request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	u, err := c.resolve(path)
	if err != nil {
		return nil, refuse(err)
	}
	content, contentType, err := encodeBody(body)
	if err != nil {
		return nil, refuse(fmt.Errorf("the body does not marshal: %w", err))
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		return nil, refuse(fmt.Errorf("%.20q %s: no such request", method, u.Path))
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

// resolve finds the URL of a path.
func (c *Client) resolve(path string) (*url.URL, error) {
	ref, err := url.Parse(path)
	if err != nil {
		return nil, errors.New("the path is no path")
	}
	if slices.ContainsFunc(strings.Split(ref.EscapedPath(), "/"), dots) {
		return nil, errors.New("the path has a segment that is . or .., or one made by Path that is empty")
	}
	switch {
	case ref.IsAbs() || ref.Host != "":
		if !callable(ref) {
			return nil, errors.New("the URL is no http or https URL with a host")
		}
		return ref, nil
	case c.base == nil:
		return nil, errors.New("there is no base URL, so that a path does not suffice")
	}
	u := *c.base
	if ref.Path != "" {
		u = *c.base.JoinPath(ref.EscapedPath())
	}
	u.RawQuery = strings.Trim(c.base.RawQuery+"&"+ref.RawQuery, "&")
	return &u, nil
}

// dots reports whether a segment of a path would lead elsewhere.
func dots(segment string) bool {
	plain, err := url.PathUnescape(segment)
	return err == nil && (plain == "." || plain == "..")
}

// encodeBody returns a body and its media type.
func encodeBody(body any) (io.Reader, string, error) {
	switch b := body.(type) {
	case nil:
		return http.NoBody, "", nil
	case url.Values:
		return strings.NewReader(b.Encode()), "application/x-www-form-urlencoded", nil
	case json.RawMessage:
		return bytes.NewReader(b), "application/json", nil
	case []byte:
		return bytes.NewReader(b), "application/octet-stream", nil
	case io.Reader:
		return b, "application/octet-stream", nil
	}
	doc, err := encode(body)
	return bytes.NewReader(doc), "application/json", err
}

func refuse(err error) error { return sdk.Permanent(sdk.WithCode(err, CodeInvalidRequest)) }

// CallOption changes how one call is judged.
type CallOption func(*call)

// Expect says which statuses mean success; no others do. Without it those are 200 to 226.
func Expect(statuses ...int) CallOption { return func(c *call) { c.expect = statuses } }

// call is one call.
type call struct {
	client       *Client
	method, path string
	expect       []int // nil = 200 to 226
	redact       *strings.Replacer
}

func (c *call) what() string { return c.method + " " + c.path }

func (c *call) succeeds(status int) bool {
	if c.expect != nil {
		return slices.Contains(c.expect, status)
	}
	return success(status)
}

// Do sends a request and reads the answer. A nil error means success; any other is an [sdk.Error], as the package's
// documentation tells, or the end of the attempt. The request is not changed, but its body is read and closed.
func (c *Client) Do(req *http.Request, opts ...CallOption) (*Response, error) {
	ctx := req.Context()
	one := &call{client: c, method: req.Method, path: req.URL.Path}
	for _, o := range opts {
		o(one)
	}
	if c.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.opts.Timeout, errTimeout)
		defer cancel()
	}
	req, err := c.prepare(counting(ctx), req)
	if err != nil {
		return nil, err
	}
	one.redact = c.secrets.redactor(req)
	guard := c.guards.of(req.URL.Host)
	if err := guard.enter(ctx); err != nil {
		closeBody(req)
		if ctx.Err() != nil {
			return nil, one.noAnswer(ctx, err)
		}
		return nil, fmt.Errorf("%s: %w", one.what(), err)
	}
	began := time.Now()
	resp, status, err := one.exchange(ctx, req)
	guard.leave(outcomeOf(ctx, status, err))
	c.log(ctx, req, resp, status, time.Since(began))
	return resp, err
}

// prepare returns the request as it is sent.
func (c *Client) prepare(ctx context.Context, req *http.Request) (*http.Request, error) {
	if !callable(req.URL) {
		closeBody(req)
		return nil, refuse(errors.New("the URL is no http or https URL with a host"))
	}
	if req.ContentLength > c.opts.MaxRequestBody {
		closeBody(req)
		return nil, sdk.Permanent(sdk.WithCode(&tooLargeError{size: req.ContentLength, limit: c.opts.MaxRequestBody}, CodeRequestTooLarge))
	}
	req = req.Clone(ctx)
	for name, values := range c.opts.Header {
		if len(req.Header.Values(name)) == 0 {
			req.Header[name] = slices.Clone(values)
		}
	}
	if req.Body != nil && req.Body != http.NoBody && req.ContentLength <= 0 { // nobody knows how long
		req.Body = &limited{ReadCloser: req.Body, left: c.opts.MaxRequestBody, limit: c.opts.MaxRequestBody}
	}
	return req, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was sent
	}
}

// exchange sends the request and judges the answer. The status is 0 if there was none.
func (c *call) exchange(ctx context.Context, req *http.Request) (*Response, int, error) {
	resp, err := c.client.http.Do(req)
	if err != nil {
		return nil, 0, c.noAnswer(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	status := resp.StatusCode
	if !c.succeeds(status) {
		body, truncated := excerpt(resp)
		if err := ctx.Err(); err != nil {
			return nil, status, c.noAnswer(ctx, err)
		}
		return nil, status, c.classify(resp, body, truncated)
	}
	limit := c.client.opts.MaxResponseBody
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, status, c.noAnswer(ctx, fmt.Errorf("the answer ends early: %w", err))
	case int64(len(body)) > limit:
		err := fmt.Errorf("%s: %w", c.what(), &tooLargeError{size: -1, limit: limit})
		return nil, status, &sdk.Error{Err: err, Verdict: sdk.Final, Code: CodeTooLarge, Source: sdk.FromDownstream}
	}
	r := &Response{Status: status, Header: resp.Header, Body: body, stored: c.client.opts.StoredHeaders, what: c.what()}
	compressed := resp.Header.Get("Content-Encoding")
	if req.Header.Get("Accept-Encoding") != "" {
		compressed = "" // asked for, and the handler's to read
	}
	if err := r.check(compressed); err != nil {
		return nil, status, err
	}
	return r, status, nil
}

// excerpt reads the beginning of an answer whose status has said it all, and what is left of it for the connection's sake.
func excerpt(resp *http.Response) (body []byte, truncated bool) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, false // what follows is no body
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 2*maxErrorBody)) // what is kept is cut after secrets were taken out
	rest, _ := io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrained))
	return body, err != nil || rest > 0
}

// outcomeOf says what a call says about its host.
func outcomeOf(ctx context.Context, status int, err error) outcome {
	switch {
	case status >= http.StatusInternalServerError:
		return failed
	case err == nil || status != 0 && ctx.Err() == nil && sdk.Explain(err).Code != CodeNetwork:
		return worked
	case errors.Is(context.Cause(ctx), context.Canceled), sdk.Explain(err).Code == CodeRequestTooLarge:
		return abandoned
	default:
		return failed
	}
}

// log tells of a call. Neither queries nor secrets nor bodies are told.
func (c *Client) log(ctx context.Context, req *http.Request, resp *Response, status int, took time.Duration) {
	log := sdk.Logger(ctx)
	if !log.IsDebug() {
		return
	}
	size := 0
	if resp != nil {
		size = len(resp.Body)
	}
	log.Debug("called an API", "method", req.Method, "host", req.URL.Host, "path", req.URL.Path,
		"status", status, "bytes", size, "ms", took.Milliseconds(), "headers", c.secrets.header(req.Header))
}

// tooLargeError says that a body is over its limit.
type tooLargeError struct{ size, limit int64 } // size -1 = unknown

// Error implements error.
func (e *tooLargeError) Error() string {
	if e.size < 0 {
		return fmt.Sprintf("a body of more than %d bytes", e.limit)
	}
	return fmt.Sprintf("a body of %d bytes, the limit is %d", e.size, e.limit)
}

// limited is a body that ends with an error when it is too large.
type limited struct {
	io.ReadCloser

	left, limit int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return 0, &tooLargeError{size: -1, limit: l.limit}
	}
	return n, err
}
