package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Plugins tells what is known of a handler when a step that wants it is explained; a
// nil Plugins means that no host is running.
type Plugins interface {
	// Handler returns why no attempt of the handler can be started now, nil when one could.
	Handler(ref task.HandlerRef) *task.Reason
}

// View explains the task as it is at the instant now: its derived status (rule S6) and,
// for each step that is not running, why (rule S7). It uses the predicates that
// decisions use and changes nothing.
func (a *Aggregate) View(now time.Time, plugins Plugins) *task.View {
	t := a.Task
	v := &task.View{
		Spec: t.Spec, Status: t.Status, Stop: t.Stop, Failure: t.Failure, Resolution: t.Resolution,
		StartedAt: t.StartedAt, CompletedAt: t.CompletedAt, UpdatedAt: t.UpdatedAt,
		Revision: t.Revision, Seq: t.Seq, Steps: make([]task.StepView, len(t.Steps)),
	}
	v.Derived = a.Derived(now)
	x := &explainer{Aggregate: a, now: now, plugins: plugins, seen: make([]bool, len(t.Steps)), root: make([]int, len(t.Steps))}
	for i := range t.Steps {
		spec := &a.Template.Steps[i]
		sv := &v.Steps[i]
		*sv = task.StepView{Step: t.Steps[i], Handler: spec.Handler, Config: spec.Config, Optional: spec.Optional, Limit: a.limitOf(i), Join: string(template.JoinAll)}
		if spec.Join != "" {
			sv.Join = string(spec.Join)
		}
		if sv.Attempt != nil { // the only part of a step that later decisions change in place
			attempt := *sv.Attempt
			sv.Attempt = &attempt
		}
		for _, dep := range spec.DependsOn {
			sv.DependsOn = append(sv.DependsOn, a.Template.Steps[dep].Name)
		}
		sv.Reason = x.reason(&t.Steps[i])
	}
	v.Health, v.Action = a.health(v)
	return v
}

func (a *Aggregate) limitOf(i int) uint32 {
	if s := a.Task.Steps[i].Settings; s != nil {
		return s.Retry.Limit
	}
	if r := a.Template.Steps[i].Retry; r != nil {
		return r.WithDefaults().Limit
	}
	return task.DefaultRetryLimit
}

// Derived returns the task's status as the sum of its steps, first match (rule S6).
func (a *Aggregate) Derived(now time.Time) task.Derived {
	ready, timed := 0, 0
	for i := range a.Task.Steps {
		switch s := &a.Task.Steps[i]; {
		case !a.idle(s):
		case now.Before(notBefore(s)):
			timed++
		default:
			ready++
		}
	}
	failed := a.in(task.StepError) + a.in(task.StepCancelled)
	switch {
	case a.open() == 0 && failed > 0:
		return task.DerivedBlocked
	case a.in(task.StepInProgress) > 0:
		return task.DerivedProcessing
	case ready > 0:
		return task.DerivedReady
	case a.in(task.StepWaiting) > 0:
		return task.DerivedWaiting
	case timed > 0:
		return task.DerivedWaitingForRetry
	case a.allSatisfied():
		return task.DerivedComplete
	default:
		return task.DerivedDependencies
	}
}

// health says how the task is doing and what somebody should do about it.
func (a *Aggregate) health(v *task.View) (task.Health, string) {
	id := string(a.Task.ID)
	switch {
	case v.Status == task.Error && slices.ContainsFunc(a.Task.Steps, func(s task.Step) bool { return hopeless(&s) }):
		return task.HealthBlocked, "mend what the errors name, then: tasker task retry " + id
	case v.Status == task.Error:
		return task.HealthBlocked, "tasker task retry " + id
	case v.Status == task.Paused:
		return task.HealthWaiting, "tasker task resume " + id
	case v.Status.Terminal():
		return task.HealthOK, ""
	case a.in(task.StepWaiting) > 0 && v.Derived == task.DerivedWaiting:
		return task.HealthBlocked, "tasker task why " + id
	}
	for i := range v.Steps {
		r := v.Steps[i].Reason
		if r == nil {
			continue
		}
		switch r.Code {
		case task.ReasonNoPlugin, task.ReasonNoHandler, task.ReasonNoHost:
			return task.HealthBlocked, r.Remedy
		default:
		}
	}
	switch {
	case a.in(task.StepError) > 0:
		return task.HealthDegraded, ""
	case v.Derived == task.DerivedProcessing:
		return task.HealthOK, ""
	default:
		return task.HealthWaiting, ""
	}
}

