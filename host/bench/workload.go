package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/host/template"
)

// Workload is one shape of task.
type Workload struct {
	// Name names it on the command line and is the name of its template.
	Name string
	// Summary says what it is, for people.
	Summary string
	// Open says that tasks come at a rate, whatever becomes of those before.
	Open bool

	deps [][]int // of each step, by its place
}

// Steps is how many steps a task has.
func (w Workload) Steps() int { return len(w.deps) }

// The sizes of the workloads.
const (
	linearSteps = 5
	threeSteps  = 3
	fanoutWidth = 10
	burstWidth  = 100
	dagSteps    = 2000
	dagWidth    = 10 // steps per layer
	dagFan      = 3  // dependencies of each
	dagPrefix   = "dag"
)

// Workloads returns the workloads that have a name of their own.
func Workloads() []Workload {
	return []Workload{
		{Name: "linear", Summary: "5 steps in a row", deps: chain(linearSteps)},
		{Name: "three", Summary: "3 steps in a row", deps: chain(threeSteps)},
		{Name: "diamond", Summary: "1 step, 2 beside each other, 1", deps: [][]int{nil, {0}, {0}, {1, 2}}},
		{Name: "fanout", Summary: "1 step, 10 beside each other, 1", deps: spread(fanoutWidth)},
		{Name: "burst", Summary: "1 step, 100 beside each other, 1", deps: spread(burstWidth)},
		dag(dagSteps),
		{Name: "rate", Summary: "5 steps in a row, tasks at a rate", Open: true, deps: chain(linearSteps)},
	}
}

// Find returns the workload of a name: one of [Workloads], or dagN for layers of 10 steps,
// N steps in all, each with up to 3 dependencies.
func Find(name string) (Workload, error) {
	var known []string
	for _, w := range Workloads() {
		if w.Name == name {
			return w, nil
		}
		known = append(known, w.Name)
	}
	if digits, ok := strings.CutPrefix(name, dagPrefix); ok {
		if n, err := strconv.Atoi(digits); err == nil && n > 0 && n <= template.MaxSteps && strconv.Itoa(n) == digits {
			return dag(n), nil
		}
	}
	return Workload{}, fmt.Errorf("unknown workload %q: want one of %s, or dagN with N up to %d",
		name, strings.Join(known, ", "), template.MaxSteps)
}

// Template returns the YAML of the workload's template, whose steps all run the handler.
func (w Workload) Template(handler string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\nversion: 1.0.0\ndescription: %s\nsteps:\n", w.Name, w.Summary)
	b.WriteString(w.steps(handler))
	return b.String()
}

// steps returns the YAML of the list of steps.
func (w Workload) steps(handler string) string {
	var b strings.Builder
	for i, deps := range w.deps {
		fmt.Fprintf(&b, "  - {name: s%d, handler: %s", i, handler)
		for n, d := range deps {
			if n == 0 {
				b.WriteString(", depends_on: [")
			} else {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "s%d", d)
		}
		if len(deps) > 0 {
			b.WriteByte(']')
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// width is how many steps of a task may run at once, at most.
func (w Workload) width() int {
	level, count := make([]int, len(w.deps)), make(map[int]int)
	for i, deps := range w.deps {
		for _, d := range deps {
			level[i] = max(level[i], level[d]+1)
		}
		count[level[i]]++
	}
	most := 1
	for _, n := range count {
		most = max(most, n)
	}
	return most
}

// dependants returns, of each step, those that wait for it.
func (w Workload) dependants() [][]int {
	out := make([][]int, len(w.deps))
	for i, deps := range w.deps {
		for _, d := range deps {
			out[d] = append(out[d], i)
		}
	}
	return out
}

// chain is n steps in a row.
func chain(n int) [][]int {
	deps := make([][]int, n)
	for i := range n - 1 {
		deps[i+1] = []int{i}
	}
	return deps
}

// spread is one step, n that wait for it, and one that waits for these.
func spread(n int) [][]int {
	deps := make([][]int, n+2)
	for i := range n {
		deps[i+1] = []int{0}
		deps[n+1] = append(deps[n+1], i+1)
	}
	return deps
}

// dag is n steps in layers.
func dag(n int) Workload {
	deps := make([][]int, n)
	for i := dagWidth; i < n; i++ {
		above := i - i%dagWidth - dagWidth // the first of the layer above
		for f := range dagFan {
			deps[i] = append(deps[i], above+(i+f)%dagWidth)
		}
		slices.Sort(deps[i])
	}
	return Workload{Name: dagPrefix + strconv.Itoa(n), Summary: fmt.Sprintf("%d steps in layers of %d", n, dagWidth), deps: deps}
}
