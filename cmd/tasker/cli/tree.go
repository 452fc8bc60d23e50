package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// A tree is how a task is drawn: one row per step, alike steps in one row, in an order
// that follows the dependencies. It depends only on the shape of the task, which never
// changes, so it is made once.
type tree struct {
	rows []treeRow
}

// treeRow is one row: a step, or alike steps.
type treeRow struct {
	steps  []int // indexes of the view's steps
	indent int
}

// foldFrom is how many alike steps are drawn as one row.
const foldFrom = 5

// maxIndent keeps deep branches on the screen.
const maxIndent = 8

// newTree arranges the steps of a task. Steps are alike when they have the same handler,
// wait for the same rows, and are followed by the same handlers.
func newTree(v *task.View) *tree {
	index := make(map[task.StepName]int, len(v.Steps))
	for i := range v.Steps {
		index[v.Steps[i].Name] = i
	}
	groups, of := foldSteps(v, index)
	depends := make([][]int, len(groups))
	dependents := make([][]int, len(groups))
	for g, members := range groups {
		for _, dep := range v.Steps[members[0]].DependsOn {
			d := of[index[dep]]
			if d != g && !slices.Contains(depends[g], d) {
				depends[g] = append(depends[g], d)
				dependents[d] = append(dependents[d], g)
			}
		}
	}
	t := &tree{}
	for _, r := range arrange(depends, dependents) {
		t.rows = append(t.rows, treeRow{steps: groups[r.group], indent: min(r.indent, maxIndent)})
	}
	return t
}

// foldSteps puts alike steps into groups; of is the group of each step. Steps whose
// dependencies are known are taken first, so that alike chains fold as a whole.
func foldSteps(v *task.View, index map[task.StepName]int) (groups [][]int, of []int) {
	waiting := make([]int, len(v.Steps))
	dependents := make([][]int, len(v.Steps))
	var level []int
	for i := range v.Steps {
		waiting[i] = len(v.Steps[i].DependsOn)
		if waiting[i] == 0 {
			level = append(level, i)
		}
		for _, dep := range v.Steps[i].DependsOn {
			dependents[index[dep]] = append(dependents[index[dep]], i)
		}
	}
	of = make([]int, len(v.Steps))
	for len(level) > 0 {
		var order []string
		alike := make(map[string][]int)
		for _, i := range level {
			key := alikeKey(v, i, index, of, dependents[i])
			if alike[key] == nil {
				order = append(order, key)
			}
			alike[key] = append(alike[key], i)
		}
		for _, key := range order {
			groups = addGroups(groups, of, alike[key])
		}
		var next []int
		for _, i := range level {
			for _, d := range dependents[i] {
				if waiting[d]--; waiting[d] == 0 {
					next = append(next, d)
				}
			}
		}
		level = next
	}
	return groups, of
}

// addGroups adds alike steps as one group, or each by itself when they are few.
func addGroups(groups [][]int, of, steps []int) [][]int {
	slices.Sort(steps)
	if len(steps) >= foldFrom {
		for _, i := range steps {
			of[i] = len(groups)
		}
		return append(groups, steps)
	}
	for _, i := range steps {
		of[i] = len(groups)
		groups = append(groups, []int{i})
	}
	return groups
}

// alikeKey is the same for alike steps. Of what follows only the handlers count: alike
// chains have different followers of the same kind.
func alikeKey(v *task.View, i int, index map[task.StepName]int, of, dependents []int) string {
	deps := make([]int, 0, len(v.Steps[i].DependsOn))
	for _, dep := range v.Steps[i].DependsOn {
		deps = append(deps, of[index[dep]])
	}
	slices.Sort(deps)
	followers := make([]string, 0, len(dependents))
	for _, d := range dependents {
		followers = append(followers, v.Steps[d].Handler.String())
	}
	slices.Sort(followers)
	return fmt.Sprint(v.Steps[i].Handler, v.Steps[i].Optional, slices.Compact(deps), slices.Compact(followers))
}

