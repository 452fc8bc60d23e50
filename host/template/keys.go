package template

import (
	"math"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// limit is a time limit with the place where it was written; nil = unset.
type limit struct {
	d  time.Duration // 0 = explicitly none
	at pos
}

// settings are what both a step and `defaults` can set.
type settings struct {
	retryable   *bool
	retryableAt pos
	retry       *retrySpec
	timeout     *limit
	heartbeat   *limit
	start       *limit
	total       *limit
	onCrash     task.OnCrash
	priority    *int32
}

// name is a name with the place where it was written.
type name struct {
	text string
	at   pos
}

// stepSpec is a step as it was written.
type stepSpec struct {
	settings

	at          pos
	name        name
	description string
	handler     task.HandlerRef
	hasHandler  bool
	dependsOn   []name
	config      *node
	optional    bool
	skippable   bool
	join        Join
	joinAt      pos
	with        *node
	when        *node
}

// templateSpec is a template as it was written, environment applied.
type templateSpec struct {
	namespace, name, version *name
	description              string
	input                    *node
	onFailure                OnFailure
	deadline                 time.Duration
	identity                 string
	retention                *Retention
	defaults                 settings
	steps                    []stepSpec
	hasSteps                 bool
	subscriptions            []subscriptionSpec
	events                   []eventSpec
}

// templateKeys are the keys of a template. Environments were applied before.
func templateKeys() []key[templateSpec] {
	return []key[templateSpec]{
		{"namespace", func(d *decoder, t *templateSpec, n *node) { t.namespace = d.readName("namespace", n) }},
		{"name", func(d *decoder, t *templateSpec, n *node) { t.name = d.readName("name", n) }},
		{"version", func(d *decoder, t *templateSpec, n *node) { t.version = d.readVersion(n) }},
		{"description", func(d *decoder, t *templateSpec, n *node) { d.readText("description", n, &t.description) }},
		{"input", func(d *decoder, t *templateSpec, n *node) {
			if d.want("input", n, kindMap) {
				t.input = n
			}
		}},
		{"defaults", func(d *decoder, t *templateSpec, n *node) { object(d, "defaults", n, settingsKeys(), &t.defaults) }},
		{"steps", readSteps},
		{"environments", func(*decoder, *templateSpec, *node) {}},
		{"on_failure", func(d *decoder, t *templateSpec, n *node) {
			readWord(d, "on_failure", n, &t.onFailure, OnFailureDrain, OnFailureFailFast)
		}},
		{"deadline", func(d *decoder, t *templateSpec, n *node) {
			if v, ok := d.readLimit("deadline", n); ok {
				t.deadline = v
			}
		}},
		{"identity", func(d *decoder, t *templateSpec, n *node) {
			readWord(d, "identity", n, &t.identity, identityDistinct, identityHash)
		}},
		{"subscriptions", func(d *decoder, t *templateSpec, n *node) {
			t.subscriptions = readSubscriptions(d, n, subscriptionKeys())
		}},
		{"events", readEvents},
		{"concurrency", nil},
		{"retention", func(d *decoder, t *templateSpec, n *node) {
			t.retention = &Retention{}
			object(d, "retention", n, retentionKeys(), t.retention)
		}},
	}
}

// The values of identity.
const (
	identityDistinct = "distinct" // every request is a new task (the default)
	identityHash     = "hash"     // the same request is the same task
)

// settingsKeys are the keys of `defaults`; a step has them too.
func settingsKeys() []key[settings] {
	return []key[settings]{
		{"retryable", func(d *decoder, s *settings, n *node) {
			var v bool
			if d.want("retryable", n, kindBool) {
				d.readBool("retryable", n, &v)
				s.retryable, s.retryableAt = &v, n.at
			}
		}},
		{"retry", func(d *decoder, s *settings, n *node) { s.retry = d.readRetry(n) }},
		{"timeout", func(d *decoder, s *settings, n *node) { s.timeout = d.limit("timeout", n) }},
		{"heartbeat_timeout", func(d *decoder, s *settings, n *node) { s.heartbeat = d.limit("heartbeat_timeout", n) }},
		{"schedule_to_start", func(d *decoder, s *settings, n *node) { s.start = d.limit("schedule_to_start", n) }},
		{"total_timeout", func(d *decoder, s *settings, n *node) { s.total = d.limit("total_timeout", n) }},
		{"on_crash", func(d *decoder, s *settings, n *node) {
			readWord(d, "on_crash", n, &s.onCrash, task.OnCrashRetry, task.OnCrashFail, task.OnCrashPark)
		}},
		{"priority", func(d *decoder, s *settings, n *node) {
			if v, ok := d.readInt("priority", n, math.MinInt32, math.MaxInt32); ok {
				p := int32(v) //nolint:gosec // bounded by readInt
				s.priority = &p
			}
		}},
	}
}

// stepKeys are the keys of a step.
func stepKeys() []key[stepSpec] {
	keys := []key[stepSpec]{
		{"name", func(d *decoder, s *stepSpec, n *node) { s.name.text = d.readStepName(n) }},
		{"description", func(d *decoder, s *stepSpec, n *node) { d.readText("description", n, &s.description) }},
		{"handler", readHandler},
		{"depends_on", readDependsOn},
		{"config", func(_ *decoder, s *stepSpec, n *node) { s.config = n }},
		{"optional", func(d *decoder, s *stepSpec, n *node) { d.readBool("optional", n, &s.optional) }},
		{"skippable", func(d *decoder, s *stepSpec, n *node) { d.readBool("skippable", n, &s.skippable) }},
		{"join", readJoin},
		{"with", readWith},
		{"when", readWhen},
	}
	for _, k := range settingsKeys() {
		keys = append(keys, key[stepSpec]{k.name, func(d *decoder, s *stepSpec, n *node) { k.read(d, &s.settings, n) }})
	}
	return keys
}

// over returns s with what it leaves open taken from the template's defaults.
func (s settings) over(defaults settings) settings {
	if s.retryable == nil {
		s.retryable, s.retryableAt = defaults.retryable, defaults.retryableAt
	}
	if defaults.retry != nil {
		if s.retry == nil {
			s.retry = &retrySpec{retry: defaults.retry.retry, at: defaults.retry.at}
		} else {
			s.retry = &retrySpec{retry: *MergeRetry(&s.retry.retry, &defaults.retry.retry), at: s.retry.at}
		}
	}
	if s.timeout == nil {
		s.timeout = defaults.timeout
	}
	if s.heartbeat == nil {
		s.heartbeat = defaults.heartbeat
	}
	if s.start == nil {
		s.start = defaults.start
	}
	if s.total == nil {
		s.total = defaults.total
	}
	if s.onCrash == "" {
		s.onCrash = defaults.onCrash
	}
	if s.priority == nil {
		s.priority = defaults.priority
	}
	return s
}

// checkSettings reports settings of one level that contradict each other. own is what
// that level itself wrote, all what it comes to.
func (d *decoder) checkSettings(own, all settings) {
	if own.retry != nil && all.retryable != nil && !*all.retryable {
		hint := "remove one of the two"
		if own.retryable == nil {
			hint = "the template's defaults say so: write retryable: true beside it"
		}
		d.add(own.retry.at, hint, "retry has no effect with retryable: false")
	}
	if all.retry != nil {
		if err := checkRetry(&all.retry.retry); err != nil {
			d.add(all.retry.at, "", "retry: %s", err)
		}
	}
	d.checkWithin("heartbeat_timeout", all.heartbeat, "timeout", all.timeout)
	d.checkWithin("timeout", all.timeout, "total_timeout", all.total)
	if all.timeout == nil || all.timeout.d == 0 {
		d.checkWithin("heartbeat_timeout", all.heartbeat, "total_timeout", all.total)
	}
}

// checkWithin reports a limit that another one makes pointless.
func (d *decoder) checkWithin(inner string, a *limit, outer string, b *limit) {
	if a != nil && b != nil && b.d > 0 && a.d > b.d {
		d.add(a.at, "", "%s %s is longer than %s %s and would never be reached", inner, a.d, outer, b.d)
	}
}

// limit reads a time limit with its place.
func (d *decoder) limit(name string, n *node) *limit {
	v, ok := d.readLimit(name, n)
	if !ok {
		return nil
	}
	return &limit{d: v, at: n.at}
}
