package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
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

// tailFlags are the flags of `event tail` that need reading.
type tailFlags struct {
	query host.EventQuery
	from  string
}

func (a *app) eventTailCommand() *cobra.Command {
	var flags tailFlags
	q := &flags.query
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print events of the log",
		Long: `Print events of the log in order: the last 20, those from a place on, or all of one task.
With --follow those to come are printed as they are committed, until an interrupt. The
place is the number of an event, a time such as 2026-01-31T08:00:00Z, or how long ago such
as 10m. --filter is an expression (CEL) over payload and event, whose fields are id, type,
at, task, task_seq, step, namespace, template, version, correlation_id and payload.
--subscriber prints what this subscriber gets, by its declaration and its bindings as they
are now.

--json prints an array of {"seq", "id", "type", "at", "task", "task_seq", "step",
"template", "correlation_id", "payload"}; with --follow one object per line.`,
		Example: `  tasker event tail --follow --type 'step.*'
  tasker event tail --task 01JD --json
  tasker event tail --from 10m --filter 'event.type == "step.failed" && payload.final'
  tasker event tail -f --subscriber mail/failures`,
		Args: args(0, 0),
	}
	f := c.Flags()
	f.StringVar(&flags.from, "from", "", "`WHERE` to begin: number of an event (1 is the beginning), time, or how long ago")
	f.IntVar(&q.Last, "last", 0, fmt.Sprintf("only the last so many (default %d, without --from and --task)", defaultTail))
	f.StringVar(&q.Task, "task", "", "of this task")
	f.StringVar(&q.Type, "type", "", "of this type, or pattern such as 'step.*'")
	f.StringVar(&q.Filter, "filter", "", "for which this `EXPRESSION` (CEL) is true")
	f.StringVar(&q.Subscription, "subscriber", "", "that this subscriber gets")
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with events to come")
	_ = c.RegisterFlagCompletionFunc("task", a.completeTasks)
	_ = c.RegisterFlagCompletionFunc("type", a.completeEventTypes)
	_ = c.RegisterFlagCompletionFunc("from", completePositions)
	_ = c.RegisterFlagCompletionFunc("subscriber", a.completeSubscriptions)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := beginAt(q, flags.from, a.now()); err != nil {
			return usageOf(c, err)
		}
		if err := unknownTypes(q.Type); err != nil {
			return err
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			return goneHint(a.tail(ctx, s, *q, *asJSON), q.Task)
		})
	}
	return c
}

// goneHint says where the events of a task are that was removed: the log keeps them longer than the task.
func goneHint(err error, id string) error {
	const whole = 26 // characters of an id that is no prefix
	if !errors.Is(err, task.ErrNotFound) || len(id) != whole || !strings.Contains(err.Error(), id) {
		return err
	}
	return withHint(err, fmt.Sprintf(`if it was removed, its events are in the log until they are cut: tasker event tail --from 1 --filter 'event.task == %q'`, id))
}

// beginAt says where a query begins: at a place, else with the last so many.
func beginAt(q *host.EventQuery, from string, now time.Time) error {
	where, err := position(from, now)
	switch {
	case err != nil:
		return fmt.Errorf("--from: %w", err)
	case from != "" && q.Last > 0:
		return errors.New("--from and --last exclude each other")
	case q.Last < 0:
		return fmt.Errorf("--last: %d: want at least 1", q.Last)
	case from == "" && q.Last == 0 && q.Task == "":
		q.Last = defaultTail
	}
	if from == logEnd {
		where.At = now // later events are all that there can be
	}
	q.From, q.Since = where.Seq, where.At
	return nil
}

func (a *app) tail(ctx context.Context, s host.Service, q host.EventQuery, asJSON bool) error {
	collected := []eventJSON{}
	err := eachEvent(ctx, s, q, func(seq uint64, e *eventv1.Event) error {
		switch {
		case asJSON && !q.Follow:
			collected = append(collected, newEventJSON(seq, e))
		case asJSON:
			line, err := json.Marshal(newEventJSON(seq, e))
			if err != nil {
				return fmt.Errorf("event %d: %w", seq, err)
			}
			a.out.printf("%s\n", line)
		default:
			a.printEvent(seq, e)
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

// eachEvent calls f for the events of a query.
func eachEvent(ctx context.Context, s host.Service, q host.EventQuery, f func(seq uint64, e *eventv1.Event) error) error {
	return s.Events(ctx, q, func(e host.LogEntry) error {
		var envelope eventv1.Event
		if err := proto.Unmarshal(e.Encoded, &envelope); err != nil {
			return fmt.Errorf("event %d: %w", e.Seq, err)
		}
		return f(e.Seq, &envelope)
	})
}

// eventTime is when an event was recorded.
func eventTime(e *eventv1.Event) time.Time { return time.Unix(0, e.GetAt()) }

func newEventJSON(seq uint64, e *eventv1.Event) eventJSON {
	out := eventJSON{
		Seq: seq, ID: e.GetId(), Type: e.GetType(), At: stamp(eventTime(e)), Task: optional(e.GetTaskId()),
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

// maxShownPayload is how much of a payload a line shows.
const maxShownPayload = 160

// printEvent prints an event on one line; its payload is cut.
func (a *app) printEvent(seq uint64, e *eventv1.Event) {
	subject := e.GetTaskId()
	if e.GetStep() != "" {
		subject += " " + e.GetStep()
	}
	a.out.printf("%d  %s  %-28s %s  %s\n", seq, eventTime(e).UTC().Format("2006-01-02 15:04:05.000Z"),
		e.GetType(), subject, cut(brief(e.GetPayload()), maxShownPayload))
}