// place is a group and how far it stands to the right.
type place struct{ group, indent int }

// arrange orders groups so that each stands below what it waits for and, where it can,
// right below it. A branch moves to the right, a join back.
func arrange(depends, dependents [][]int) []place {
	waiting := make([]int, len(depends))
	var stack []int
	for g := len(depends) - 1; g >= 0; g-- {
		if waiting[g] = len(depends[g]); waiting[g] == 0 {
			stack = append(stack, g)
		}
	}
	indent := make([]int, len(depends))
	var out []place
	for len(stack) > 0 {
		g := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		switch deps := depends[g]; len(deps) {
		case 0:
		case 1:
			indent[g] = indent[deps[0]]
			if len(dependents[deps[0]]) > 1 {
				indent[g]++
			}
		default:
			least := indent[deps[0]]
			for _, d := range deps {
				least = min(least, indent[d])
			}
			indent[g] = max(least-1, 0)
		}
		out = append(out, place{g, indent[g]})
		for _, d := range slices.Backward(dependents[g]) {
			if waiting[d]--; waiting[d] == 0 {
				stack = append(stack, d)
			}
		}
	}
	return out
}

// glyph is the status as one ASCII character; the word stands beside it.
func glyph(s task.StepStatus) string {
	switch s {
	case task.StepInProgress:
		return ">"
	case task.StepWaitingForRetry:
		return "~"
	case task.StepWaiting:
		return "?"
	case task.StepComplete:
		return "+"
	case task.StepError:
		return "x"
	case task.StepCancelled:
		return "/"
	case task.StepResolvedManually:
		return "*"
	case task.StepSkipped:
		return "-"
	default:
		return "."
	}
}

// urgency orders statuses by how much a person wants to see them.
func urgency(s task.StepStatus) int {
	switch s {
	case task.StepError:
		return 0
	case task.StepWaiting:
		return 1
	case task.StepInProgress:
		return 2
	case task.StepWaitingForRetry:
		return 3
	case task.StepCancelled:
		return 4
	case task.StepPending:
		return 5
	default:
		return 6
	}
}

// drawing is a row as text.
type drawing struct {
	status task.StepStatus // the most urgent of the row: chooses glyph and colour
	text   string
}

// draw draws the rows for a screen of so many columns; at most that many rows, the
// calm ones left out first and counted in a last line.
func (t *tree) draw(v *task.View, now time.Time, width, height int) []drawing {
	rows := t.rows
	hidden := 0
	if height > 0 && len(rows) > height {
		rows, hidden = t.mostUrgent(v, height-1), len(rows)-height+1
	}
	names := 0
	for _, r := range rows {
		names = max(names, 2*r.indent+columns(r.name(v)))
	}
	names = min(names, max(width/2, 12))
	out := make([]drawing, 0, len(rows)+1)
	for _, r := range rows {
		status := r.status(v)
		name := cut(strings.Repeat("  ", r.indent)+r.name(v), names)
		text := "  " + glyph(status) + " " + pad(name, names) + "  " + r.describe(v, now)
		out = append(out, drawing{status, cut(strings.TrimRight(text, " "), width)})
	}
	if hidden > 0 {
		out = append(out, drawing{task.StepPending, cut(fmt.Sprintf("    ... and %s more", plural(hidden, "row")), width)})
	}
	return out
}

// mostUrgent returns the n rows that matter most, in the tree's order.
func (t *tree) mostUrgent(v *task.View, n int) []treeRow {
	order := make([]int, len(t.rows))
	urgent := make([]int, len(t.rows))
	for i := range order {
		order[i], urgent[i] = i, urgency(t.rows[i].status(v))
	}
	slices.SortStableFunc(order, func(a, b int) int { return urgent[a] - urgent[b] })
	order = order[:max(n, 0)]
	slices.Sort(order)
	rows := make([]treeRow, len(order))
	for i, o := range order {
		rows[i] = t.rows[o]
	}
	return rows
}

