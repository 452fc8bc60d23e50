package host

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// CreateTask implements [Service].
func (h *Host) CreateTask(ctx context.Context, r task.Request) (task.Created, error) {
	tmpl, err := h.templateFor(r)
	if err != nil {
		return task.Created{}, err
	}
	spec, err := newSpec(r, tmpl, h.opts.Now())
	if err != nil {
		return task.Created{}, err
	}
	if h.given.announce(tmpl) {
		h.settled.ring()
		h.mend()
	}
	warnings := setTrace(&spec, r)
	needs := h.needsOf(tmpl)
	if r.RequireHandlers {
		if err := h.require(ctx, needs); err != nil {
			return task.Created{}, err
		}
	} else if h.opts.Mode == ModeRun {
		h.letPluginsStart(ctx, needs) // somebody looks on, and is to be told what is missing
	}
	missing, err := h.knownMissing(ctx, needs)
	if err != nil {
		return task.Created{}, err
	}
	if spec.ID, err = h.newID(spec.CreatedAt); err != nil {
		return task.Created{}, err
	}
	if spec.CorrelationID == "" {
		spec.CorrelationID = string(spec.ID)
	}
	if h.given.use(tmpl) {
		h.delivery.RebindTemplate(tmpl.Ref())
	}
	var dup *store.DuplicateError
	switch err := h.runner.Create(ctx, engine.New(spec, tmpl)); {
	case errors.As(err, &dup):
		return task.Created{ID: dup.ID, Duplicate: true}, nil
	case err != nil:
		return task.Created{}, err
	}
	created := task.Created{ID: spec.ID, Warnings: warnings}
	for _, m := range missing {
		created.Warnings = append(created.Warnings, m.Text)
	}
	return created, nil
}

// UnfinishedTask implements [Service].
func (r reading) UnfinishedTask(ctx context.Context, req task.Request) (task.ID, error) {
	tmpl, err := r.templateFor(req)
	if err != nil {
		return "", err
	}
	spec, err := newSpec(req, tmpl, r.now())
	if err != nil {
		return "", err
	}
	f := store.Filter{
		Statuses:  []task.Status{task.Pending, task.InProgress, task.Paused},
		Namespace: spec.Template.Namespace, Template: spec.Template.Name, Version: spec.Template.Version,
	}
	for page := (store.Page{Limit: store.MaxPage}); ; {
		found, next, err := r.store.List(ctx, f, page)
		if err != nil {
			return "", err
		}
		for i := range found {
			s := &found[i].Spec
			if s.Template.Hash == spec.Template.Hash && s.InputHash == spec.InputHash {
				return s.ID, nil
			}
		}
		if next == "" {
			return "", fmt.Errorf("no unfinished task of %s with this input: %w", spec.Template, task.ErrNotFound)
		}
		page.After = next
	}
}

// templateFor returns the template that a request names or brings along.
func (r reading) templateFor(req task.Request) (*template.Template, error) {
	if req.Source == nil {
		return r.templates.Get(req.Template)
	}
	return template.Parse(req.SourceName, req.Source, template.Options{Environment: req.Environment})
}

// newSpec checks a request and turns it into the spec of a task without an id
// (rules C1, C3, C5).
func newSpec(r task.Request, tmpl *template.Template, now time.Time) (task.Spec, error) {
	if err := checkRequest(r); err != nil {
		return task.Spec{}, err
	}
	input, err := canonicalInput(r.Input)
	if err != nil {
		return task.Spec{}, err
	}
	if err := tmpl.ValidateInput(input); err != nil {
		return task.Spec{}, err
	}
	sum := sha256.Sum256(input)
	tags := slices.Clone(r.Tags)
	slices.Sort(tags)
	spec := task.Spec{
		Template: tmpl.Ref(), Input: task.Value{Inline: input}, InputHash: hex.EncodeToString(sum[:]),
		CorrelationID: r.CorrelationID, CorrelationSet: r.CorrelationID != "",
		Initiator: r.Initiator, SourceSystem: r.SourceSystem, Reason: r.Reason, Tags: slices.Compact(tags),
		Priority: r.Priority, Bypass: r.Bypass, CreatedAt: now.UTC(), IdempotencyKey: r.IdempotencyKey, KeyTTL: r.KeyTTL,
	}
	if tmpl.IdentityHash && spec.IdempotencyKey == "" {
		spec.IdempotencyKey = identity(&spec)
	}
	if spec.KeyTTL == 0 {
		spec.KeyTTL = task.DefaultKeyTTL
	}
	deadline := r.Deadline
	if deadline == 0 {
		deadline = tmpl.Deadline
	}
	if deadline > 0 {
		spec.Deadline = spec.CreatedAt.Add(deadline)
	}
	return spec, nil
}

// identity is the idempotency key of a template with `identity: hash`.
func identity(s *task.Spec) string {
	sum := sha256.New()
	for _, part := range []string{s.Template.Hash, s.InputHash, s.Initiator, s.SourceSystem, s.Reason} {
		sum.Write(fmt.Appendf(nil, "%d:%s", len(part), part))
	}
	return "hash:" + hex.EncodeToString(sum.Sum(nil))
}

func checkRequest(r task.Request) error {
	var problems []string
	if r.CorrelationID != "" && !task.ValidCorrelationID(r.CorrelationID) {
		problems = append(problems, fmt.Sprintf(
			"correlation id %q: want a letter or digit, then at most 99 of letters, digits, '_', '.', '-'", r.CorrelationID))
	}
	if len(r.Tags) > task.MaxTags {
		problems = append(problems, fmt.Sprintf("%d tags, at most %d are allowed", len(r.Tags), task.MaxTags))
	}
	for _, t := range r.Tags {
		if t == "" || len(t) > task.MaxTagLen || strings.ContainsAny(t, "\x00\n") {
			problems = append(problems, fmt.Sprintf("tag %q: want 1 to %d characters on one line", t, task.MaxTagLen))
		}
	}
	for _, text := range []struct{ name, value string }{
		{"initiator", r.Initiator},
		{"source system", r.SourceSystem},
		{"reason", r.Reason},
		{"idempotency key", r.IdempotencyKey},
	} {
		if len(text.value) > task.MaxText || strings.Contains(text.value, "\x00") {
			problems = append(problems, fmt.Sprintf("%s: want at most %d bytes without NUL", text.name, task.MaxText))
		}
	}
	if r.Deadline < 0 || r.KeyTTL < 0 {
		problems = append(problems, "deadline and key TTL: want more than 0")
	}
	if r.Deadline > task.MaxDuration || r.KeyTTL > task.MaxDuration {
		problems = append(problems, fmt.Sprintf("deadline and key TTL: want at most %s", task.MaxDuration))
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", task.ErrInvalid, strings.Join(problems, "; "))
	}
	return nil
}

// unknownHandlersError refuses a task whose handlers nobody offers (rule R2), or whose
// events are bound to a subscriber that nobody offers.
type unknownHandlersError struct{ missing []*task.Reason }

func (e *unknownHandlersError) Error() string {
	texts := make([]string, len(e.missing))
	for i, m := range e.missing {
		texts[i] = m.Text
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes it an [ErrUnknownHandler].
func (e *unknownHandlersError) Unwrap() error { return ErrUnknownHandler }

// Hint implements [Hinter].
func (e *unknownHandlersError) Hint() string { return e.missing[0].Remedy }

// seed returns a random seed for task ids.
func seed() (s [32]byte) {
	_, _ = crand.Read(s[:]) // never fails, says its documentation
	return s
}
