package publish

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tasker-engine/tasker/host/task"
)

// Emitted publishes a custom event that an attempt of the step emitted, with the payload
// that its plugin made.
func (p *Task) Emitted(s *task.Step, e task.Emit) {
	if p.err != nil {
		return
	}
	var payload bytes.Buffer
	if err := json.Compact(&payload, e.Payload); err != nil {
		p.err = fmt.Errorf("publish %s: %w", e.Name, err)
		return
	}
	p.add(e.Name, s.Name, payload.Bytes())
}

// addTemplates appends the custom events that the template publishes with an event: they
// have its payload.
func (p *Task) addTemplates(on string, step task.StepName, payload []byte) {
	for i := range p.template.Events {
		if e := &p.template.Events[i]; e.On == on && e.Step == step {
			p.add(e.Name, step, payload)
		}
	}
}
