package main

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// families are the metrics. Their labels are names of templates, steps, plugins and the like, and never ids.
type families struct {
	events     *prometheus.CounterVec // event
	duplicates prometheus.Counter
	newest     prometheus.Gauge
	gaps       prometheus.Counter
	refused    *prometheus.CounterVec // kind

	tasksCreated  *prometheus.CounterVec   // namespace, template
	tasksEnded    *prometheus.CounterVec   // namespace, template, status
	taskDuration  *prometheus.HistogramVec // namespace, template, status
	taskQueue     *prometheus.HistogramVec // namespace, template
	tasksInFlight *prometheus.GaugeVec     // namespace, template

	attempts      *prometheus.CounterVec   // namespace, template, step, status
	stepDuration  *prometheus.HistogramVec // namespace, template, step, status
	stepsInFlight *prometheus.GaugeVec     // namespace, template, step
	stepFailures  *prometheus.CounterVec   // namespace, template, step, category
	retries       *prometheus.CounterVec   // namespace, template, step, reason
	losses        *prometheus.CounterVec   // namespace, template, step, cause

	deadLetters *prometheus.CounterVec // subscription, event
	lagging     *prometheus.CounterVec // subscription
	subGaps     *prometheus.CounterVec // subscription
	crashes     *prometheus.CounterVec // plugin
	quarantines *prometheus.CounterVec // plugin
	hostStarts  prometheus.Counter
}

// The classic buckets, in seconds. Who scrapes native histograms gets finer ones.
func taskBuckets() []float64 {
	return []float64{0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
}

func stepBuckets() []float64 {
	return []float64{0.005, 0.025, 0.1, 0.25, 1, 5, 15, 60, 300, 900, 3600}
}

func queueBuckets() []float64 {
	return []float64{0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600}
}

// Native histograms: buckets grow by a tenth, and so that there are never more of them than the limit.
const (
	nativeFactor   = 1.1
	nativeBuckets  = 160
	nativeMinReset = time.Hour
)

// newFamilies makes the metrics and registers them, with those of the Go runtime and of the process.
func newFamilies(r prometheus.Registerer) *families {
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	b := builder{r}
	task := []string{"namespace", "template"}
	step := []string{"namespace", "template", "step"}
	return &families{
		events:     b.counters("events_total", "Events, by their names.", "event"),
		duplicates: b.counter("metrics_duplicate_events_total", "Events that came again and were not counted again."),
		newest:     b.gauge("metrics_newest_event_timestamp_seconds", "When the newest event that was counted was recorded."),
		gaps:       b.counter("metrics_gaps_total", "How often events were removed from the log before they could be counted."),
		refused:    b.counters("metrics_label_overflow_total", "How often a limit of labels put something under \"_other\", by what the label names.", "kind"),

		tasksCreated:  b.counters("tasks_created_total", "Tasks that were created.", task...),
		tasksEnded:    b.counters("tasks_ended_total", "Ends of tasks, by status: complete, error, cancelled or resolved_manually.", with(task, "status")...),
		taskDuration:  b.histograms("task_duration_seconds", "Time from the creation of tasks to their end.", taskBuckets(), with(task, "status")...),
		taskQueue:     b.histograms("task_queue_seconds", "Time from the creation of tasks to the start of their first step.", queueBuckets(), task...),
		tasksInFlight: b.gauges("tasks_in_flight", "Tasks that have not ended, waiting and paused ones among them.", task...),

		attempts:      b.counters("step_attempts_total", "Ends of attempts, by status: complete, error, cancelled or lost.", with(step, "status")...),
		stepDuration:  b.histograms("step_duration_seconds", "Time that attempts took, by status: complete or error.", stepBuckets(), with(step, "status")...),
		stepsInFlight: b.gauges("steps_in_flight", "Attempts that are being made.", step...),
		stepFailures:  b.counters("step_failures_total", "Steps that failed with no further attempt to follow by itself, by the category of the error.", with(step, "category")...),
		retries:       b.counters("step_retries_total", "Further attempts that were scheduled, by how the one before ended.", with(step, "reason")...),
		losses:        b.counters("step_losses_total", "Attempts that ended without a result, by cause.", with(step, "cause")...),

		deadLetters: b.counters("subscriber_dead_letters_total", "Events that were put aside because a subscriber could not handle them.", "subscription", "event"),
		lagging:     b.counters("subscriber_lagging_total", "How often a subscription fell behind the log for longer than the host allows.", "subscription"),
		subGaps:     b.counters("subscriber_gaps_total", "How often events were removed from the log before a subscription had got them.", "subscription"),
		crashes:     b.counters("plugin_crashes_total", "Ends of plugins' processes that nobody asked for.", "plugin"),
		quarantines: b.counters("plugin_quarantines_total", "Plugins that crashed too often to be started again.", "plugin"),
		hostStarts:  b.counter("host_starts_total", "Starts of the host."),
	}
}

// with returns labels and one more.
func with(labels []string, one string) []string { return append(slices.Clip(labels), one) }

// prefix begins the names of all metrics.
const prefix = "tasker"

// builder makes metrics and registers them. Names that are wrong or taken are found by every test.
type builder struct{ r prometheus.Registerer }

func (b builder) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: prefix, Name: name, Help: help})
	b.r.MustRegister(c)
	return c
}

func (b builder) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: prefix, Name: name, Help: help}, labels)
	b.r.MustRegister(c)
	return c
}

func (b builder) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: prefix, Name: name, Help: help})
	b.r.MustRegister(g)
	return g
}

func (b builder) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: prefix, Name: name, Help: help}, labels)
	b.r.MustRegister(g)
	return g
}

func (b builder) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: prefix, Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: nativeFactor,
		NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeMinReset,
	}, labels)
	b.r.MustRegister(h)
	return h
}
