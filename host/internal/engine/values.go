package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// The values that expressions read lie in the aggregate when they are small. Large ones
// lie in blobs, and the engine reads none: it says which ones it wants, the caller provides
// them, and they are kept as long as a step may still read them.

// ErrUnresolved is returned for a claim whose step failed instead of being started, because
// its input could not be made. The decision holds that failure; the slot is free.
var ErrUnresolved = errors.New("the step's input cannot be made")

// errNotProvided is a caller's mistake: a decision went on without what it wanted.
var errNotProvided = errors.New("a large value was not provided")

// Wants returns the blobs that conditions of steps read which have become ready. The
// decision goes on with those steps when they are provided, or at its next move.
func (d *Decision) Wants() []uint32 {
	d.evaluate()
	var wants []uint32
	for _, o := range d.undecided {
		wants = append(wants, d.missing(d.agg.Template.WhenReads(o))...)
	}
	slices.Sort(wants)
	return slices.Compact(wants)
}

// Needs returns the blobs that the input of a step reads and that were not provided yet:
// what a claim of it needs.
func (d *Decision) Needs(o task.Ordinal) []uint32 {
	s := d.agg.Step(o)
	if s == nil || len(d.agg.Template.Steps[o].With) == 0 || resolved(s) {
		return nil
	}
	return d.missing(d.agg.Template.WithReads(o))
}

// Provide gives the decision a blob that it wants.
func (d *Decision) Provide(n uint32, doc json.RawMessage) error {
	v, err := template.DecodeValue(doc)
	if err != nil {
		return fmt.Errorf("value %d of task %s: %w", n, d.agg.Task.ID, err)
	}
	d.agg.keepLarge(n, v)
	return nil
}

// missing returns the blobs among what is read that are not at hand.
func (d *Decision) missing(reads template.Reads) []uint32 {
	var out []uint32
	look := func(v task.Value) {
		if v.Ref != nil && !d.agg.hasLarge(v.Ref.N) && d.written(v.Ref.N) == nil {
			out = append(out, v.Ref.N)
		}
	}
	if reads.Input {
		look(d.agg.Task.Input)
	}
	for _, o := range reads.Steps {
		look(d.agg.Task.Steps[o].Results)
	}
	return out
}

// written returns a blob that this decision writes, nil when it does not.
func (d *Decision) written(n uint32) json.RawMessage {
	for i := range d.blobs {
		if d.blobs[i].N == n {
			return d.blobs[i].Data
		}
	}
	return nil
}

// lookup returns a value, decoded.
func (d *Decision) lookup(v task.Value, n uint32) (any, error) {
	if v.Ref != nil {
		if large, ok := d.agg.large[v.Ref.N]; ok {
			return large, nil
		}
		doc := d.written(v.Ref.N)
		if doc == nil {
			d.fault = fmt.Errorf("value %d: %w", v.Ref.N, errNotProvided)
			return nil, d.fault
		}
		large, err := template.DecodeValue(doc)
		if err == nil {
			d.agg.keepLarge(v.Ref.N, large)
		}
		return large, err
	}
	if small, ok := d.decoded[n]; ok {
		return small, nil
	}
	small, err := template.DecodeValue(v.Inline)
	if err != nil {
		return nil, err
	}
	if d.decoded == nil {
		d.decoded = make(map[uint32]any)
	}
	d.decoded[n] = small
	return small, nil
}

// values are what the expressions of the task's steps read.
func (d *Decision) values() *template.Values {
	t := d.agg.Task
	return &template.Values{
		Task:  &t.Spec,
		Input: func() (any, error) { return d.lookup(t.Input, task.InputBlob) },
		Result: func(name task.StepName) (any, bool, error) {
			o, ok := d.agg.Template.StepByName(name)
			if !ok || !t.Steps[o].Status.Satisfies() {
				return nil, false, nil
			}
			v, err := d.lookup(t.Steps[o].Results, task.ResultBlob(o))
			return v, true, err
		},
	}
}

// enter lets a step in that waits for nothing any more: it is ready, or skipped because
// its condition is false or because all its dependencies were (rule S2). A condition is
// evaluated once; a step that was started before was taken.
func (d *Decision) enter(o task.Ordinal) {
	s := &d.agg.Task.Steps[o]
	switch {
	case !d.agg.Template.HasValues() || s.Attempts > 0:
		d.becameReady(o)
	case d.agg.nothingTaken(o):
		d.skip(s, task.NoteWhenDependencies)
	case d.agg.Template.Steps[o].When == "":
		d.becameReady(o)
	case len(d.missing(d.agg.Template.WhenReads(o))) > 0:
		d.undecided = append(d.undecided, o)
	default:
		d.consider(s)
	}
}

