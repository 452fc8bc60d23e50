package template

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/host/task"
)

// maxBackoffList is how many waits a backoff list may have.
const maxBackoffList = 100

// retrySpec is a `retry` map with the place where it was written.
type retrySpec struct {
	retry task.Retry
	at    pos
}

// retryKeys are the keys of `retry`.
func retryKeys() []key[retrySpec] {
	return []key[retrySpec]{
		{"limit", func(d *decoder, r *retrySpec, n *node) {
			if n.kind == kindNumber && n.text == "0" {
				d.add(n.at, "the first attempt counts: write 1, or retryable: false", "retry.limit: 0 would never run the step")
				return
			}
			if v, ok := d.readInt("retry.limit", n, 1, math.MaxUint32); ok {
				r.retry.Limit = uint32(v) //nolint:gosec // bounded by readInt
			}
		}},
		{"backoff", readBackoff},
		{"base", func(d *decoder, r *retrySpec, n *node) { d.readWait("retry.base", n, &r.retry.Base) }},
		{"factor", func(d *decoder, r *retrySpec, n *node) {
			if v, ok := d.readFloat("retry.factor", n, 1, 1000); ok {
				r.retry.Factor = v
			}
		}},
		{"cap", func(d *decoder, r *retrySpec, n *node) { d.readWait("retry.cap", n, &r.retry.Cap) }},
		{"jitter", readJitter},
	}
}

// readWait reads a duration above 0.
func (d *decoder) readWait(name string, n *node, into *task.Duration) {
	v, ok := d.readDuration(name, n)
	if ok && v == 0 {
		d.add(n.at, "write backoff: [0s] to retry at once", "%s: 0 means unset", name)
		return
	}
	if ok {
		*into = task.Duration(v)
	}
}

// readBackoff reads a kind of backoff or a list of waits.
func readBackoff(d *decoder, r *retrySpec, n *node) {
	if n.kind != kindList {
		readWord(d, "retry.backoff", n, &r.retry.Backoff,
			task.BackoffExponential, task.BackoffLinear, task.BackoffConstant)
		return
	}
	if len(n.items) == 0 || len(n.items) > maxBackoffList {
		d.add(n.at, "", "retry.backoff: want 1 to %d waits, got %d", maxBackoffList, len(n.items))
		return
	}
	for _, item := range n.items {
		if v, ok := d.readDuration("retry.backoff", item); ok {
			r.retry.List = append(r.retry.List, task.Duration(v))
		}
	}
	r.retry.Backoff = task.BackoffList
}

// readJitter reads full, equal, none or a percentage: 20 or "20%".
func readJitter(d *decoder, r *retrySpec, n *node) {
	if n.kind == kindNumber || (n.kind == kindText && strings.HasSuffix(n.text, "%")) {
		v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(n.text, "%")), 64)
		if err != nil || !(v >= 0 && v <= 100) {
			d.add(n.at, "", "retry.jitter: want 0%% to 100%%, got %s", n.text)
			return
		}
		r.retry.Jitter = &task.Jitter{Kind: task.JitterPercent, Percent: v}
		if v == 0 {
			r.retry.Jitter = &task.Jitter{Kind: task.JitterNone}
		}
		return
	}
	var kind task.JitterKind
	readWord(d, "retry.jitter", n, &kind, task.JitterFull, task.JitterEqual, task.JitterNone, "a percentage such as 20%")
	if kind != "" {
		r.retry.Jitter = &task.Jitter{Kind: kind}
	}
}

// readRetry reads a whole `retry` map.
func (d *decoder) readRetry(n *node) *retrySpec {
	r := &retrySpec{at: n.at}
	if !object(d, "retry", n, retryKeys(), r) {
		return nil
	}
	return r
}

// MergeRetry lays over on top of under, field by field, as settings of two levels are:
// step over defaults over manifest. What describes another kind of backoff than the one
// that results is left behind. Either may be nil; the result shares nothing with them.
func MergeRetry(over, under *task.Retry) *task.Retry {
	if over == nil && under == nil {
		return nil
	}
	var r task.Retry
	if under != nil {
		r = *under
	}
	if over == nil {
		over = &task.Retry{}
	}
	if over.Limit != 0 {
		r.Limit = over.Limit
	}
	if over.Backoff != "" && over.Backoff != r.Backoff {
		r.Backoff, r.List, r.Factor = over.Backoff, nil, 0
		switch r.Backoff {
		case task.BackoffList:
			r.Base, r.Cap = 0, 0
		case task.BackoffConstant:
			r.Cap = 0
		default:
		}
	}
	if len(over.List) > 0 {
		r.List = over.List
	}
	r.List = slices.Clone(r.List)
	if over.Base != 0 {
		r.Base = over.Base
	}
	if over.Factor != 0 {
		r.Factor = over.Factor
	}
	if over.Cap != 0 {
		r.Cap = over.Cap
	}
	if over.Jitter != nil {
		j := *over.Jitter
		r.Jitter = &j
	}
	return &r
}

// checkRetry returns what contradicts itself in r, whose zero fields are unset.
func checkRetry(r *task.Retry) error {
	full := r.WithDefaults()
	switch {
	case r.Factor != 0 && full.Backoff != task.BackoffExponential:
		return fmt.Errorf("factor has no effect on a %s backoff", full.Backoff)
	case full.Backoff == task.BackoffList && (r.Base != 0 || r.Cap != 0):
		return errors.New("base and cap have no effect on a list of waits")
	case full.Backoff == task.BackoffConstant && r.Cap != 0:
		return errors.New("cap has no effect on a constant backoff")
	case full.Backoff == task.BackoffList || full.Backoff == task.BackoffConstant:
		return nil
	case full.Base > full.Cap && r.Cap == 0:
		return fmt.Errorf("base %s is above the default cap of %s: set cap", full.Base, full.Cap)
	case full.Base > full.Cap:
		return fmt.Errorf("base %s is above cap %s", full.Base, full.Cap)
	}
	return nil
}
