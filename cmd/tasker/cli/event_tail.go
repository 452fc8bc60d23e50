package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// defaultTail is how many events `event tail` prints when nothing else is asked for.
const defaultTail = 20

// eventJSON is one event of `event tail --json`.
type eventJSON struct {
	Seq           uint64          `json:"seq"`
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	At            *string         `json:"at"`
	Task          *string         `json:"task"`
	TaskSeq       *uint64         `json:"task_seq"`
	Step          *string         `json:"step"`
	Template      *string         `json:"template"`
	CorrelationID *string         `json:"correlation_id"`
	Payload       json.RawMessage `json:"payload"`
}

// errEnough ends the reading of the log.
var errEnough = errors.New("the reader has gone away")

func (a *app) eventTailCommand() *cobra.Command {
	var q host.EventQuery
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print events of the log",
		Long: `Print events of the log in order: the last 20, those from a sequence number on, or all
of one task. With --follow those to come are printed as they are committed.

--json prints an array of {"seq", "id", "type", "at", "task", "task_seq", "step",
"template", "correlation_id", "payload"}; with --follow one object per line.`,
		Example: `  tasker event tail --follow --type 'step.*'
  tasker event tail --task 01JD --json
  tasker event tail --from 1`,
		Args: args(0, 0),
	}
	f := c.Flags()
	f.Uint64Var(&q.From, "from", 0, "first sequence number; 1 is the beginning")
	f.IntVar(&q.Last, "last", 0, fmt.Sprintf("only the last so many (default %d, without --from and --task)", defaultTail))
	f.StringVar(&q.Task, "task", "", "of this task")
	f.StringVar(&q.Type, "type", "", "of this type, or pattern such as 'step.*'")
	f.BoolVar(&q.Follow, "follow", false, "go on with events to come")
	_ = c.RegisterFlagCompletionFunc("task", a.completeTasks)
	_ = c.RegisterFlagCompletionFunc("type", completeEventTypes)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case q.From > 0 && q.Last > 0:
			return usageOf(c, errors.New("--from and --last exclude each other"))
		case q.Last < 0:
			return usageOf(c, fmt.Errorf("--last: %d: want at least 1", q.Last))
		case q.From == 0 && q.Last == 0 && q.Task == "":
			q.Last = defaultTail
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			return a.tail(ctx, s, q, *asJSON)
		})
	}
	return c
}

func (a *app) tail(ctx context.Context, s host.Service, q host.EventQuery, asJSON bool) error {
	collected := []eventJSON{}
	err := s.Events(ctx, q, func(e host.LogEntry) error {
		var envelope eventv1.Event
		if err := proto.Unmarshal(e.Encoded, &envelope); err != nil {
			return fmt.Errorf("event %d: %w", e.Seq, err)
		}
		switch {
		case asJSON && !q.Follow:
			collected = append(collected, newEventJSON(e.Seq, &envelope))
		case asJSON:
			line, err := json.Marshal(newEventJSON(e.Seq, &envelope))
			if err != nil {
				return fmt.Errorf("event %d: %w", e.Seq, err)
			}
			a.out.printf("%s\n", line)
		default:
			a.printEvent(e.Seq, &envelope)
		}
		if a.out.err != nil {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || (q.Follow && ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return nil
	}
	if err != nil {
		return err
	}
	if asJSON && !q.Follow {
		return a.printJSON(collected)
	}
	return nil
}

func newEventJSON(seq uint64, e *eventv1.Event) eventJSON {
	out := eventJSON{
		Seq: seq, ID: e.GetId(), Type: e.GetType(), At: stamp(time.Unix(0, e.GetAt())), Task: optional(e.GetTaskId()),
		Step: optional(e.GetStep()), CorrelationID: optional(e.GetCorrelationId()), Payload: e.GetPayload(),
	}
	if n := e.GetTaskSeq(); n > 0 {
		out.TaskSeq = &n
	}
	if e.GetTemplate() != "" {
		ref := e.GetNamespace() + "/" + e.GetTemplate() + "@" + e.GetVersion()
		out.Template = &ref
	}
	return out
}

// known are the keys of payloads that repeat what the line says, or that nobody reads.
func known() []string {
	return []string{
		"task_id", "namespace", "template", "version", "correlation_id", "step_id", "step_name", "host_id",
	}
}

// brief is a payload without what is known, on one line.
func brief(payload []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil {
		return oneLine(string(payload))
	}
	for _, key := range known() {
		delete(fields, key)
	}
	short, err := json.Marshal(fields)
	if err != nil {
		return oneLine(string(payload))
	}
	return oneLine(string(short))
}

// printEvent prints an event on one line; its payload is cut.
func (a *app) printEvent(seq uint64, e *eventv1.Event) {
	const maxPayload = 160
	subject := e.GetTaskId()
	if e.GetStep() != "" {
		subject += " " + e.GetStep()
	}
	a.out.printf("%d  %s  %-28s %s  %s\n", seq, time.Unix(0, e.GetAt()).UTC().Format("2006-01-02 15:04:05.000Z"),
		e.GetType(), subject, cut(brief(e.GetPayload()), maxPayload))
}
