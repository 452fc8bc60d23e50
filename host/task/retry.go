package task

import (
	"fmt"
	"math"
	"time"
)

// Duration is a span of time; it is a type of its own so that JSON and YAML carry it as
// text such as "1.5s" in both directions.
type Duration time.Duration

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String formats d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText formats d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses what [time.ParseDuration] parses.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit such as 500ms, 10s, 5m or 1h", text)
	}
	*d = Duration(v)
	return nil
}

// BackoffKind is how the wait grows from failure to failure.
type BackoffKind string

// The kinds of backoff.
const (
	BackoffExponential BackoffKind = "exponential" // base * factor^(n-1)
	BackoffLinear      BackoffKind = "linear"      // base * n
	BackoffConstant    BackoffKind = "constant"    // base
	BackoffList        BackoffKind = "list"        // the n-th entry, the last one for ever
)

// Defaults of [Retry].
const (
	DefaultRetryLimit  = 3
	DefaultRetryBase   = Duration(time.Second)
	DefaultRetryFactor = 2.0
	DefaultRetryCap    = Duration(30 * time.Second)
	// DefaultJitter is the share of the wait by which it varies both ways.
	DefaultJitter = 0.1
	// JitterFloor is the wait below which no default jitter is added.
	JitterFloor = Duration(5 * time.Second)
	// DefaultLossLimit is how many losses a step survives (rule R5).
	DefaultLossLimit = 3
)

// Limits of times.
const (
	// MaxDuration is the longest time that a template, a manifest or a request may name.
	MaxDuration = 10 * 365 * 24 * time.Hour
	// MaxRetryAfter is what a longer wish of a handler is cut to.
	MaxRetryAfter = 366 * 24 * time.Hour
)

// Retry says how often and when a failed step is attempted again. Zero fields take
// the defaults above.
type Retry struct {
	Limit   uint32      `json:"limit,omitempty"`
	Backoff BackoffKind `json:"backoff,omitempty"`
	Base    Duration    `json:"base,omitempty"`
	Factor  float64     `json:"factor,omitempty"`
	Cap     Duration    `json:"cap,omitempty"`    // of exponential and linear backoff
	List    []Duration  `json:"list,omitempty"`   // with BackoffList
	Jitter  *Jitter     `json:"jitter,omitempty"` // nil = DefaultJitter from JitterFloor on
}

// JitterKind is how the wait is spread.
type JitterKind string

// The kinds of jitter.
const (
	JitterNone    JitterKind = "none"    // exactly the wait
	JitterFull    JitterKind = "full"    // anything from 0 to the wait
	JitterEqual   JitterKind = "equal"   // half the wait plus anything up to the other half
	JitterPercent JitterKind = "percent" // the wait plus or minus Percent of it
)

// Jitter spreads waits so that many failures do not retry at one instant.
type Jitter struct {
	Kind    JitterKind `json:"kind"`
	Percent float64    `json:"percent,omitempty"` // 0 to 100, with JitterPercent
}

// WithDefaults returns r with every unset field at its default.
func (r Retry) WithDefaults() Retry {
	if r.Limit == 0 {
		r.Limit = DefaultRetryLimit
	}
	if r.Backoff == "" {
		r.Backoff = BackoffExponential
	}
	if r.Base == 0 {
		r.Base = DefaultRetryBase
	}
	if r.Factor == 0 {
		r.Factor = DefaultRetryFactor
	}
	if r.Cap == 0 {
		r.Cap = DefaultRetryCap
	}
	return r
}

// Wait returns the backoff after the n-th failure (n >= 1), before Retry-After. rnd
// is a number in [0, 1) that decides the jitter; the result is the same for the same
// arguments. Jitter never lifts a wait above Cap, and nothing above [MaxDuration].
func (r Retry) Wait(n uint32, rnd float64) time.Duration {
	r = r.WithDefaults()
	n = max(n, 1)
	var wait float64
	switch r.Backoff {
	case BackoffLinear:
		wait = float64(r.Base) * float64(n)
	case BackoffConstant:
		wait = float64(r.Base)
	case BackoffList:
		if len(r.List) > 0 {
			wait = float64(r.List[min(int(n), len(r.List))-1])
		}
	default:
		wait = float64(r.Base) * math.Pow(r.Factor, float64(n-1))
	}
	limit := float64(r.Cap)
	if r.Backoff == BackoffList || r.Backoff == BackoffConstant {
		limit = math.Max(wait, limit) // they say exactly what they want
	}
	limit = math.Min(limit, float64(MaxDuration))
	wait = r.spread(math.Min(wait, limit), rnd)
	if !(wait > 0) { // also what is no number
		return 0
	}
	return time.Duration(math.Min(wait, limit))
}

func (r Retry) spread(wait, rnd float64) float64 {
	j := r.Jitter
	if j == nil {
		if wait < float64(JitterFloor) {
			return wait
		}
		return wait * (1 + DefaultJitter*(2*rnd-1))
	}
	switch j.Kind {
	case JitterFull:
		return wait * rnd
	case JitterEqual:
		return wait/2 + wait/2*rnd
	case JitterPercent:
		return wait * (1 + j.Percent/100*(2*rnd-1))
	default:
		return wait
	}
}

// NextRetry is the one function that says when a failed step may be claimed again
// (rule R3): the later of failure+backoff and failure+retryAfter, which counts for at
// most [MaxRetryAfter], in UTC.
func (r Retry) NextRetry(failedAt time.Time, n uint32, retryAfter time.Duration, rnd float64) time.Time {
	return failedAt.Add(max(r.Wait(n, rnd), min(retryAfter, MaxRetryAfter))).UTC()
}
