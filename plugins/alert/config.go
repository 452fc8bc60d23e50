package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is the plugin's configuration.
type config struct {
	Alertmanagers []alertmanager `json:"alertmanagers,omitempty" jsonschema:"minItems=1" jsonschema_description:"Whom to tell: each of them is told everything. Required with rules."`
	Rules         []ruleConfig   `json:"rules,omitempty"         jsonschema:"minItems=1" jsonschema_description:"What to watch for. Default nothing."`
	MaxAge        sdk.Duration   `json:"max_age,omitempty"       jsonschema_description:"Events that are older when they come fill windows and raise no alerts. Default 10m."`
	ResendEvery   sdk.Duration   `json:"resend_every,omitempty"  jsonschema_description:"How often alerts are sent again while they last. Default 1m."`
	GeneratorURL  string         `json:"generator_url,omitempty" jsonschema_description:"A link that goes with every alert, such as that of a dashboard."`
}

// alertmanager is one Alertmanager.
type alertmanager struct {
	URL     string            `json:"url"               jsonschema_description:"Its address, without /api/v2/alerts: http://127.0.0.1:9093."`
	Headers map[string]string `json:"headers,omitempty" jsonschema_extras:"writeOnly=true" jsonschema_description:"Further headers, such as Authorization."`
	CAFile  string            `json:"ca_file,omitempty" jsonschema_description:"Certificates, PEM, of which one must have signed its own. Default the system's."`
	Timeout sdk.Duration      `json:"timeout,omitempty" jsonschema_description:"How long a request may take. Default 10s."`
}

// ruleConfig is one rule. It has exactly one of the conditions.
type ruleConfig struct {
	Name string `json:"name" jsonschema:"minLength=1" jsonschema_description:"Becomes the label alertname."`

	FailureRate  *failureRate  `json:"failure_rate,omitempty"  jsonschema_description:"Too many of the tasks, steps or attempts fail."`
	Duration     *slowness     `json:"duration,omitempty"      jsonschema_description:"Tasks or attempts take too long."`
	NoCompletion *silence      `json:"no_completion,omitempty" jsonschema_description:"Nothing was completed for too long."`
	DeadLetters  *deadLettered `json:"dead_letters,omitempty"  jsonschema_description:"Subscribers could not handle events."`

	Match       match             `json:"match,omitzero"         jsonschema_description:"Which events count. Default all."`
	GroupBy     *[]string         `json:"group_by,omitempty"     jsonschema_description:"Labels whose values each have an alert of their own: of namespace, template, step, subscription and event. Default what the condition is about."`
	Labels      map[string]string `json:"labels,omitempty"       jsonschema_description:"Further labels of the alerts, such as severity."`
	Annotations map[string]string `json:"annotations,omitempty"  jsonschema_description:"Texts that go with the alerts, as templates of Go's text/template over .Rule, .Labels, .Value and .Text."`
	Cooldown    sdk.Duration      `json:"cooldown,omitempty"     jsonschema_description:"How long after its end an alert is not raised again. Default 0s."`
	KeepFiring  sdk.Duration      `json:"keep_firing,omitempty"  jsonschema_description:"How long the condition must have ceased before the alert ends. Default 0s."`
}

// match chooses events. Patterns are those of file names: * stands for anything.
type match struct {
	Namespace    string `json:"namespace,omitempty"    jsonschema_description:"A pattern, such as shop or eu-*."`
	Template     string `json:"template,omitempty"     jsonschema_description:"A pattern."`
	Step         string `json:"step,omitempty"         jsonschema_description:"A pattern."`
	Subscription string `json:"subscription,omitempty" jsonschema_description:"A pattern, of dead letters: mail/*."`
	Event        string `json:"event,omitempty"        jsonschema_description:"A pattern, of dead letters: the name of the event that was put aside."`
}

// The names of the labels that come from events.
const (
	labelNamespace    = "namespace"
	labelTemplate     = "template"
	labelStep         = "step"
	labelSubscription = "subscription"
	labelEvent        = "event"
	labelAlert        = "alertname"
)

// What a condition can be about.
const (
	ofTask    = "task"
	ofStep    = "step"
	ofAttempt = "attempt"
)

