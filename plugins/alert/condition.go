package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// what is what an observation is of.
type what int

// What observations are of.
const (
	taskCreated what = iota + 1
	taskCompleted
	taskFailed
	attemptCompleted
	attemptFailed // and another may follow
	stepFailed    // an attempt, or none, and none follows by itself
	deadLetter
)

// observation is what rules see of an event.
type observation struct {
	seq     uint64
	at      time.Time
	what    what
	labels  map[string]string
	seconds float64 // that the task or the attempt took. 0 = not known
}

// finding is what a condition finds wrong.
type finding struct {
	value float64
	text  string
}

// condition is what a rule watches for. A series is what it remembers of a group.
type condition interface {
	validate() error
	labels() []string // that its events have; by default they make the groups
	takes(o observation) bool
	observe(s *series, o observation)
	// holds reports whether something is wrong at a time, of which it is only asked in order.
	holds(s *series, at time.Time) (finding, bool)
	// passing reports whether it may come to hold when nothing happens but time.
	passing() bool
	// reach is how long what was observed matters.
	reach() time.Duration
}

var (
	aboutTask       = []string{labelNamespace, labelTemplate}
	aboutStep       = []string{labelNamespace, labelTemplate, labelStep}
	aboutDeadLetter = []string{labelSubscription, labelEvent}
)

// about returns the labels of what a condition is about.
func about(of string) []string {
	if of == ofTask {
		return aboutTask
	}
	return aboutStep
}

// failureRate: too many fail.
type failureRate struct {
	Of        string       `json:"of,omitempty"         jsonschema:"enum=task,enum=step,enum=attempt" jsonschema_description:"What fails: tasks; steps, for good; or attempts, of which further ones may succeed. Default task."`
	Window    sdk.Duration `json:"window,omitempty"     jsonschema_description:"Within which time. Default 10m."`
	Above     float64      `json:"above"                jsonschema:"minimum=0,exclusiveMaximum=1" jsonschema_description:"More than this part of those that ended: 0.2 is a fifth."`
	MinEvents int          `json:"min_events,omitempty" jsonschema:"minimum=1" jsonschema_description:"But not before so many have ended. Default 10."`
}

func (c failureRate) withDefaults() failureRate {
	c.Of, c.Window, c.MinEvents = cmp.Or(c.Of, ofTask), cmp.Or(c.Window, defaultWindow), cmp.Or(c.MinEvents, defaultMinEvents)
	return c
}

func (c failureRate) validate() error      { return positive("/failure_rate/window", c.Window) }
func (c failureRate) labels() []string     { return about(c.Of) }
func (c failureRate) passing() bool        { return false }
func (c failureRate) reach() time.Duration { return c.Window.D() }

func (c failureRate) takes(o observation) bool {
	switch c.Of {
	case ofTask:
		return o.what == taskCompleted || o.what == taskFailed
	case ofStep:
		return o.what == attemptCompleted || o.what == stepFailed
	default:
		return o.what == attemptCompleted || o.what == attemptFailed || o.what == stepFailed
	}
}

func (c failureRate) observe(s *series, o observation) {
	s.Window.add(c.Window.D(), o.at, o.what == taskFailed || o.what == attemptFailed || o.what == stepFailed)
}

func (c failureRate) holds(s *series, at time.Time) (finding, bool) {
	all, bad := s.Window.count(c.Window.D(), at)
	rate := float64(bad) / math.Max(float64(all), 1)
	if all < c.MinEvents || rate <= c.Above {
		return finding{}, false
	}
	return finding{rate, fmt.Sprintf("failed %ss within %s: %d of %d", c.Of, short(c.Window.D()), bad, all)}, true
}

// slowness: too many take too long.
type slowness struct {
	Of         string       `json:"of,omitempty"          jsonschema:"enum=task,enum=attempt" jsonschema_description:"What takes long: tasks, or attempts at steps. Default task."`
	Above      sdk.Duration `json:"above,omitempty"       jsonschema_description:"Longer than this is too long."`
	Percentile float64      `json:"percentile,omitempty"  jsonschema:"exclusiveMinimum=0,maximum=100" jsonschema_description:"Longer than this percentile of those before is too long: 95."`
	Factor     float64      `json:"factor,omitempty"      jsonschema:"exclusiveMinimum=0" jsonschema_description:"The percentile times this. Default 1."`
	Samples    int          `json:"samples,omitempty"     jsonschema:"minimum=1,maximum=10000" jsonschema_description:"Of how many before. Default 500."`
	MinSamples int          `json:"min_samples,omitempty" jsonschema:"minimum=1" jsonschema_description:"And not before there are so many. Default 50."`
	Window     sdk.Duration `json:"window,omitempty"      jsonschema_description:"Within which time there must be count of them. Default 10m."`
	Count      int          `json:"count,omitempty"       jsonschema:"minimum=1" jsonschema_description:"How many must take too long. Default 1."`
}

func (c slowness) withDefaults() slowness {
	c.Of, c.Window, c.Count = cmp.Or(c.Of, ofTask), cmp.Or(c.Window, defaultWindow), cmp.Or(c.Count, defaultCount)
	c.Factor, c.Samples = cmp.Or(c.Factor, defaultFactor), cmp.Or(c.Samples, defaultSamples)
	c.MinSamples = cmp.Or(c.MinSamples, min(defaultMinSamples, c.Samples))
	return c
}

