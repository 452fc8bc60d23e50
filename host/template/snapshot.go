package template

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/task"
)

// snapshotFormat is the version of the snapshot encoding. Fields are only ever added,
// and are absent when unset: a newer Tasker loads every older snapshot, and the hash of
// a template that does not use a new field stays the same. Unknown fields are refused,
// because a field that this version cannot act on must not be ignored.
const snapshotFormat = 1

type snapshotRecord struct {
	Format      int             `json:"format"`
	Namespace   string          `json:"namespace"`
	Name        string          `json:"name"`
	Version     string          `json:"version"`
	Description string          `json:"description,omitempty"`
	Input       json.RawMessage `json:"input,omitempty"`
	OnFailure   OnFailure       `json:"on_failure"`
	Deadline    task.Duration   `json:"deadline,omitempty"`
	Identity    string          `json:"identity,omitempty"`
	Retention   *Retention      `json:"retention,omitempty"`
	Steps       []stepRecord    `json:"steps"`

	Subscriptions []subscriptionRecord `json:"subscriptions,omitempty"`
	Events        []eventRecord        `json:"events,omitempty"`
}

type subscriptionRecord struct {
	Subscriber string          `json:"subscriber"`
	Events     []string        `json:"events,omitempty"`
	Filter     string          `json:"filter,omitempty"`
	Config     json.RawMessage `json:"config,omitempty"`
	Disabled   bool            `json:"disabled,omitempty"`
}

type eventRecord struct {
	Name        string        `json:"name"`
	On          string        `json:"on"`
	Step        task.StepName `json:"step,omitempty"`
	Description string        `json:"description,omitempty"`
}

type stepRecord struct {
	Name             task.StepName   `json:"name"`
	Description      string          `json:"description,omitempty"`
	Handler          string          `json:"handler"`
	DependsOn        []task.Ordinal  `json:"depends_on,omitempty"`
	Config           json.RawMessage `json:"config,omitempty"`
	Retryable        *bool           `json:"retryable,omitempty"`
	Retry            *task.Retry     `json:"retry,omitempty"`
	Timeout          *task.Duration  `json:"timeout,omitempty"`
	HeartbeatTimeout *task.Duration  `json:"heartbeat_timeout,omitempty"`
	ScheduleToStart  *task.Duration  `json:"schedule_to_start,omitempty"`
	TotalTimeout     *task.Duration  `json:"total_timeout,omitempty"`
	OnCrash          task.OnCrash    `json:"on_crash,omitempty"`
	Priority         int32           `json:"priority,omitempty"`
	Optional         bool            `json:"optional,omitempty"`
	Skippable        bool            `json:"skippable,omitempty"`
	Join             Join            `json:"join,omitempty"`
	With             json.RawMessage `json:"with,omitempty"`
	When             string          `json:"when,omitempty"`
}

// FromSnapshot is the inverse of [Template.Snapshot]. It loads the snapshots of this and
// of every earlier version and keeps the bytes as they are, so that the hash stays.
func FromSnapshot(b []byte) (*Template, error) {
	var rec snapshotRecord
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rec); err != nil {
		return nil, fmt.Errorf("template snapshot: %w", err)
	}
	if rec.Format != snapshotFormat {
		return nil, fmt.Errorf("template snapshot: format %d, this version reads %d", rec.Format, snapshotFormat)
	}
	t, err := rec.template()
	if err != nil {
		return nil, fmt.Errorf("template snapshot: %w", err)
	}
	t.setSnapshot(bytes.Clone(b))
	return t, nil
}

