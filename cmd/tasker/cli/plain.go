package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// plain shows a task as lines, one per change of a step or of the task.
type plain struct {
	print func(format string, args ...any)
	now   func() time.Time

	mu    sync.Mutex
	task  task.Status
	steps []stepMark
}

// stepMark is what a line was last printed about.
type stepMark struct {
	status   task.StepStatus
	attempts uint32
}

func (p *plain) update(v *task.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	first := p.steps == nil
	if first {
		p.steps = make([]stepMark, len(v.Steps))
		for i := range p.steps {
			p.steps[i].status = task.StepPending
		}
		p.print("task %s  %s  %s", v.ID, v.Template, plural(len(v.Steps), "step"))
	}
	for i := range v.Steps {
		s := &v.Steps[i]
		mark := stepMark{s.Status, s.Attempts}
		if p.steps[i] != mark {
			p.steps[i] = mark
			p.print("%s  %s %s: %s", now.UTC().Format("15:04:05Z"), glyph(s.Status), s.Name, describeStep(s, now))
		}
	}
	if v.Status != p.task {
		p.task = v.Status
		if !first || v.Status != task.Pending {
			p.print("%s  task %s", now.UTC().Format("15:04:05Z"), taskLine(v))
		}
	}
}

func (p *plain) close() {}

// taskLine is a task's status and, when it has ended, its time and error.
func taskLine(v *task.View) string {
	text := string(v.Status)
	if !v.CompletedAt.IsZero() {
		text += fmt.Sprintf(" after %s", seconds(v.CompletedAt.Sub(v.CreatedAt)))
	}
	if v.Stop != nil && v.Stop.Reason != "" {
		text += ": " + oneLine(v.Stop.Reason)
	}
	return text
}
