package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Create is the first input of a task: it records its creation, skips what
// Spec.Bypass names and finds the first ready steps (rules C2, C4).
type Create struct{}

func (Create) apply(d *Decision) error {
	t := d.agg.Task
	if d.created || t.Revision > 0 {
		return fmt.Errorf("task %s exists already: %w", t.ID, task.ErrTransition)
	}
	bypass, err := d.bypassed()
	if err != nil {
		return err
	}
	if len(t.Input.Inline) > 0 && !json.Valid(t.Input.Inline) {
		return fmt.Errorf("input is no JSON: %w", task.ErrInvalid)
	}
	input, err := d.value(t.Input.Inline, task.InputBlob)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	t.Input = input
	d.created = true
	d.taskMoved()
	d.publish.TaskInitialized()
	for _, o := range bypass {
		s := &t.Steps[o]
		s.Note = task.NoteBypassed
		if err := d.step(s, task.StepBypass); err != nil {
			return err
		}
		d.publish.StepSkipped(s)
	}
	d.unblocked = d.agg.appendClaimable(d.unblocked[:0], d.now) // with the steps that have no dependencies
	return nil
}

// bypassed returns the steps that Spec.Bypass names, ascending and each once.
func (d *Decision) bypassed() ([]task.Ordinal, error) {
	var out []task.Ordinal
	for _, name := range d.agg.Task.Bypass {
		o, ok := d.agg.Template.StepByName(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("bypass_steps: template %s has no step %q: %w", d.agg.Task.Template, name, task.ErrInvalid)
		case !d.agg.Template.Steps[o].Skippable:
			return nil, fmt.Errorf("bypass_steps: step %q is not skippable: %w", name, task.ErrInvalid)
		}
		out = append(out, o)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// value turns a JSON document into a value, a blob when it is large.
func (d *Decision) value(doc []byte, n uint32) (task.Value, error) {
	switch size := len(doc); {
	case size > task.MaxValue:
		return task.Value{}, fmt.Errorf("%d bytes, at most %d are allowed: %w", size, task.MaxValue, task.ErrTooLarge)
	case size > task.MaxInline:
		sum := sha256.Sum256(doc)
		d.blobs = append(d.blobs, store.Blob{N: n, Data: doc})
		return task.Value{Ref: &task.BlobRef{N: n, Size: int64(size), SHA256: hex.EncodeToString(sum[:])}}, nil
	case size == 0:
		return task.Value{}, nil
	default:
		return task.Value{Inline: doc}, nil
	}
}
