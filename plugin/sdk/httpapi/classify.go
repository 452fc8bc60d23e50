package httpapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Codes of the failures, beside HTTP_<status>. A call that is cut off by its attempt's end has the attempt's code.
const (
	CodeNetwork         = "network_error"      // no answer, or half of one
	CodeTLS             = "tls_error"          // no connection that can be trusted
	CodeTimeout         = sdk.CodeTimeout      // no answer within [Options.Timeout]
	CodeCircuitOpen     = "circuit_open"       // the host fails and is left alone
	CodeRateLimited     = "rate_limited"       // the call's turn would come too late
	CodeInvalidRequest  = "invalid_request"    // permanent: there is no such request
	CodeRequestTooLarge = "request_too_large"  // permanent: over [Options.MaxRequestBody]
	CodeTooLarge        = "response_too_large" // permanent: over [Options.MaxResponseBody]
	CodeInvalidResponse = "invalid_response"   // the answer is not what it says
)

const (
	maxErrorBody = 4 << 10 // bytes of an answer that are kept with an error
	maxDrained   = 64 << 10
	maxReason    = 200 // bytes of an answer that are shown in a message
)

// StatusError is an answer that does not mean success.
type StatusError struct {
	// Method and Path are the request's; what is in a query stays there.
	Method, Path string
	// Status is the status, such as 422.
	Status int
	// Header are the answer's headers.
	Header http.Header
	// Body is the beginning of the answer, at most 4 KiB, without the request's secrets.
	Body []byte
}

// Error implements error: "POST /charges: 422 Unprocessable Entity: the card was declined". The answer's own words are
// taken from where JSON usually has them, or from a plain text.
func (e *StatusError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status)))
	if e.Status >= 300 && e.Status < 400 && e.Header.Get("Location") != "" {
		text += ": a redirect that is not followed"
	}
	if said := e.reason(); said != "" {
		text += ": " + said
	}
	return text
}

// reason is what the API says went wrong, if it says so in a way that is known.
func (e *StatusError) reason() string {
	kind, _, err := mime.ParseMediaType(e.Header.Get("Content-Type"))
	var said string
	switch {
	case json.Valid(e.Body):
		said = spoken(e.Body)
	case err == nil && kind == "text/plain":
		said = string(e.Body)
	}
	said = strings.Join(strings.Fields(strings.ToValidUTF8(said, "")), " ")
	if len(said) > maxReason {
		said = strings.ToValidUTF8(said[:maxReason], "") + "..."
	}
	return said
}

// spoken finds the words in a JSON document: a problem (RFC 9457), or {"message"}, {"error"}, {"error": {"message"}}.
func spoken(body []byte) string {
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return ""
	}
	text := func(key string) string {
		var s string
		if json.Unmarshal(doc[key], &s) != nil {
			return ""
		}
		return s
	}
	if said := cmp.Or(text("detail"), text("message"), text("error_description"), text("error"), text("title")); said != "" {
		return said
	}
	return spoken(doc["error"])
}

// details come with an error: the status and as much of the body as there is room for.
type details struct {
	Status    int    `json:"status"`
	Body      string `json:"body,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
}

// detailsOf fits an answer into [sdk.MaxDetails].
func detailsOf(e *StatusError, truncated bool) details {
	d := details{Status: e.Status, Body: strings.ToValidUTF8(string(e.Body), ""), Truncated: truncated}
	for {
		doc, err := encode(d)
		over := len(doc) - sdk.MaxDetails
		if err != nil || over <= 0 || d.Body == "" {
			return d
		}
		d.Truncated = true
		cut := max(len(d.Body)-over, len(d.Body)*sdk.MaxDetails/len(doc)) // escapes make more of a byte
		d.Body = strings.ToValidUTF8(d.Body[:min(cut, len(d.Body)-1)], "")
	}
}

// classify says what a status means: nil is success.
func (c *call) classify(resp *http.Response, body []byte, truncated bool) error {
	status := resp.StatusCode
	if c.succeeds(status) {
		return nil
	}
	e := &StatusError{Method: c.method, Path: c.path, Status: status, Header: resp.Header, Body: []byte(c.redact.Replace(string(body)))}
	if len(e.Body) > maxErrorBody {
		e.Body, truncated = e.Body[:maxErrorBody], true
	}
	out := &sdk.Error{
		Err: e, Code: fmt.Sprintf("HTTP_%d", status), Source: sdk.FromDownstream, Verdict: sdk.Retryable, Details: detailsOf(e, truncated),
	}
	switch {
	case permanent(status):
		out.Verdict = sdk.Final
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		out.RetryAfter = RetryAfter(resp.Header.Get("Retry-After"), time.Now(), c.client.opts.MaxRetryAfter)
	}
	return out
}

// permanent reports whether the same request would be answered the same. A success that was not expected is so, too.
func permanent(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		return true
	default:
		return success(status)
	}
}

func success(status int) bool { return status >= http.StatusOK && status <= http.StatusIMUsed }

// RetryAfter reads a header Retry-After: seconds, or a date, which is at least a second away. The wait is limit at
// most. 0 = the header asks for nothing that can be understood.
func RetryAfter(header string, now time.Time, limit time.Duration) time.Duration {
	header = strings.TrimSpace(header)
	if header != "" && strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 64)
		if err != nil || seconds > int64(limit/time.Second) { // an error: more than 64 bits
			return limit
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), time.Second), limit)
}

// noAnswer says what it means that there is no answer, or half of one.
func (c *call) noAnswer(ctx context.Context, err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok { // it would show the URL
		err = inner.Err
	}
	var too *tooLargeError
	switch cause := context.Cause(ctx); {
	case errors.As(err, &too):
		return sdk.Permanent(sdk.WithCode(fmt.Errorf("%s: %w", c.what(), too), CodeRequestTooLarge))
	case errors.Is(cause, errTimeout):
		return &sdk.Error{
			Err:  fmt.Errorf("%s: no answer within %s", c.what(), c.client.opts.Timeout),
			Code: CodeTimeout, Verdict: sdk.Retryable, Source: sdk.FromDownstream,
		}
	case errors.Is(cause, context.DeadlineExceeded):
		return sdk.Downstream(fmt.Errorf("%s: %w", c.what(), cause)) // the attempt knows that its time is up
	case cause != nil:
		return fmt.Errorf("%s: %w", c.what(), cause)
	}
	e := &sdk.Error{
		Err:  &callError{text: c.what() + ": " + c.redact.Replace(err.Error()), err: err},
		Code: CodeNetwork, Verdict: sdk.Retryable, Source: sdk.FromDownstream,
	}
	if isTLS(err) {
		e.Code = CodeTLS
	}
	return e
}

// callError is an error whose text has no secrets.
type callError struct {
	text string
	err  error
}

// Error implements error.
func (e *callError) Error() string { return e.text }

// Unwrap returns the error inside.
func (e *callError) Unwrap() error { return e.err }

// isTLS reports whether an error is that there is no connection that can be trusted.
func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "HTTP response to HTTPS client")
}
