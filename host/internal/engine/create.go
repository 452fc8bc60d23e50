package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Create is the first input of a task: it records its creation, skips what
// Spec.Bypass names and finds the first ready steps (rules C2, C4).
type Create struct{}

func (Create) apply(d *Decision) error {
	t := d.agg.Task
	bypass := make([]task.Ordinal, 0, len(t.Bypass))
	for _, name := range t.Bypass {
		o, ok := d.agg.Template.StepByName(name)
		switch {
		case !ok:
			return fmt.Errorf("bypass_steps: template %s has no step %q: %w", t.Template, name, task.ErrInvalid)
		case !d.agg.Template.Steps[o].Skippable:
			return fmt.Errorf("bypass_steps: step %q is not skippable: %w", name, task.ErrInvalid)
		}
		bypass = append(bypass, o)
	}
	input, err := d.value(t.Input.Inline, task.InputBlob)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	t.Input = input
	d.created = true
	d.publish.TaskInitialized()
	for i := range t.Steps {
		if d.agg.unmet[i] == 0 {
			d.becameReady(t.Steps[i].Ordinal)
		}
	}
	for _, o := range bypass {
		s := &t.Steps[o]
		if s.Status == task.StepSkipped {
			continue // named twice
		}
		s.Note = task.NoteBypassed
		if err := d.step(s, task.StepBypass); err != nil {
			return err
		}
		d.publish.StepSkipped(s)
	}
	return nil
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
