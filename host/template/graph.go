package template

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tasker-engine/tasker/host/task"
)

// foldAbove is how many alike steps are still drawn one by one.
const foldAbove = 4

// graph is a template as it is drawn: alike steps are one box.
type graph struct {
	t      *Template
	groups []group
	of     []int // the group of each step
}

// group is one box: a single step, or steps with the same handler, dependencies and
// dependents, in the order of the file.
type group struct {
	steps     []task.Ordinal
	dependsOn []int // other groups, in the order written
	level     int   // the longest way from a step without dependencies
}

// newGraph folds and layers the steps.
func newGraph(t *Template) *graph {
	g := &graph{t: t, of: make([]int, len(t.Steps))}
	alike := make(map[string][]task.Ordinal, len(t.Steps))
	keys := make([]string, len(t.Steps))
	for i := range t.Steps {
		s := &t.Steps[i]
		deps := slices.Clone(s.DependsOn)
		slices.Sort(deps)
		keys[i] = fmt.Sprint(s.Handler, s.Optional, s.Skippable, s.Join, s.When, deps, s.Dependents)
		alike[keys[i]] = append(alike[keys[i]], ordinal(i))
	}
	for i := range t.Steps {
		members := alike[keys[i]]
		switch {
		case len(members) <= foldAbove:
			members = []task.Ordinal{ordinal(i)}
		case members[0] != ordinal(i):
			continue
		}
		for _, o := range members {
			g.of[o] = len(g.groups)
		}
		g.groups = append(g.groups, group{steps: members})
	}
	g.connect()
	g.layer()
	return g
}

// connect derives the dependencies between groups from those of their first steps:
// the members are alike.
func (g *graph) connect() {
	for i := range g.groups {
		seen := make(map[int]bool)
		for _, d := range g.t.Steps[g.groups[i].steps[0]].DependsOn {
			if other := g.of[d]; !seen[other] {
				seen[other] = true
				g.groups[i].dependsOn = append(g.groups[i].dependsOn, other)
			}
		}
	}
}

// layer computes the levels in topological order.
func (g *graph) layer() {
	waiting := make([]int, len(g.groups))
	dependents := make([][]int, len(g.groups))
	var ready []int
	for i := range g.groups {
		waiting[i] = len(g.groups[i].dependsOn)
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
		for _, d := range g.groups[i].dependsOn {
			dependents[d] = append(dependents[d], i)
		}
	}
	for len(ready) > 0 {
		at := ready[0]
		ready = ready[1:]
		for _, next := range dependents[at] {
			g.groups[next].level = max(g.groups[next].level, g.groups[at].level+1)
			if waiting[next]--; waiting[next] == 0 {
				ready = append(ready, next)
			}
		}
	}
}

// label names a group: "step", or "first ... last (12 steps)".
func (g *graph) label(i int) string {
	steps := g.groups[i].steps
	first := string(g.t.Steps[steps[0]].Name)
	if len(steps) == 1 {
		return first
	}
	return fmt.Sprintf("%s ... %s (%d steps)", first, g.t.Steps[steps[len(steps)-1]].Name, len(steps))
}

// notes says what is special about the steps of a group.
func (g *graph) notes(i int) string {
	s := &g.t.Steps[g.groups[i].steps[0]]
	var notes []string
	if s.Optional {
		notes = append(notes, "optional")
	}
	if s.Skippable {
		notes = append(notes, "skippable")
	}
	if s.Join != "" {
		notes = append(notes, "join "+string(s.Join))
	}
	if s.When != "" {
		notes = append(notes, "when "+shortCondition(s.When))
	}
	return strings.Join(notes, ", ")
}

// shortCondition is a condition on one line, cut where it is long.
func shortCondition(s string) string {
	const most = 60
	words := []rune(oneLine(strings.Join(strings.Fields(s), " ")))
	if len(words) > most {
		return string(words[:most]) + "..."
	}
	return string(words)
}

// mermaidText writes characters that mean something in a label as entities.
func mermaidText(s string) string {
	return strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;", "&", "#amp;", "#", "#35;").Replace(s)
}

// Mermaid returns the steps and their dependencies as a Mermaid flow chart. Steps that
// are alike, as in a wide fan-out, share one box.
func (t *Template) Mermaid() string {
	g := newGraph(t)
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for i := range g.groups {
		label := fmt.Sprintf("%s<br/>%s", g.label(i), t.Steps[g.groups[i].steps[0]].Handler)
		if notes := g.notes(i); notes != "" {
			label += "<br/>" + mermaidText(notes)
		}
		open, end := "[", "]"
		if len(g.groups[i].steps) > 1 {
			open, end = "[[", "]]"
		}
		fmt.Fprintf(&b, "    s%d%s\"%s\"%s\n", g.groups[i].steps[0], open, label, end)
	}
	for i := range g.groups {
		for _, d := range g.groups[i].dependsOn {
			fmt.Fprintf(&b, "    s%d --> s%d\n", g.groups[d].steps[0], g.groups[i].steps[0])
		}
	}
	return b.String()
}

// Text returns the steps level by level, each with its handler and what it waits for,
// for reading in a terminal. Steps of one level can run at the same time; steps that
// are alike share one line.
func (t *Template) Text() string {
	g := newGraph(t)
	edges := 0
	for i := range t.Steps {
		edges += len(t.Steps[i].DependsOn)
	}
	order := make([]int, len(g.groups))
	levels, name, handler := 0, 0, 0
	for i := range g.groups {
		order[i] = i
		levels = max(levels, g.groups[i].level+1)
		name = max(name, utf8.RuneCountInString(g.label(i)))
		handler = max(handler, len(t.Steps[g.groups[i].steps[0]].Handler.String()))
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(g.groups[a].level, g.groups[b].level) })
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s, %s\n", t.Ref(), count(len(t.Steps), "step", "steps"),
		count(edges, "dependency", "dependencies"), count(levels, "level", "levels"))
	last := -1
	for _, i := range order {
		number := ""
		if l := g.groups[i].level; l != last {
			number, last = fmt.Sprint(l+1), l
			b.WriteString("\n")
		}
		line := fmt.Sprintf("%4s  %-*s  %-*s  %s", number, name, g.label(i), handler, t.Steps[g.groups[i].steps[0]].Handler, g.waitsFor(i))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// waitsFor prints what a group depends on, with its notes: "<- a, b  (optional)".
func (g *graph) waitsFor(i int) string {
	const most = 6
	deps := g.groups[i].dependsOn
	var parts []string
	for _, d := range deps[:min(len(deps), most)] {
		parts = append(parts, g.label(d))
	}
	if len(deps) > most {
		parts = append(parts, fmt.Sprintf("... and %d more", len(deps)-most))
	}
	out := ""
	if len(parts) > 0 {
		out = "<- " + strings.Join(parts, ", ")
	}
	if notes := g.notes(i); notes != "" {
		out = strings.TrimSpace(out + "  (" + notes + ")")
	}
	return out
}

// count prints a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
