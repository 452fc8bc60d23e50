package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// whyJSON is one entry of `task why --json`.
type whyJSON struct {
	Step   string `json:"step"`
	Status string `json:"status"`
	reasonJSON
}

func (a *app) taskWhyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "why ID",
		Short: "Say why the steps of a task are not running, and what to do",
		Long: `Say for each step of a task that is neither running nor complete why it is not, since
and until when, and what to type to change that. Steps with the same reason are told
together.

--json prints an array of {"step", "status", "code", "text", "remedy", "on", "since",
"until"}.`,
		Example: `  tasker task why 01JD
  tasker task why 01JD --json | jq -r '.[].remedy'`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			v, err := s.Task(ctx, given[0])
			if err != nil {
				return err
			}
			a.address(v)
			if *asJSON {
				out := []whyJSON{}
				for i := range v.Steps {
					if s := &v.Steps[i]; s.Reason != nil {
						out = append(out, whyJSON{string(s.Name), string(s.Status), *newReasonJSON(s.Reason)})
					}
				}
				return a.printJSON(out)
			}
			a.printWhy(v)
			return nil
		})
	}
	return c
}

// cause is one reason and the steps that it holds for.
type cause struct {
	reason *task.Reason
	status task.StepStatus
	steps  []string
}

func (a *app) printWhy(v *task.View) {
	a.out.printf("task %s is %s\n", v.ID, statusText(v))
	if v.Failure != nil {
		a.out.printf("  error: %s\n", oneLine(v.Failure.Error()))
	}
	if v.Action != "" {
		a.out.printf("  do:    %s\n", v.Action)
	}
	causes := causes(v)
	for _, c := range causes {
		a.out.printf("\n%s  (%s)\n  why:   %s%s\n", names(c.steps), c.status, oneLine(c.reason.Text), a.span(c.reason))
		if c.reason.Remedy != "" {
			a.out.printf("  do:    %s\n", c.reason.Remedy)
		}
	}
	if len(causes) == 0 && !v.Status.Terminal() {
		a.out.printf("every step that is not complete is running\n")
	}
}

// causes groups the steps by reason, in the order of the first step of each.
func causes(v *task.View) []*cause {
	var out []*cause
	byText := make(map[string]*cause)
	for i := range v.Steps {
		s := &v.Steps[i]
		if s.Reason == nil {
			continue
		}
		key := fmt.Sprint(s.Status, s.Reason.Code, s.Reason.Text, s.Reason.Until)
		if byText[key] == nil {
			byText[key] = &cause{reason: s.Reason, status: s.Status}
			out = append(out, byText[key])
		}
		byText[key].steps = append(byText[key].steps, string(s.Name))
	}
	return out
}

// names lists a few names and counts the rest.
func names(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return strings.Join(all[:most-1], ", ") + " and " + number(len(all)-most+1) + " more"
}

// span says since and until when a reason holds.
func (a *app) span(r *task.Reason) string {
	var parts []string
	if !r.Since.IsZero() {
		parts = append(parts, "for "+seconds(a.now().Sub(r.Since)))
	}
	if !r.Until.IsZero() {
		parts = append(parts, "until "+clock(r.Until))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