func (r *snapshotRecord) template() (*Template, error) {
	t := &Template{
		Namespace: r.Namespace, Name: r.Name, Version: r.Version, Description: r.Description,
		Input: r.Input, OnFailure: r.OnFailure, Deadline: r.Deadline.Std(), IdentityHash: r.Identity == identityHash,
		Steps: make([]Step, len(r.Steps)), Retention: r.Retention,
	}
	var err error
	if t.version, err = semver.StrictNewVersion(r.Version); err != nil {
		return nil, fmt.Errorf("version %q: %w", r.Version, err)
	}
	for i := range r.Steps {
		if t.Steps[i], err = r.Steps[i].step(); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		for _, d := range t.Steps[i].DependsOn {
			if int(d) >= len(r.Steps) {
				return nil, fmt.Errorf("step %d: depends on step %d of %d", i, d, len(r.Steps))
			}
		}
	}
	for _, s := range r.Subscriptions {
		t.Subscriptions = append(t.Subscriptions, Subscription{
			Subscriber: s.Subscriber, Events: s.Events, Filter: s.Filter, Config: s.Config, Disabled: s.Disabled,
		})
	}
	for _, e := range r.Events {
		t.Events = append(t.Events, Event(e))
	}
	t.index()
	t.lazyFlows()
	t.schema = lazySchema(t.Input)
	return t, nil
}

func (r *stepRecord) step() (Step, error) {
	ref, err := task.ParseHandlerRef(r.Handler)
	if err != nil {
		return Step{}, err
	}
	return Step{
		Name: r.Name, Description: r.Description, Handler: ref, DependsOn: r.DependsOn, Config: r.Config,
		Retryable: r.Retryable, Retry: r.Retry,
		Timeout: (*time.Duration)(r.Timeout), HeartbeatTimeout: (*time.Duration)(r.HeartbeatTimeout),
		ScheduleToStart: (*time.Duration)(r.ScheduleToStart), TotalTimeout: (*time.Duration)(r.TotalTimeout),
		OnCrash: r.OnCrash, Priority: r.Priority, Optional: r.Optional, Skippable: r.Skippable,
		Join: r.Join, With: r.With, When: r.When,
	}, nil
}

// encode returns the canonical JSON of t: the fields in the order of the records, maps
// sorted by key, no white space.
func (t *Template) encode() ([]byte, error) {
	rec := snapshotRecord{
		Format: snapshotFormat, Namespace: t.Namespace, Name: t.Name, Version: t.Version,
		Description: t.Description, Input: t.Input, OnFailure: t.OnFailure,
		Deadline: task.Duration(t.Deadline), Retention: t.Retention, Steps: make([]stepRecord, len(t.Steps)),
	}
	if t.IdentityHash {
		rec.Identity = identityHash
	}
	for i := range t.Steps {
		s := &t.Steps[i]
		rec.Steps[i] = stepRecord{
			Name: s.Name, Description: s.Description, Handler: s.Handler.String(), DependsOn: s.DependsOn, Config: s.Config,
			Retryable: s.Retryable, Retry: s.Retry,
			Timeout: (*task.Duration)(s.Timeout), HeartbeatTimeout: (*task.Duration)(s.HeartbeatTimeout),
			ScheduleToStart: (*task.Duration)(s.ScheduleToStart), TotalTimeout: (*task.Duration)(s.TotalTimeout),
			OnCrash: s.OnCrash, Priority: s.Priority, Optional: s.Optional, Skippable: s.Skippable,
			Join: s.Join, With: s.With, When: s.When,
		}
	}
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		rec.Subscriptions = append(rec.Subscriptions, subscriptionRecord{
			Subscriber: s.Subscriber, Events: s.Events, Filter: s.Filter, Config: s.Config, Disabled: s.Disabled,
		})
	}
	for _, e := range t.Events {
		rec.Events = append(rec.Events, eventRecord(e))
	}
	return marshal(rec)
}

func (t *Template) setSnapshot(b []byte) {
	sum := sha256.Sum256(b)
	t.snapshot, t.hash = b, hex.EncodeToString(sum[:])
}

// marshal is json.Marshal without escaping for HTML.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// canonical returns one JSON document with sorted keys and without white space; numbers
// keep their digits.
func canonical(b json.RawMessage) (json.RawMessage, error) {
	if len(b) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if dec.More() {
		return nil, errors.New("not JSON: more than one document")
	}
	return marshal(v)
}
