// Package httpapi calls HTTP APIs from handlers. Its [Client] sends a request and says of the outcome what shall follow,
// so that a handler only builds the request and, if it wants, shapes what is stored:
//
//	type charge struct{ *httpapi.Client }
//
//	func (c *charge) Process(ctx context.Context, in Order) (*httpapi.Response, error) {
//		return c.Post(ctx, "/charges", ChargeRequest{Order: in.ID, Cents: in.Cents})
//	}
//
//	func (c *charge) ProcessResults(ctx context.Context, r *httpapi.Response) (Receipt, error) { // optional
//		var out Receipt
//		err := r.Decode(&out)
//		return out, err
//	}
//
//	sdk.Handlers{"charge": sdk.Typed(&charge{client})}
//
// That is an ordinary handler: nothing here is known to the host. Without a ProcessResults the status, some of the headers
// and the decoded body are stored, which is how a [Response] marshals to JSON. Embed an [API] instead of a client to store the
// decoded body alone.
//
// # What an answer means
//
//	200-226                    success
//	400, 401, 403, 404, 422    permanent, HTTP_<status>: the same request would be refused again
//	429, 503                   another attempt, not before what Retry-After asks for
//	any other status           another attempt, when the step's backoff says; redirects that are not followed, too
//	no answer, or half of one  another attempt, when the step's backoff says
//
// The errors are [sdk.Error] values around a [*StatusError], when there was an answer, with up to 4 KiB of its body. A
// handler that knows better wraps them: the outermost verdict counts.
//
//	if e, ok := errors.AsType[*httpapi.StatusError](err); ok && e.Status == http.StatusNotFound {
//		return nil, sdk.RetryAfter(err, time.Minute) // it is not there yet
//	}
//
// # What comes without asking
//
// Requests other than GET, HEAD, OPTIONS and TRACE carry the step's idempotency key, which all attempts of the step share;
// every request carries X-Correlation-ID, traceparent, tracestate and baggage (workflow.correlation_id). A step that
// sends several such requests to one API gives each a key of its own, as the API would take the second for a repetition
// of the first:
//
//	req.Header.Set("Idempotency-Key", sdk.IdempotencyKey(ctx)+"/refund")
//
// A header that the handler sets is never overwritten. Calls end with the attempt's context. Connections are pooled; bodies
// are limited in both directions; redirects are answers, unless [Options.Redirects] says otherwise. Each host has a circuit
// breaker and, on request, a rate limit. What is secret in headers is neither logged nor shown in errors.
//
// Each request that is sent is a span, api.call, below the span that is current in its context: that of the attempt, or one of
// the handler's own. It lasts until the answer is read and has the attributes of the semantic conventions for HTTP
// clients; of the URL it shows neither user nor the values of the query. The header traceparent names that span. A
// wait for the rate limit, and a circuit that is open, are span events of the span above.
//
// A client is for many goroutines and lives as long as its plugin; [Client.Close] gives up its connections. Handlers
// that embed it are closed by the SDK.
//
// # Layers
//
// A request passes a chain of [http.RoundTripper]: first the one that adds correlation id and idempotency key, then
// [Options.Layers] in order, then the one that makes the span and adds the headers of the trace, then the transport. It passes once
// for each redirect that is followed, and a layer that sends it again makes another span. What observes or
// signs calls is a [Layer].
package httpapi
