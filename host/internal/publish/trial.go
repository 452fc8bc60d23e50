package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Trial encodes an event that goes into no log: an operator tries a subscriber out with
// it. Its envelope says what the payload says of a task and a step, as those of the
// catalog's payloads do; id tells it from others.
func Trial(id, name string, payload json.RawMessage, at time.Time) ([]byte, error) {
	var body bytes.Buffer
	if err := json.Compact(&body, payload); err != nil {
		return nil, fmt.Errorf("payload of %s: %w", name, err)
	}
	var about struct {
		TaskID        string `json:"task_id"`
		StepName      string `json:"step_name"`
		Namespace     string `json:"namespace"`
		Template      string `json:"template"`
		Version       string `json:"version"`
		CorrelationID string `json:"correlation_id"`
	}
	_ = json.Unmarshal(payload, &about) // a payload of another form tells less
	e := &eventv1.Event{
		Type: name, At: at.UnixNano(), TaskId: about.TaskID, Step: about.StepName, Namespace: about.Namespace,
		Template: about.Template, CorrelationId: about.CorrelationID, Payload: body.Bytes(),
	}
	if about.Template != "" { // the events of plugins have a version, too
		e.Version = about.Version
	}
	return appendEnvelope(nil, []byte(id), e), nil
}
