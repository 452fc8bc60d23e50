package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tasker-engine/tasker/host/task"
)

// DefaultNamespace is the namespace of templates that name none.
const DefaultNamespace = "default"

// OnFailure is what a failed step does to the rest of its task (rule S4).
type OnFailure string

// The answers to a failed step.
const (
	OnFailureDrain    OnFailure = "drain"     // branches that do not depend on it run to their end (the default)
	OnFailureFailFast OnFailure = "fail_fast" // what runs and what is ready is cancelled at once
)

// Template is a named and versioned definition of a task: immutable once made, and
// safe for concurrent use. It is made by [Parse], [New] or [FromSnapshot].
type Template struct {
	Namespace   string
	Name        string
	Version     string // semver
	Description string
	Input       json.RawMessage // JSON Schema of the input, canonical; nil = anything goes
	OnFailure   OnFailure
	Deadline    time.Duration // of a whole task, from its creation; 0 = none
	// IdentityHash says that requests with the same input, initiator, source system and
	// reason are one task (`identity: hash`).
	IdentityHash bool
	Steps        []Step // in the order of the file: the ordinal is the index
	// Retention narrows how long finished tasks are kept; nil = as the host is configured.
	// What counts is the highest version that a host knows, not the one that a task ran.
	Retention *Retention
	// Subscriptions bind subscribers to the tasks of this template, in the order written.
	Subscriptions []Subscription
	// Events are custom events that the template publishes, in the order written.
	Events []Event

	names        map[task.StepName]task.Ordinal
	snapshot     []byte
	hash         string
	version      *semver.Version
	schema       func() (*jsonschema.Schema, error) // compiled once
	environments []string
	flows        []func() (*dataflow, error) // by step: its expressions; nil = no step has any
	origin       *origin                     // nil = there is nothing to find places for
}

// Step is a step spec: one node of a template. Settings that are nil or empty were set
// neither by the step nor by the template's defaults; the handler's manifest and the
// host fill them at the first claim.
type Step struct {
	Name        task.StepName
	Description string
	Handler     task.HandlerRef
	DependsOn   []task.Ordinal  // in the order written
	Dependents  []task.Ordinal  // the steps that depend on this one, ascending; computed
	Level       uint32          // how many steps lie before it on the longest way to it; computed
	Config      json.RawMessage // canonical JSON, nil = none

	Retryable *bool
	Retry     *task.Retry // its zero fields are unset
	// The time limits; a pointer to 0 is an explicit "none".
	Timeout          *time.Duration // of one attempt
	HeartbeatTimeout *time.Duration // between two heartbeats
	ScheduleToStart  *time.Duration // from ready to claimed
	TotalTimeout     *time.Duration // of all attempts together
	OnCrash          task.OnCrash   // "" = unset
	Priority         int32          // higher is claimed first within a task

	Optional  bool // when its attempts are exhausted it is skipped and the task goes on
	Skippable bool // bypass_steps may name it

	Join Join // "" = [JoinAll]
	// With makes the input of the step: canonical JSON whose texts that begin with "=" are
	// expressions, a map or one expression; nil = the task's input.
	With json.RawMessage
	// When is a condition: the step is skipped when it is false; "" = the step is taken.
	When string
}

// Subscription binds a subscriber to the tasks of a template (rule E9). What it names is
// checked against the subscriber's declaration when a host knows that.
type Subscription struct {
	Subscriber string          // "plugin/name", or "plugin" when the plugin has one subscription
	Events     []string        // names or trailing wildcards; nil = all that are declared
	Filter     string          // CEL, checked; empty = all
	Config     json.RawMessage // canonical JSON, nil = none
	Disabled   bool            // `enabled: false`: nothing reaches it through this
	Position   string          // "order.yaml:12:5" of the file, for messages; empty when there is none
}

// Event is a custom event that a template publishes when something happens to one of its
// tasks. Its payload is that of the event it stands for.
type Event struct {
	Name        string // "order.paid"; the family is the template's name
	On          string // "step.completed" and the like, see [EventSources]
	Step        task.StepName
	Description string
}

// EventSources returns the events that a template's custom event can stand for. Those of
// steps need a step; step.failed counts when it is final.
func EventSources() []string {
	return []string{"step.completed", "step.failed", "step.skipped", "task.completed", "task.failed", "task.cancelled"}
}