func (c slowness) validate() error {
	switch {
	case (c.Above > 0) == (c.Percentile > 0) || c.Above < 0:
		return errors.New("/duration: want either above, more than 0s, or percentile")
	case c.MinSamples > c.Samples:
		return fmt.Errorf("/duration/min_samples: %d is more than samples, %d", c.MinSamples, c.Samples)
	}
	return positive("/duration/window", c.Window)
}

func (c slowness) labels() []string     { return about(c.Of) }
func (c slowness) passing() bool        { return false }
func (c slowness) reach() time.Duration { return c.Window.D() }

func (c slowness) takes(o observation) bool {
	if c.Of == ofTask {
		return o.what == taskCompleted || o.what == taskFailed
	}
	return o.seconds > 0 && (o.what == attemptCompleted || o.what == attemptFailed || o.what == stepFailed)
}

func (c slowness) observe(s *series, o observation) {
	limit := time.Duration(c.Above).Seconds()
	if c.Percentile > 0 {
		limit = math.Inf(1)
		if len(s.durations.last) >= c.MinSamples {
			limit = c.Factor * s.durations.percentile(c.Percentile)
		}
		s.durations.add(c.Samples, o.seconds)
	}
	slow := o.seconds > limit
	s.Window.add(c.Window.D(), o.at, slow)
	if slow {
		s.Value, s.Limit = o.seconds, limit
	}
}

func (c slowness) holds(s *series, at time.Time) (finding, bool) {
	all, bad := s.Window.count(c.Window.D(), at)
	if bad < c.Count {
		return finding{}, false
	}
	return finding{s.Value, fmt.Sprintf("slow %ss within %s: %d of %d; the last of them took %s, more than %s",
		c.Of, short(c.Window.D()), bad, all, seconds(s.Value), seconds(s.Limit))}, true
}

// silence: nothing was completed for too long.
type silence struct {
	Of  string       `json:"of,omitempty" jsonschema:"enum=task,enum=step" jsonschema_description:"What should be completed: tasks or steps. Default task."`
	For sdk.Duration `json:"for"          jsonschema_description:"For how long."`
}

func (c silence) withDefaults() silence {
	c.Of = cmp.Or(c.Of, ofTask)
	return c
}

func (c silence) validate() error      { return positive("/no_completion/for", c.For) }
func (c silence) labels() []string     { return about(c.Of) }
func (c silence) passing() bool        { return true }
func (c silence) reach() time.Duration { return c.For.D() }

func (c silence) takes(o observation) bool {
	if c.Of == ofTask {
		return o.what == taskCreated || o.what == taskCompleted || o.what == taskFailed
	}
	return o.what == attemptCompleted || o.what == attemptFailed || o.what == stepFailed
}

func (c silence) observe(s *series, o observation) {
	if s.Since.IsZero() || (o.what == taskCompleted || o.what == attemptCompleted) && o.at.After(s.Since) {
		s.Since = o.at
	}
}

func (c silence) holds(s *series, at time.Time) (finding, bool) {
	since := at.Sub(s.Since)
	if s.Since.IsZero() || since <= c.For.D() {
		return finding{}, false
	}
	return finding{since.Seconds(), fmt.Sprintf("no %s was completed since %s, for more than %s", c.Of, s.Since.UTC().Format(time.RFC3339), short(c.For.D()))}, true
}

// deadLettered: subscribers could not handle events.
type deadLettered struct {
	Window sdk.Duration `json:"window,omitempty" jsonschema_description:"Within which time. Default 10m."`
	Count  int          `json:"count,omitempty"  jsonschema:"minimum=1" jsonschema_description:"How many. Default 1."`
}

func (c deadLettered) withDefaults() deadLettered {
	c.Window, c.Count = cmp.Or(c.Window, defaultWindow), cmp.Or(c.Count, defaultCount)
	return c
}

func (c deadLettered) validate() error                  { return positive("/dead_letters/window", c.Window) }
func (c deadLettered) labels() []string                 { return aboutDeadLetter }
func (c deadLettered) passing() bool                    { return false }
func (c deadLettered) reach() time.Duration             { return c.Window.D() }
func (c deadLettered) takes(o observation) bool         { return o.what == deadLetter }
func (c deadLettered) observe(s *series, o observation) { s.Window.add(c.Window.D(), o.at, true) }

func (c deadLettered) holds(s *series, at time.Time) (finding, bool) {
	_, bad := s.Window.count(c.Window.D(), at)
	if bad < c.Count {
		return finding{}, false
	}
	return finding{float64(bad), fmt.Sprintf("events put aside within %s: %d", short(c.Window.D()), bad)}, true
}

// positive refuses durations of nothing.
func positive(place string, d sdk.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: %s is not more than 0s", place, d)
	}
	return nil
}

// seconds words a duration for people.
func seconds(s float64) string {
	return short(time.Duration(s * float64(time.Second)).Round(time.Millisecond))
}

// short words a duration without parts that are nothing: 10m, not 10m0s.
func short(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if len(text) > len(nothing) && text[len(text)-len(nothing):] == nothing {
			text = text[:len(text)-len(nothing)+1]
		}
	}
	return text
}

// literal reports whether a pattern stands for one text only.
func literal(pattern string) bool {
	return pattern != "" && !slices.ContainsFunc([]rune(pattern), func(r rune) bool { return r == '*' || r == '?' || r == '[' || r == '\\' })
}