// The defaults of the configuration.
const (
	defaultMaxAge     = sdk.Duration(10 * time.Minute)
	defaultResend     = sdk.Duration(time.Minute)
	defaultTimeout    = sdk.Duration(10 * time.Second)
	defaultWindow     = sdk.Duration(10 * time.Minute)
	defaultMinEvents  = 10
	defaultSamples    = 500
	defaultMinSamples = 50
	defaultFactor     = 1
	defaultCount      = 1
)

// minResend keeps the plugin from being a nuisance.
const minResend = sdk.Duration(time.Second)

func (c config) withDefaults() config {
	c.MaxAge = cmp.Or(c.MaxAge, defaultMaxAge)
	c.ResendEvery = cmp.Or(c.ResendEvery, defaultResend)
	c.Alertmanagers = slices.Clone(c.Alertmanagers)
	for i := range c.Alertmanagers {
		c.Alertmanagers[i].Timeout = cmp.Or(c.Alertmanagers[i].Timeout, defaultTimeout)
	}
	return c
}

// validate refuses what the schema cannot, beside the rules.
func (c config) validate() error {
	switch {
	case len(c.Rules) > 0 && len(c.Alertmanagers) == 0:
		return errors.New("/alertmanagers: want one: there are rules and nobody to tell")
	case len(c.Rules) == 0 && len(c.Alertmanagers) > 0:
		return errors.New("/rules: want one: there is nothing to tell the Alertmanagers")
	case c.MaxAge < 0:
		return fmt.Errorf("/max_age: %s is less than nothing", c.MaxAge)
	case c.ResendEvery < minResend:
		return fmt.Errorf("/resend_every: %s is less than %s", c.ResendEvery, minResend)
	}
	if u, err := url.Parse(c.GeneratorURL); err != nil || c.GeneratorURL != "" && !u.IsAbs() {
		return errors.New("/generator_url: want a URL with its scheme, such as https://HOST/PATH")
	}
	names := make(map[string]bool)
	for i, r := range c.Rules {
		if names[r.Name] {
			return fmt.Errorf("/rules/%d/name: there is another rule %q", i, r.Name)
		}
		names[r.Name] = true
	}
	return nil
}

// condition returns the rule's condition with its defaults.
func (r ruleConfig) condition() (condition, error) {
	var all []condition
	if c := r.FailureRate; c != nil {
		all = append(all, c.withDefaults())
	}
	if c := r.Duration; c != nil {
		all = append(all, c.withDefaults())
	}
	if c := r.NoCompletion; c != nil {
		all = append(all, c.withDefaults())
	}
	if c := r.DeadLetters; c != nil {
		all = append(all, c.withDefaults())
	}
	if len(all) != 1 {
		return nil, fmt.Errorf(": there are %d conditions, want one of failure_rate, duration, no_completion and dead_letters", len(all))
	}
	return all[0], all[0].validate()
}

// labelName is what Alertmanager takes as the name of a label.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// validate refuses what the schema cannot. Known are the labels that the condition's events have.
func (r ruleConfig) validate(known []string) error {
	for key, pattern := range map[string]string{
		labelNamespace: r.Match.Namespace, labelTemplate: r.Match.Template, labelStep: r.Match.Step,
		labelSubscription: r.Match.Subscription, labelEvent: r.Match.Event,
	} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("/match/%s: %q is no pattern: %w", key, pattern, err)
		}
		if pattern != "" && !slices.Contains(known, key) {
			return fmt.Errorf("/match/%s: the events of this condition have no %s, only %q", key, key, known)
		}
	}
	if r.GroupBy != nil {
		for i, key := range *r.GroupBy {
			if !slices.Contains(known, key) {
				return fmt.Errorf("/group_by/%d: the events of this condition have no %q, only %q", i, key, known)
			}
		}
	}
	for key := range r.Labels {
		if !labelName.MatchString(key) || key == labelAlert || slices.Contains(known, key) {
			return fmt.Errorf("/labels/%s: want a name of letters, digits and _ that is not %s or one of %q", key, labelAlert, known)
		}
	}
	switch {
	case r.Cooldown < 0:
		return fmt.Errorf("/cooldown: %s is less than nothing", r.Cooldown)
	case r.KeepFiring < 0:
		return fmt.Errorf("/keep_firing: %s is less than nothing", r.KeepFiring)
	}
	return nil
}