// New makes a template from Go values instead of a file. It checks and completes a
// copy of spec: Dependents are computed, empty Namespace and OnFailure take their
// defaults, JSON becomes canonical. The error wraps [task.ErrInvalid].
func New(spec Template) (*Template, error) {
	t := spec
	t.environments, t.flows, t.origin = nil, nil, nil
	if t.Namespace == "" {
		t.Namespace = DefaultNamespace
	}
	if t.OnFailure == "" {
		t.OnFailure = OnFailureDrain
	}
	t.Steps = slices.Clone(spec.Steps)
	if err := t.checkHead(); err != nil {
		return nil, fmt.Errorf("template %s: %w: %w", t.Name, task.ErrInvalid, err)
	}
	if err := t.checkSteps(); err != nil {
		return nil, fmt.Errorf("template %s: %w: %w", t.Name, task.ErrInvalid, err)
	}
	t.index()
	for i := range t.Steps {
		if err := t.checkFlow(ordinal(i)); err != nil {
			return nil, fmt.Errorf("template %s: %w: step %s: %w", t.Name, task.ErrInvalid, t.Steps[i].Name, err)
		}
	}
	t.lazyFlows()
	if err := errors.Join(t.checkSubscriptions(), t.checkEvents()); err != nil {
		return nil, fmt.Errorf("template %s: %w: %w", t.Name, task.ErrInvalid, err)
	}
	if err := t.complete(); err != nil {
		return nil, fmt.Errorf("template %s: %w: %w", t.Name, task.ErrInvalid, err)
	}
	if _, err := t.schema(); err != nil {
		return nil, fmt.Errorf("template %s: %w: input: %w", t.Name, task.ErrInvalid, err)
	}
	return &t, nil
}

// Ref returns the reference to the template, with its hash.
func (t *Template) Ref() task.TemplateRef {
	return task.TemplateRef{Namespace: t.Namespace, Name: t.Name, Version: t.Version, Hash: t.hash}
}

// Snapshot returns the template as canonical JSON, after environment and defaults: what
// is stored with a task. The hash in [Template.Ref] is its SHA-256 in hex. The caller
// must not change the bytes.
func (t *Template) Snapshot() []byte { return t.snapshot }

// StepByName returns the ordinal of the named step.
func (t *Template) StepByName(name task.StepName) (task.Ordinal, bool) {
	o, ok := t.names[name]
	return o, ok
}

// Environments returns the names of the environments that the file overrides settings
// for, sorted; none for templates that come from no file. A template read for another
// environment is its base, so a caller that was given a name by hand checks it here.
func (t *Template) Environments() []string { return slices.Clone(t.environments) }

// Handlers returns the handlers that the steps name, without repetition, in the order
// of their first use.
func (t *Template) Handlers() []task.HandlerRef {
	seen := make(map[task.HandlerRef]bool)
	var refs []task.HandlerRef
	for i := range t.Steps {
		if ref := t.Steps[i].Handler; !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	return refs
}

// complete computes what follows from the checked fields.
func (t *Template) complete() error {
	t.index()
	t.schema = lazySchema(t.Input)
	b, err := t.encode()
	if err != nil {
		return err
	}
	t.setSnapshot(b)
	return nil
}

// index fills names, and the dependents and the level of each step.
func (t *Template) index() {
	t.names = make(map[task.StepName]task.Ordinal, len(t.Steps))
	for i := range t.Steps {
		t.names[t.Steps[i].Name] = ordinal(i)
		t.Steps[i].Dependents = nil
	}
	for i := range t.Steps {
		for _, d := range t.Steps[i].DependsOn {
			t.Steps[d].Dependents = append(t.Steps[d].Dependents, ordinal(i))
		}
	}
	t.setLevels()
}

// setLevels fills the level of each step, each one once all before it are known.
func (t *Template) setLevels() {
	unmet := make([]int, len(t.Steps))
	var next []task.Ordinal
	for i := range t.Steps {
		t.Steps[i].Level = 0
		if unmet[i] = len(t.Steps[i].DependsOn); unmet[i] == 0 {
			next = append(next, ordinal(i))
		}
	}
	for ; len(next) > 0; next = next[1:] {
		s := &t.Steps[next[0]]
		for _, d := range s.Dependents {
			t.Steps[d].Level = max(t.Steps[d].Level, s.Level+1)
			if unmet[d]--; unmet[d] == 0 {
				next = append(next, d)
			}
		}
	}
}

// ordinal converts an index of at most [MaxSteps].
func ordinal(i int) task.Ordinal { return task.Ordinal(i) } //nolint:gosec // bounded by MaxSteps