// evaluate goes on with the steps whose conditions can be evaluated by now.
func (d *Decision) evaluate() {
	if len(d.undecided) == 0 {
		return
	}
	undecided := d.undecided
	d.undecided = nil
	for _, o := range undecided {
		if s := &d.agg.Task.Steps[o]; s.Status == task.StepPending {
			d.enter(o)
		}
	}
	d.settle()
}

// consider evaluates the condition of a step.
func (d *Decision) consider(s *task.Step) {
	taken, err := d.agg.Template.Taken(s.Ordinal, d.values())
	switch {
	case err != nil:
		d.refuse(s, task.CodeWhenFailed, err)
	case taken:
		d.becameReady(s.Ordinal)
	default:
		d.skip(s, task.NoteWhen)
	}
}

// nothingTaken reports whether a step has dependencies and all of them were skipped
// because of conditions.
func (a *Aggregate) nothingTaken(o task.Ordinal) bool {
	deps := a.Template.Steps[o].DependsOn
	return len(deps) > 0 && !slices.ContainsFunc(deps, func(dep task.Ordinal) bool {
		s := &a.Task.Steps[dep]
		return s.Status != task.StepSkipped || (s.Note != task.NoteWhen && s.Note != task.NoteWhenDependencies)
	})
}

func (d *Decision) skip(s *task.Step, note string) {
	s.Note = note
	if err := d.step(s, task.StepSkip); err != nil {
		d.fault = err
		return
	}
	d.publish.StepSkipped(s)
}

// refuse fails a step for good that cannot be started: the same values would give the same
// error again.
func (d *Decision) refuse(s *task.Step, code string, cause error) {
	s.Failure = bounded(&task.Failure{
		Kind: task.KindPermanent, Code: code, Source: task.SourceHost, Message: cut(cause.Error()),
	})
	if err := d.fatal(s, task.StepRefuse, task.StepRefuseOptional); err != nil {
		d.fault = err
	}
}

// cut shortens a message to what is kept of one.
func cut(message string) string {
	if len(message) <= task.MaxErrorMessage {
		return message
	}
	return message[:task.MaxErrorMessage]
}

// resolved reports whether the input of a step was made by an earlier attempt. All
// attempts of a step have the same one, as they have the same idempotency key.
func resolved(s *task.Step) bool {
	return s.Attempt != nil && (s.Attempt.Input.Ref != nil || len(s.Attempt.Input.Inline) > 0)
}

// input makes the input of a step's next attempt; the zero Value means the task's.
func (d *Decision) input(s *task.Step) (task.Value, error) {
	switch {
	case len(d.agg.Template.Steps[s.Ordinal].With) == 0:
		return task.Value{}, nil
	case resolved(s):
		return s.Attempt.Input, nil
	}
	doc, err := d.agg.Template.Resolve(s.Ordinal, d.values())
	if err != nil {
		return task.Value{}, err
	}
	return d.value(doc, task.StepInputBlob(s.Ordinal))
}

func (a *Aggregate) hasLarge(n uint32) bool {
	_, ok := a.large[n]
	return ok
}

func (a *Aggregate) keepLarge(n uint32, v any) {
	if a.large == nil {
		a.large = make(map[uint32]any)
	}
	a.large[n] = v
}

// dropLarge forgets the large values that no step will read any more.
func (a *Aggregate) dropLarge() {
	for n := range a.large {
		if !slices.ContainsFunc(a.readers(n), a.mayRead) {
			delete(a.large, n)
		}
	}
}

// mayRead reports whether a step's expressions may still be evaluated.
func (a *Aggregate) mayRead(o task.Ordinal) bool {
	s := &a.Task.Steps[o]
	return !s.Status.Terminal() && s.Attempts == 0
}

// readers returns the steps that read a blob.
func (a *Aggregate) readers(n uint32) []task.Ordinal {
	if a.readersOf == nil {
		a.readersOf = make(map[uint32][]task.Ordinal)
		for i := range a.Template.Steps {
			o := task.Ordinal(i)
			for _, reads := range []template.Reads{a.Template.WithReads(o), a.Template.WhenReads(o)} {
				if reads.Input {
					a.readersOf[task.InputBlob] = append(a.readersOf[task.InputBlob], o)
				}
				for _, dep := range reads.Steps {
					a.readersOf[task.ResultBlob(dep)] = append(a.readersOf[task.ResultBlob(dep)], o)
				}
			}
		}
	}
	return a.readersOf[n]
}
