package supervisor

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// EventStream is a Deliver stream to an instance. Send and Recv may be called at the same
// time, each by one goroutine.
type EventStream struct {
	in           *instance
	end          func() // lets go of what belongs to the stream
	stream       grpc.BidiStreamingClient[pluginv1.DeliverRequest, pluginv1.DeliverResponse]
	subscription string // as the first frame says
}

// OpenStream opens a Deliver stream to an instance that is ready; it ends with ctx and
// with the instance. An instance that drains is not stopped before its streams have
// ended. Error: [task.ErrNotFound] when the instance is gone.
func (s *Supervisor) OpenStream(ctx context.Context, instance string) (*EventStream, error) {
	in := s.instance(instance)
	if in == nil {
		return nil, fmt.Errorf("instance %s: %w", instance, task.ErrNotFound)
	}
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(in.ctx, cancel) //nolint:contextcheck // the stream ends with its instance, too
	stream, err := in.launch.services.event.Deliver(ctx)
	if err != nil {
		detach()
		cancel()
		return nil, fmt.Errorf("deliver to %s: %w", instance, err)
	}
	in.addStream(1)
	return &EventStream{in: in, stream: stream, end: sync.OnceFunc(func() {
		detach()
		cancel()
		in.addStream(-1)
	})}, nil
}

// FailInstance says that an instance does not answer: its goroutines are dumped, it is
// killed, and started again as after a crash. It does nothing when the instance is gone.
func (s *Supervisor) FailInstance(instance, why string) {
	in := s.instance(instance)
	if in == nil {
		return
	}
	select {
	case in.failed <- why:
	default: // it is being ended
	}
}

// Send sends a frame.
func (s *EventStream) Send(frame *pluginv1.DeliverRequest) error {
	s.in.frames.Add(1)
	switch k := frame.GetKind().(type) {
	case *pluginv1.DeliverRequest_Open:
		s.subscription = k.Open.GetSubscription()
	case *pluginv1.DeliverRequest_Batch:
		s.holds(k.Batch.GetEvents())
	}
	if err := s.stream.Send(frame); err != nil {
		return fmt.Errorf("deliver to %s: %w", s.in.id, err)
	}
	return nil
}

// holds notes which event is in flight, if it is the only one: when the process ends, that
// may be to blame.
func (s *EventStream) holds(events []*pluginv1.SequencedEvent) {
	what := ""
	if len(events) == 1 {
		what = fmt.Sprintf("event %d of %s", events[0].GetSeq(), s.subscription)
	}
	s.in.company.Holds(s, len(events), what)
}

// Join asks whether events may be sent, or, with alone, whether one may have the instance
// to itself. It is asked before each batch, and [EventStream.Leave] told when all are
// answered. Whoever is refused waits for [Sink.InstanceRoom], or for the end. It never
// blocks.
func (s *EventStream) Join(alone bool) bool { return s.in.company.Join(s, alone) }

// Leave says that no event is unanswered, and that none wants to be alone.
func (s *EventStream) Leave() { s.in.company.Leave(s) }

// Recv returns the next frame that is not a log line, which goes to the plugin's log. It
// is to be called until it returns an error.
func (s *EventStream) Recv() (*pluginv1.DeliverResponse, error) {
	for {
		frame, err := s.stream.Recv()
		if err != nil {
			s.in.company.Broke(s)
			s.end()
			return nil, fmt.Errorf("deliver to %s: %w", s.in.id, err)
		}
		switch k := frame.GetKind().(type) {
		case *pluginv1.DeliverResponse_Log:
			s.in.launch.output.logged(sourceSubscriber, logkeys.About{}, k.Log.GetLevel(), k.Log.GetMessage(), k.Log.GetFields())
		case *pluginv1.DeliverResponse_Ack:
			s.in.acked.Store(true)
			return frame, nil
		default:
			return frame, nil
		}
	}
}

// CloseSend says that no more frames are sent.
func (s *EventStream) CloseSend() error { return s.stream.CloseSend() }
