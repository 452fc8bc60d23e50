package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"strings"
	"text/template"
	"time"
)

// maxGroups is how many groups of a rule are remembered: beyond them the one that was quiet for longest is forgotten.
const maxGroups = 1000

// quiet is how long a group may be quiet before it is forgotten, if its condition does not look back further.
const quiet = 7 * 24 * time.Hour

// rule is a rule and what it remembers.
type rule struct {
	ruleConfig

	condition   condition
	groupBy     []string
	patterns    map[string]string // by label; only those that say something
	annotations map[string]*template.Template
	identity    string // the configuration that what is remembered is of

	through uint64 // the sequence of the last event that was observed
	groups  map[string]*series
}

// series is what a rule remembers of a group, in the state file too.
type series struct {
	Labels map[string]string `json:"labels"` // those that make the group
	Heard  time.Time         `json:"heard"`  // when the last event was recorded

	Window  window    `json:"window,omitempty"`
	Samples []float64 `json:"samples,omitempty"` // only in the state file: durations
	Value   float64   `json:"value,omitempty"`   // the last duration that was too long
	Limit   float64   `json:"limit,omitempty"`   // the limit for it
	Since   time.Time `json:"since,omitzero"`    // when something was completed last

	Alert     *alert    `json:"alert,omitempty"`     // the one that lasts, or ended last
	CoolUntil time.Time `json:"cool_until,omitzero"` // no other alert before

	durations samples
}

// alert is one alert.
type alert struct {
	StartsAt time.Time `json:"starts_at"`
	EndsAt   time.Time `json:"ends_at,omitzero"`
	Held     time.Time `json:"held"` // when the condition held last
	Value    float64   `json:"value"`
	Text     string    `json:"text"`
	Told     bool      `json:"told,omitempty"` // an Alertmanager has accepted it
}

// lasts reports whether there is an alert that has not ended.
func (s *series) lasts() bool { return s.Alert != nil && s.Alert.EndsAt.IsZero() }

// newRule makes a rule. Its errors begin with a JSON pointer.
func newRule(c ruleConfig) (*rule, error) {
	r := &rule{ruleConfig: c, groups: make(map[string]*series), annotations: make(map[string]*template.Template)}
	var err error
	if r.condition, err = c.condition(); err != nil {
		return nil, err
	}
	if err := c.validate(r.condition.labels()); err != nil {
		return nil, err
	}
	if r.groupBy = r.condition.labels(); c.GroupBy != nil {
		r.groupBy = *c.GroupBy
	}
	r.patterns = c.Match.byLabel()
	maps.DeleteFunc(r.patterns, func(_, pattern string) bool { return pattern == "" })
	sample := facts{Rule: c.Name, Labels: make(map[string]string)}
	for _, key := range r.groupBy {
		sample.Labels[key] = key
	}
	for key, text := range c.Annotations {
		if !labelName.MatchString(key) {
			return nil, fmt.Errorf("/annotations/%s: want a name of letters, digits and _", key)
		}
		t, err := template.New(key).Option("missingkey=error").Parse(text)
		if err == nil {
			err = t.Execute(&strings.Builder{}, sample)
		}
		if err != nil {
			return nil, fmt.Errorf("/annotations/%s: %w", key, err)
		}
		r.annotations[key] = t
	}
	identity, err := json.Marshal([]any{c.FailureRate, c.Duration, c.NoCompletion, c.DeadLetters, c.Match, r.groupBy})
	r.identity = string(identity)
	return r, err
}

// expected returns the group that the rule knows without having seen an event: the only one, or the one that the
// patterns name.
func (r *rule) expected() (labels map[string]string, ok bool) {
	labels = make(map[string]string)
	for _, key := range r.groupBy {
		if !literal(r.patterns[key]) {
			return nil, false
		}
		labels[key] = r.patterns[key]
	}
	return labels, true
}

// byLabel returns the patterns by the labels that they are for. Empty = anything.
func (m match) byLabel() map[string]string {
	return map[string]string{
		labelNamespace: m.Namespace, labelTemplate: m.Template, labelStep: m.Step, labelSubscription: m.Subscription, labelEvent: m.Event,
	}
}

// takes reports whether an observation counts.
func (r *rule) takes(o observation) bool {
	if !r.condition.takes(o) {
		return false
	}
	for key, pattern := range r.patterns {
		if ok, err := path.Match(pattern, o.labels[key]); err != nil || !ok {
			return false
		}
	}
	return true
}

// group returns the series of an observation's labels, a new one if there is none.
func (r *rule) group(labels map[string]string, at time.Time) *series {
	values := make([]string, len(r.groupBy))
	for i, key := range r.groupBy {
		values[i] = labels[key]
	}
	key := strings.Join(values, "\x00")
	s := r.groups[key]
	if s == nil {
		r.makeRoom()
		s = &series{Labels: make(map[string]string, len(r.groupBy)), Heard: at}
		for i, key := range r.groupBy {
			s.Labels[key] = values[i]
		}
		r.groups[key] = s
	}
	return s
}

// makeRoom forgets the group that was quiet for longest, if there are too many; one with an alert only if all have one.
func (r *rule) makeRoom() {
	if len(r.groups) < maxGroups {
		return
	}
	oldest := ""
	for key, s := range r.groups {
		o := r.groups[oldest]
		if o == nil || o.lasts() && !s.lasts() || o.lasts() == s.lasts() && s.Heard.Before(o.Heard) {
			oldest = key
		}
	}
	delete(r.groups, oldest)
}

// forget reports whether a group has been quiet for too long.
func (r *rule) forget(s *series, now time.Time) bool {
	_, expected := r.expected()
	return !expected && now.Sub(s.Heard) > max(quiet, 4*r.condition.reach())
}

// facts are what annotations are made of.
type facts struct {
	Rule   string
	Labels map[string]string // those of the group, those of the rule, and alertname
	Value  float64           // a part, seconds, or a number of events
	Text   string            // what is wrong, for people
}

// notice is an alert in the form of Alertmanager's API, version 2.
type notice struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`

	of *alert
}

// notice makes the notice of a group's alert.
func (r *rule) notice(s *series, endsAt time.Time) notice {
	labels := maps.Clone(s.Labels)
	maps.Copy(labels, r.Labels)
	labels[labelAlert] = r.Name
	n := notice{Labels: labels, Annotations: map[string]string{"summary": s.Alert.Text}, StartsAt: s.Alert.StartsAt.UTC(), EndsAt: endsAt.UTC(), of: s.Alert}
	for key, t := range r.annotations {
		var text strings.Builder
		if err := t.Execute(&text, facts{Rule: r.Name, Labels: labels, Value: s.Alert.Value, Text: s.Alert.Text}); err != nil {
			text.WriteString(err.Error()) // better a strange text than no alert
		}
		n.Annotations[key] = text.String()
	}
	return n
}