// name is a step's name, or that of the first and last of a row and their number.
func (r *treeRow) name(v *task.View) string {
	first := string(v.Steps[r.steps[0]].Name)
	if len(r.steps) == 1 {
		return first
	}
	return fmt.Sprintf("%s ... %s", first, v.Steps[r.steps[len(r.steps)-1]].Name)
}

// status is the most urgent status in the row.
func (r *treeRow) status(v *task.View) task.StepStatus {
	most := v.Steps[r.steps[0]].Status
	for _, i := range r.steps[1:] {
		if s := v.Steps[i].Status; urgency(s) < urgency(most) {
			most = s
		}
	}
	return most
}

// describe says how a row is doing.
func (r *treeRow) describe(v *task.View, now time.Time) string {
	if len(r.steps) == 1 {
		return describeStep(&v.Steps[r.steps[0]], now)
	}
	text := countSteps(v, r.steps)
	for _, i := range r.steps {
		if s := &v.Steps[i]; s.Status == task.StepError || s.Status == task.StepWaitingForRetry {
			if s.Failure != nil {
				return text + "; " + string(s.Name) + ": " + oneLine(s.Failure.Error())
			}
		}
	}
	return text
}

// countSteps is "1,204 complete, 3 failed, 2 running", the finished first.
func countSteps(v *task.View, steps []int) string {
	counts := make(map[task.StepStatus]int)
	for _, i := range steps {
		counts[v.Steps[i].Status]++
	}
	var parts []string
	for _, s := range []struct {
		status task.StepStatus
		word   string
	}{
		{task.StepComplete, "complete"},
		{task.StepResolvedManually, "resolved"},
		{task.StepSkipped, "skipped"},
		{task.StepError, "failed"},
		{task.StepCancelled, "cancelled"},
		{task.StepInProgress, "running"},
		{task.StepWaitingForRetry, "waiting for retry"},
		{task.StepWaiting, "parked"},
		{task.StepPending, "pending"},
	} {
		if n := counts[s.status]; n > 0 {
			parts = append(parts, number(n)+" "+s.word)
		}
	}
	return strings.Join(parts, ", ")
}

// describeStep is a step's status, attempts, time and last error.
func describeStep(s *task.StepView, now time.Time) string {
	parts := []string{string(s.Status)}
	if s.Attempts > 1 || (s.Attempts == 1 && s.Failure != nil) {
		parts = append(parts, fmt.Sprintf("attempt %d", s.Attempts))
		if s.Status != task.StepComplete {
			parts[1] += fmt.Sprintf(" (failed %d of %d)", s.Failures, s.Limit)
		}
	}
	switch {
	case s.StartedAt.IsZero():
	case !s.CompletedAt.IsZero():
		parts = append(parts, seconds(s.CompletedAt.Sub(s.StartedAt)))
	case s.Status == task.StepWaitingForRetry:
		parts = append(parts, "next in "+seconds(s.RetryAt.Sub(now)))
	default:
		parts = append(parts, seconds(now.Sub(s.StartedAt)))
	}
	if s.Status == task.StepInProgress && (s.Progress > 0 || s.ProgressNote != "") {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d%% %s", int(s.Progress*100), oneLine(s.ProgressNote))))
	}
	text := strings.Join(parts, "  ")
	switch {
	case s.Failure != nil && s.Status != task.StepComplete && s.Status != task.StepResolvedManually:
		text += "  " + oneLine(s.Failure.Error())
	case s.Reason != nil && s.Status == task.StepPending && s.Reason.Code != task.ReasonReady:
		text += "  " + oneLine(s.Reason.Text)
	case s.Note != "" && s.Status.Terminal():
		text += "  " + noteText(s)
	}
	return text
}

// oneLine is a text of somebody else on one line.
func oneLine(s string) string { return strings.TrimSpace(printable(s, false)) }

// noteText is a step's note, and for a condition what it was.
func noteText(s *task.StepView) string {
	if s.Note != task.NoteWhen || s.Reason == nil {
		return s.Note
	}
	return oneLine(strings.TrimPrefix(s.Reason.Text, "skipped: "))
}
