package api

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// Limits of the socket. The largest single thing is a task's template source or a
// step's results, both below task.MaxValue.
const (
	maxMessage = 32 << 20 // of one message, both ways
	partTarget = 1 << 20  // a part of a task is sent when it has grown to this
)

// sendParts sends a view in parts: a task with thousands of steps and large results is
// no single message.
func sendParts(v *task.View, send func(*hostv1.TaskPart) error) error {
	part := &hostv1.TaskPart{Task: viewToWire(v)}
	size := proto.Size(part)
	for i := range v.Steps {
		step := stepToWire(&v.Steps[i])
		n := proto.Size(step)
		if size > 0 && size+n > partTarget {
			if err := send(part); err != nil {
				return err
			}
			part, size = &hostv1.TaskPart{}, 0
		}
		part.Steps = append(part.Steps, step)
		size += n
	}
	part.Last = true
	return send(part)
}

// errParts is returned for parts in an impossible order.
var errParts = errors.New("malformed answer: a part of a task is missing")

// viewParts puts a view together again.
type viewParts struct {
	view *task.View
}

// add takes the next part and returns the view when it was the last.
func (p *viewParts) add(part *hostv1.TaskPart) (*task.View, error) {
	if t := part.GetTask(); t != nil {
		p.view = viewFromWire(t)
	}
	if p.view == nil {
		return nil, errParts
	}
	for _, s := range part.GetSteps() {
		step, err := stepFromWire(s)
		if err != nil {
			return nil, fmt.Errorf("malformed answer: %w", err)
		}
		p.view.Steps = append(p.view.Steps, step)
	}
	if !part.GetLast() {
		return nil, nil //nolint:nilnil // not complete yet
	}
	v := p.view
	p.view = nil
	return v, nil
}
