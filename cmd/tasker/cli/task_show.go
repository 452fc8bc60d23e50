package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) taskShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a task with its steps",
		Long: `Show a task with its steps. ID may be shortened as long as it is unambiguous.

--json prints all of the task: the keys of ` + "`tasker run --json`" + ` and those of its request,
its derived status and health, and for each step its settings, its last attempt with the
input that ` + "`with`" + ` made for it, its failure and why it is not running. With --events
there is "events", an array of the objects of ` + "`event tail --json`" + `.`,
		Example: `  tasker task show 01JD
  tasker task show 01JD --events
  tasker task show 01JD --json | jq '.steps[] | select(.status == "error")'`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	withEvents := c.Flags().Bool("events", false, "also print what has happened: the events of the task")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			v, err := s.Task(ctx, given[0])
			if err != nil {
				return err
			}
			a.address(v)
			if !*withEvents {
				if *asJSON {
					return a.printJSON(newTaskJSON(v))
				}
				a.printTask(v)
				return nil
			}
			past, err := pastEvents(ctx, s, host.EventQuery{Task: string(v.ID)})
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(newHistoryJSON(v, past))
			}
			a.printTask(v)
			a.printHistory(past)
			return nil
		})
	}
	return c
}

// historyJSON is what `task show --events --json` prints.
type historyJSON struct {
	taskJSON

	Events []eventJSON `json:"events"`
}

func newHistoryJSON(v *task.View, past []pastEvent) historyJSON {
	out := historyJSON{taskJSON: newTaskJSON(v), Events: make([]eventJSON, len(past))}
	for i, p := range past {
		out.Events[i] = newEventJSON(p.seq, p.event)
	}
	return out
}

// printHistory prints the events of a task: the task is known, so that only what differs is
// shown.
func (a *app) printHistory(past []pastEvent) {
	a.out.printf("\nevents\n")
	if len(past) == 0 {
		a.out.printf("  (none are left in the log)\n")
		return
	}
	if n := past[0].event.GetTaskSeq(); n > 1 {
		a.out.printf("  (the first %s of the task are no longer in the log)\n", number(n-1))
	}
	t := table{head: []string{"#", "SEQ", "AT", "EVENT", "STEP", "PAYLOAD"}}
	for _, p := range past {
		t.add(fmt.Sprint(p.event.GetTaskSeq()), fmt.Sprint(p.seq), eventTime(p.event).UTC().Format("2006-01-02 15:04:05.000Z"),
			p.event.GetType(), orDash(p.event.GetStep()), cut(brief(p.event.GetPayload()), maxShownPayload))
	}
	t.print(a.out)
}

func (a *app) printTask(v *task.View) {
	line := func(name, value string) {
		if value != "" && value != "-" {
			a.out.printf("%-15s %s\n", name, oneLine(value))
		}
	}
	line("task", string(v.ID))
	line("template", v.Template.String())
	line("status", statusText(v))
	if v.Failure != nil {
		line("error", v.Failure.Error())
	}
	if v.Stop != nil {
		line("stopping", byWhom(string(v.Stop.Kind), v.Stop.By, v.Stop.Reason))
	}
	if v.Resolution != nil {
		line("resolved", byWhom("", v.Resolution.By, v.Resolution.Reason))
	}
	line("created", clock(v.CreatedAt))
	line("started", clock(v.StartedAt))
	line("completed", clock(v.CompletedAt))
	line("deadline", clock(v.Deadline))
	line("initiator", v.Initiator)
	line("source system", v.SourceSystem)
	line("reason", v.Reason)
	line("tags", strings.Join(v.Tags, ", "))
	if v.CorrelationID != string(v.ID) {
		line("correlation id", v.CorrelationID)
	}
	line("trace", traceID(v))
	line("input", cut(string(v.Input.Inline), maxShownResult))
	if v.Input.Ref != nil {
		line("input", size(v.Input.Ref.Size))
	}
	line("next", v.Action)
	a.out.printf("\n")
	for _, d := range newTree(v).draw(v, a.now(), 1000, 0) {
		a.out.printf("%s\n", d.text)
	}
	a.printInputs(v)
}

// printInputs prints the inputs that steps made for themselves.
func (a *app) printInputs(v *task.View) {
	first := true
	for i := range v.Steps {
		s := &v.Steps[i]
		if len(s.Input) == 0 {
			continue
		}
		if first {
			a.out.printf("\ninputs made by `with`\n")
			first = false
		}
		a.out.printf("  %s %s\n", s.Name, cut(oneLine(string(s.Input)), maxShownResult))
	}
}

// byWhom is what an operator or the engine did, by whom and why, as far as known.
func byWhom(what, by, reason string) string {
	if by != "" {
		what += " by " + by
	}
	if reason != "" {
		what += ": " + reason
	}
	return strings.TrimSpace(what)
}

// statusText is the status of a task and, while that says something, how it is doing.
func statusText(v *task.View) string {
	if v.Status.Terminal() && v.Health == task.HealthOK {
		return string(v.Status)
	}
	return string(v.Status) + " (" + string(v.Derived) + ", " + string(v.Health) + ")"
}
