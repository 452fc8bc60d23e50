package main

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
)

// traceContext is a W3C traceparent of any version: version, trace id, span id, flags.
var traceContext = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)

// exemplar returns the labels that lead from a sample to its trace. Nil = there is none.
func exemplar(traceparent string) prometheus.Labels {
	m := traceContext.FindStringSubmatch(traceparent)
	if m == nil || m[1] == "ff" || m[1] == "00" && m[4] != "" || m[2] == noTrace || m[3] == noSpan {
		return nil
	}
	return prometheus.Labels{"trace_id": m[2], "span_id": m[3]}
}

// The ids that W3C says are none.
const (
	noTrace = "00000000000000000000000000000000"
	noSpan  = "0000000000000000"
)

// add counts one, with an exemplar where there is one.
func add(c prometheus.Counter, ex prometheus.Labels) {
	if a, ok := c.(prometheus.ExemplarAdder); ok && ex != nil {
		a.AddWithExemplar(1, ex)
		return
	}
	c.Inc()
}

// observe observes seconds, with an exemplar where there is one.
func observe(o prometheus.Observer, seconds float64, ex prometheus.Labels) {
	if e, ok := o.(prometheus.ExemplarObserver); ok && ex != nil {
		e.ObserveWithExemplar(seconds, ex)
		return
	}
	o.Observe(seconds)
}
