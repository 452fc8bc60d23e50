package main

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// other is the value of a label for all that comes once its limit is reached.
const other = "_other"

// limiter admits the first values of a kind, so that nobody who invents names can make series without end. What was
// admitted once stays so: a value is never counted under two names by one process.
type limiter struct {
	limit    int
	admitted map[string]struct{}
	refused  prometheus.Counter
}

func newLimiter(limit int, refused prometheus.Counter) *limiter {
	return &limiter{limit: limit, admitted: make(map[string]struct{}), refused: refused}
}

// admit reports whether a value, which may have several parts, has a series of its own.
func (l *limiter) admit(parts ...string) bool {
	key := strings.Join(parts, "\x00")
	if _, ok := l.admitted[key]; ok {
		return true
	}
	if len(l.admitted) >= l.limit {
		l.refused.Inc()
		return false
	}
	l.admitted[key] = struct{}{}
	return true
}

// name returns the value, or other.
func (l *limiter) name(value string) string {
	if l.admit(value) {
		return value
	}
	return other
}

// labeller makes the values of labels.
type labeller struct {
	templates, steps, events, plugins, subscriptions *limiter
}

func newLabeller(l limits, refused *prometheus.CounterVec) *labeller {
	of := func(limit int, kind string) *limiter { return newLimiter(limit, refused.WithLabelValues(kind)) }
	return &labeller{
		templates: of(l.Templates, "template"), steps: of(l.Steps, "step"), events: of(l.Names, "event"),
		plugins: of(l.Names, "plugin"), subscriptions: of(l.Names, "subscription"),
	}
}

// task returns the values of the labels namespace and template.
func (l *labeller) task(namespace, template string) []string {
	if !l.templates.admit(namespace, template) {
		return []string{other, other}
	}
	return []string{namespace, template}
}

// step returns the values of the labels namespace, template and step.
func (l *labeller) step(namespace, template, step string) []string {
	task := l.task(namespace, template)
	if task[0] == other || !l.steps.admit(namespace, template, step) {
		step = other
	}
	return append(task, step)
}