// explainer derives the reasons of one view.
type explainer struct {
	*Aggregate

	now     time.Time
	plugins Plugins
	seen    []bool // by ordinal: root is known
	root    []int  // by ordinal: the failed step above, or none
}

const none = -1

// reason says why a step is not running; nil when it runs or is complete.
func (x *explainer) reason(s *task.Step) *task.Reason {
	switch s.Status {
	case task.StepPending:
		if x.unmet[s.Ordinal] > 0 {
			return x.blockedReason(s)
		}
		return x.idleReason(s)
	case task.StepWaitingForRetry:
		return x.idleReason(s)
	case task.StepWaiting:
		return &task.Reason{
			Code: task.ReasonParked, Text: "its attempt was lost and on_crash is park: an operator decides",
			Remedy: x.remedy(s), Since: s.Attempt.EndedAt,
		}
	case task.StepError:
		return &task.Reason{Code: task.ReasonFailed, Text: s.Failure.Error(), Remedy: x.remedy(s), Since: s.CompletedAt}
	case task.StepCancelled:
		return &task.Reason{Code: task.ReasonCancelledByStop, Text: "cancelled: " + s.Note, Since: s.CompletedAt}
	case task.StepSkipped:
		return &task.Reason{Code: task.ReasonSkipped, Text: x.skippedText(s), Since: s.CompletedAt}
	default:
		return nil
	}
}

func (x *explainer) skippedText(s *task.Step) string {
	switch s.Note {
	case task.NoteWhen:
		return "skipped: when " + strings.Join(strings.Fields(x.Template.Steps[s.Ordinal].When), " ") + " was false"
	case task.NoteWhenDependencies:
		return "skipped: the conditions of all its dependencies were false"
	default:
		return "skipped: " + s.Note
	}
}

// remedy is what to do about a step that an operator can retry.
func (x *explainer) remedy(s *task.Step) string {
	retry := fmt.Sprintf("tasker task retry %s --step %s", x.Task.ID, s.Name)
	if !hopeless(s) {
		return retry
	}
	return fmt.Sprintf("mend what the error names, then: %s; or supply the results: tasker task resolve %s --step %s",
		retry, x.Task.ID, s.Name)
}

// hopeless reports whether a step failed in a way that another attempt alone would not
// mend.
func hopeless(s *task.Step) bool {
	return s.Status == task.StepError && s.Failure != nil && s.Failure.Kind == task.KindPermanent
}

// blockedReason names the dependencies that keep a step from running: failed ones,
// wherever above they are, first, because only they need somebody.
func (x *explainer) blockedReason(s *task.Step) *task.Reason {
	var failed, waiting []string
	first := none
	hopeful := false
	for _, dep := range x.Template.Steps[s.Ordinal].DependsOn {
		d := &x.Task.Steps[dep]
		if d.Status.Satisfies() {
			continue
		}
		waiting = append(waiting, string(d.Name))
		hopeful = hopeful || x.failedAbove(dep) == none
		if root := x.failedAbove(dep); root != none && !slices.Contains(failed, string(x.Task.Steps[root].Name)) {
			failed = append(failed, string(x.Task.Steps[root].Name))
			if first == none {
				first = root
			}
		}
	}
	if x.Template.Steps[s.Ordinal].Join == template.JoinAny && hopeful {
		return &task.Reason{
			Code: task.ReasonDependencies, On: waiting, Text: "waits for the first of " + strings.Join(waiting, ", "),
		}
	}
	if len(failed) > 0 {
		return &task.Reason{
			Code: task.ReasonBlocked, On: failed, Text: "blocked by " + strings.Join(failed, ", "),
			Remedy: x.remedy(&x.Task.Steps[first]),
		}
	}
	return &task.Reason{Code: task.ReasonDependencies, On: waiting, Text: "waits for " + strings.Join(waiting, ", ")}
}

