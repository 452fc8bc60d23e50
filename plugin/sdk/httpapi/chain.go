package httpapi

import (
	"cmp"
	"net/http"
	"slices"

	"go.opentelemetry.io/otel/baggage"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// Layer is a link of the chain that each request passes: it returns what passes a request on to next. As every
// [http.RoundTripper] it must not change the request it is given, but may hand on a clone. The request's context is the
// attempt's.
type Layer func(next http.RoundTripper) http.RoundTripper

// chain puts layers around the end, the first one outermost.
func chain(end http.RoundTripper, layers []Layer) http.RoundTripper {
	for _, l := range slices.Backward(layers) {
		end = l(end)
	}
	return end
}

// roundTripper is a RoundTripper that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// identify is the layer that says on whose behalf a request is made.
func (c *Client) identify(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		ctx := req.Context()
		attempt := sdk.Attempt(ctx)
		req = req.Clone(ctx)
		add := func(name, value string) {
			if value != "" && len(req.Header.Values(name)) == 0 {
				req.Header.Set(name, value)
			}
		}
		add("X-Correlation-ID", cmp.Or(attempt.CorrelationID, baggage.FromContext(ctx).Member(trace.BaggageCorrelation).Value()))
		if c.opts.IdempotencyHeader != "-" && writes(req.Method) {
			add(c.opts.IdempotencyHeader, sdk.IdempotencyKey(ctx))
		}
		return next.RoundTrip(req)
	})
}

// writes reports whether a request may change something, so that it must not be carried out twice.
func writes(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	default:
		return true
	}
}

// follow is the policy of redirects.
func (c *Client) follow(to *http.Request, via []*http.Request) error {
	from := via[0]
	if len(via) > c.opts.Redirects || to.Method != from.Method || to.URL.Host != from.URL.Host || to.URL.Scheme != from.URL.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}
