package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	// maxAnswer is the size of the largest answer that is read, in bytes.
	maxAnswer = 1 << 20
	// maxRetryAfter is the longest wait that a service may ask for.
	maxRetryAfter = 300 * time.Second
	// maxExcerpt is how much of an answer is kept with an error, in bytes. Details have room for 4 KiB of JSON.
	maxExcerpt = 2 << 10
)

// client speaks JSON over HTTP and says of each answer what shall follow: nothing, another attempt, another
// attempt after some time, or the end of the step.
type client struct {
	http *http.Client
	now  func() time.Time
}

func newClient() *client {
	return &client{
		now: time.Now,
		http: &http.Client{
			// Following a redirect could repeat a request elsewhere; it is an answer like any other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (c *client) get(ctx context.Context, url string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return sdk.Permanent(err)
	}
	return c.do(req, out)
}

// post sends the step's idempotency key along, which is the same for all attempts of the step.
func (c *client) post(ctx context.Context, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return sdk.Permanent(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return sdk.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", sdk.IdempotencyKey(ctx))
	return c.do(req, out)
}

func (c *client) do(req *http.Request, out any) error {
	a := sdk.Attempt(req.Context())
	req.Header.Set("X-Correlation-ID", a.CorrelationID)
	if a.Traceparent != "" {
		req.Header.Set("Traceparent", a.Traceparent)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// No answer at all: another attempt may get one.
		return sdk.Downstream(fmt.Errorf("no answer from the shop; does shopd run? %w", err))
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or of no use any more
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return sdk.Downstream(fmt.Errorf("%s %s: read the answer: %w", req.Method, req.URL.Path, err))
	}
	if err := c.classify(resp, body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return sdk.Downstream(fmt.Errorf("%s %s: the answer is no JSON that fits: %w", req.Method, req.URL.Path, err))
	}
	return nil
}

// classify says what an answer means for the step:
//
//	200-226                    success
//	400, 401, 403, 404, 422    permanent: the same request would be refused again
//	429, 503                   another attempt, not before what Retry-After asks for
//	anything else              another attempt, when the step's backoff says
func (c *client) classify(resp *http.Response, body []byte) error {
	status := resp.StatusCode
	if status >= 200 && status <= 226 {
		return nil
	}
	e := &sdk.Error{
		Err:     fmt.Errorf("%s %s: %d %s%s", resp.Request.Method, resp.Request.URL.Path, status, http.StatusText(status), reason(body)),
		Code:    fmt.Sprintf("HTTP_%d", status),
		Source:  sdk.FromDownstream,
		Verdict: sdk.Retryable,
		Details: map[string]any{"status": status, "body": excerpt(body)},
	}
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		e.Verdict = sdk.Final
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.now())
	}
	return e
}

// retryAfter reads the header: seconds, or a date, which is at least a second away. What cannot be read asks
// for nothing.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), time.Second), maxRetryAfter)
}

// reason is what the service says went wrong, if it says so in the way that this shop does.
func reason(body []byte) string {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return ""
	}
	return ": " + said.Message
}

func excerpt(body []byte) string {
	return strings.ToValidUTF8(string(body[:min(len(body), maxExcerpt)]), "")
}