// failedAbove returns the first failed step among the step and what it depends on, none
// when there is none; each step is looked at once per view.
func (x *explainer) failedAbove(o task.Ordinal) int {
	if x.seen[o] {
		return x.root[o]
	}
	x.seen[o] = true
	x.root[o] = none
	switch x.Task.Steps[o].Status {
	case task.StepError, task.StepCancelled:
		x.root[o] = int(o)
	case task.StepPending:
		x.root[o] = x.failedBelow(o)
	default:
	}
	return x.root[o]
}

// failedBelow returns the failed step that keeps a pending one from running, none when
// none does: with `join: any` each dependency that is left must be hopeless.
func (x *explainer) failedBelow(o task.Ordinal) int {
	if x.unmet[o] == 0 {
		return none
	}
	spec := &x.Template.Steps[o]
	first := none
	for _, dep := range spec.DependsOn {
		if x.Task.Steps[dep].Status.Satisfies() {
			continue
		}
		root := x.failedAbove(dep)
		switch {
		case root == none && spec.Join == template.JoinAny:
			return none
		case root != none && spec.Join != template.JoinAny:
			return root
		case root != none && first == none:
			first = root
		}
	}
	return first
}

// heldReason says why the task as a whole starts nothing, nil when it does.
func (x *explainer) heldReason() *task.Reason {
	t := x.Task
	switch {
	case t.Stop != nil:
		return &task.Reason{
			Code: task.ReasonStopping, Text: "the task is winding down: " + string(t.Stop.Kind), Since: t.Stop.At,
		}
	case t.Status == task.Paused:
		return &task.Reason{
			Code: task.ReasonPaused, Text: "the task is paused", Remedy: "tasker task resume " + string(t.ID),
		}
	case t.Status.Terminal():
		return &task.Reason{Code: task.ReasonStopping, Text: "the task has ended: " + string(t.Status), Since: t.CompletedAt}
	default:
		return nil
	}
}

// idleReason says why a step that waits only for time, its task or a slot does not run.
func (x *explainer) idleReason(s *task.Step) *task.Reason {
	if r := x.heldReason(); r != nil {
		return r
	}
	switch {
	case x.now.Before(s.RetryAt):
		return &task.Reason{
			Code: task.ReasonRetry, Since: s.Attempt.EndedAt, Until: s.RetryAt,
			Text: fmt.Sprintf("failure %d of %d; tries again at %s", s.Failures, s.Settings.Retry.Limit, s.RetryAt.Format(time.RFC3339)),
		}
	case x.now.Before(s.HoldUntil):
		return &task.Reason{
			Code: task.ReasonHold, Since: s.Attempt.EndedAt, Until: s.HoldUntil,
			Text: "its timed-out attempt was asked to stop and has not answered yet",
		}
	default:
		return x.slotReason(s)
	}
}

// slotReason says why a step that could run does not: its plugin, or no free slot.
func (x *explainer) slotReason(s *task.Step) *task.Reason {
	since := x.readyAt(s)
	if x.plugins == nil {
		return &task.Reason{
			Code: task.ReasonNoHost, Text: "ready, but no host is running in this home", Remedy: "tasker serve", Since: since,
		}
	}
	ref := x.Template.Steps[s.Ordinal].Handler
	if s.Settings != nil {
		ref.Version = s.Settings.HandlerVersion
	}
	if r := x.plugins.Handler(ref); r != nil {
		r.Since = since
		return r
	}
	return &task.Reason{Code: task.ReasonReady, Text: "ready: about to be claimed", Since: since}
}
