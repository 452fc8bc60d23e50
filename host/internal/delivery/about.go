package delivery

import (
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// about returns what log lines say of an event of the log: which task and step it is
// about. Nothing, if it is about none or cannot be read.
func about(encoded []byte) logkeys.About {
	var e eventv1.Event
	if err := proto.Unmarshal(encoded, &e); err != nil || e.GetTaskId() == "" {
		return logkeys.About{}
	}
	a := logkeys.AboutTask(e.GetTaskId(), e.GetCorrelationId(), e.GetTraceparent())
	a.Step = e.GetStep()
	return a
}
