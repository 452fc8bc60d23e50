package cli

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// report prints how it ended: the result, what went wrong, and what to type next.
func (r *runner) report(ctx context.Context, ref string) error {
	r.refresh(ctx)
	if r.json {
		if err := r.printJSON(newRunJSON(r.last)); err != nil {
			return err
		}
	} else {
		r.printOutcome(r.last)
	}
	next := nextCommand(r.last, r.homeFlag())
	if r.stopped != nil {
		r.note("%v: task %s is not finished; it is %s", r.stopped, r.last.ID, r.last.Status)
		next = r.goOn(ref)
	}
	if !r.json && r.stopped == nil {
		r.out.printf("next: %s\n", next)
	} else if r.last.Status != task.Complete {
		r.note("next: %s", next)
	}
	if r.last.Status != task.Complete {
		return exit(exitFailed)
	}
	return nil
}

// refresh reads what a host of our own has left: the task again when the host ended before
// it, because the last change may have come after the last view; and, for people, what
// waits for subscribers.
func (r *runner) refresh(ctx context.Context) {
	if r.own == nil || (r.stopped == nil && (r.json || len(r.own.host.Left()) == 0)) {
		return
	}
	ctx = context.WithoutCancel(ctx)
	reader, err := host.OpenReader(ctx, r.cfg.hostOptions())
	if err != nil {
		return // the last view stands
	}
	if v, err := reader.Task(ctx, string(r.last.ID)); err == nil && r.stopped != nil {
		keepReasons(v, r.last)
		r.last = v
	}
	if !r.json {
		r.tellWaiting(ctx, reader, r.own.host.Left())
	}
	if err := reader.Close(); err != nil {
		r.note("tasker: %v", err)
	}
}

// keepReasons takes reasons from an earlier view for steps of which the later one only
// knows that no host is running any more.
func keepReasons(later, earlier *task.View) {
	for i := range later.Steps {
		s := &later.Steps[i]
		if s.Reason != nil && s.Reason.Code == task.ReasonNoHost && earlier.Steps[i].Status == s.Status {
			s.Reason = earlier.Steps[i].Reason
		}
	}
}

// goOn is the command that goes on with an unfinished task.
func (r *runner) goOn(ref string) string {
	if r.own == nil {
		return "tasker task wait " + string(r.last.ID) + r.homeFlag()
	}
	var b strings.Builder
	b.WriteString("tasker run " + shellWord(ref) + " --resume")
	f := r.command.Flags()
	for _, name := range []string{"input", "home", "env"} {
		if f.Changed(name) {
			b.WriteString(" --" + name + " " + shellWord(f.Lookup(name).Value.String()))
		}
	}
	for _, name := range []string{"plugin-dir", "template-dir"} {
		dirs, err := f.GetStringArray(name)
		for _, dir := range dirs {
			if err == nil {
				b.WriteString(" --" + name + " " + shellWord(dir))
			}
		}
	}
	return b.String()
}

// homeFlag is the flag that names the home in a proposed command, empty when the
// command finds it without.
func (r *runner) homeFlag() string {
	if f := r.command.Flags().Lookup("home"); f != nil && f.Changed {
		return " --home " + shellWord(f.Value.String())
	}
	return ""
}

// nextCommand is what one would type after a task has ended.
func nextCommand(v *task.View, homeFlag string) string {
	if v.Status == task.Complete {
		return "tasker task show " + string(v.ID) + homeFlag
	}
	return "tasker task why " + string(v.ID) + homeFlag
}

// shellWord quotes a word for a POSIX shell where it needs it.
func shellWord(s string) string {
	const plainChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./@:=,+%"
	if s != "" && strings.Trim(s, plainChars) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Limits of what is shown of results at the end of a run.
const (
	maxShownResults = 5
	maxShownResult  = 2000
)

// printOutcome prints the end of a task: failed steps with their errors, and the
// results of the last steps.
func (a *app) printOutcome(v *task.View) {
	all := make([]int, len(v.Steps))
	followed := make(map[task.StepName]bool)
	for i := range v.Steps {
		all[i] = i
		for _, dep := range v.Steps[i].DependsOn {
			followed[dep] = true
		}
	}
	a.out.printf("\ntask %s %s (%s)\n", v.ID, taskLine(v), countSteps(v, all))
	told := ""
	if v.Failure != nil {
		told = oneLine(v.Failure.Error())
		a.out.printf("error: %s\n", told)
	}
	shown := 0
	for i := range v.Steps {
		s := &v.Steps[i]
		switch {
		case s.Status == task.StepError && s.Failure != nil && strings.Contains(told, "step "+string(s.Name)+": "+s.Failure.Message): // told with the task
		case s.Status == task.StepError && s.Failure != nil:
			a.out.printf("step %s failed: %s\n", s.Name, oneLine(s.Failure.Error()))
		case v.Status.Terminal() && s.Status == task.StepComplete && !followed[s.Name] && shown < maxShownResults && len(output(s)) > 0:
			shown++
			a.out.printf("result of %s: %s\n", s.Name, cut(oneLine(string(output(s))), maxShownResult))
		}
	}
}

// output is a step's results, wherever the view has them; nil = none.
func output(s *task.StepView) json.RawMessage {
	switch {
	case s.Output != nil:
		return s.Output
	case s.Results.Ref == nil:
		return s.Results.Inline
	default:
		return nil
	}
}
