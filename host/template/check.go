package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/task"
)

// Limits of one template.
const (
	// MaxFileSize is the size in bytes of the largest template file.
	MaxFileSize = 8 << 20
	// MaxSteps is how many steps a template may have.
	MaxSteps = 10_000
	// MaxEdges is how many dependencies all steps of a template may have together.
	MaxEdges = 100_000
	// MaxName is how many characters the name and the namespace may have.
	MaxName = 100
)

// ValidName reports whether s may name a template or a namespace: [a-z][a-z0-9_-]*, at
// most [MaxName] characters.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// checkHead checks what a template says outside its steps.
func (t *Template) checkHead() error {
	if !ValidName(t.Namespace) {
		return fmt.Errorf("namespace %q: want lower-case letters, digits, _ and -, beginning with a letter", t.Namespace)
	}
	if !ValidName(t.Name) {
		return fmt.Errorf("name %q: want lower-case letters, digits, _ and -, beginning with a letter", t.Name)
	}
	var err error
	if t.version, err = semver.StrictNewVersion(t.Version); err != nil {
		return fmt.Errorf("version %q: want a semantic version such as 1.0.0", t.Version)
	}
	if t.OnFailure != OnFailureDrain && t.OnFailure != OnFailureFailFast {
		return fmt.Errorf("on_failure %q: want drain or fail_fast", t.OnFailure)
	}
	if t.Deadline < 0 {
		return fmt.Errorf("deadline %s is negative", t.Deadline)
	}
	if t.Retention != nil {
		if err := t.Retention.Check(); err != nil {
			return err
		}
	}
	t.Input, err = canonical(t.Input)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	return nil
}

// checkSteps checks the steps and their order, and makes their configs canonical.
func (t *Template) checkSteps() error {
	if len(t.Steps) == 0 {
		return errors.New("a template needs at least one step")
	}
	if len(t.Steps) > MaxSteps {
		return fmt.Errorf("%d steps: the limit is %d", len(t.Steps), MaxSteps)
	}
	edges := 0
	seen := make(map[task.StepName]bool, len(t.Steps))
	for i := range t.Steps {
		s := &t.Steps[i]
		if !task.ValidStepName(string(s.Name)) {
			return fmt.Errorf("step name %q: want lower-case letters, digits and _, beginning with a letter", s.Name)
		}
		if seen[s.Name] {
			return fmt.Errorf("step %s: a second step of that name", s.Name)
		}
		seen[s.Name] = true
		edges += len(s.DependsOn)
		if err := s.check(len(t.Steps)); err != nil {
			return fmt.Errorf("step %s: %w", s.Name, err)
		}
	}
	if edges > MaxEdges {
		return fmt.Errorf("%d dependencies: the limit is %d", edges, MaxEdges)
	}
	if cycles := findCycles(t.Steps); len(cycles) > 0 {
		return fmt.Errorf("the steps wait for each other: %s", cycleText(t.Steps, cycles[0]))
	}
	return nil
}

func (s *Step) check(steps int) error {
	if _, err := task.ParseHandlerRef(s.Handler.String()); err != nil {
		return err
	}
	s.DependsOn = append([]task.Ordinal(nil), s.DependsOn...) // nil when empty
	seen := make(map[task.Ordinal]bool, len(s.DependsOn))
	for _, d := range s.DependsOn {
		if int(d) >= steps {
			return fmt.Errorf("depends on step %d of %d", d, steps)
		}
		if seen[d] {
			return fmt.Errorf("depends twice on step %d", d)
		}
		seen[d] = true
	}
	if s.Retry != nil {
		if err := checkRetry(s.Retry); err != nil {
			return fmt.Errorf("retry: %w", err)
		}
		s.Retry = MergeRetry(s.Retry, nil)
	}
	switch s.OnCrash {
	case "", task.OnCrashRetry, task.OnCrashFail, task.OnCrashPark:
	default:
		return fmt.Errorf("on_crash %q: want retry, fail or park", s.OnCrash)
	}
	s.Retryable = clone(s.Retryable)
	for _, limit := range []**time.Duration{&s.Timeout, &s.HeartbeatTimeout, &s.ScheduleToStart, &s.TotalTimeout} {
		if *limit = clone(*limit); *limit != nil && (**limit < 0 || **limit > MaxDuration) {
			return fmt.Errorf("a time limit of %s", **limit)
		}
	}
	var err error
	if s.Config, err = canonical(s.Config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// clone copies what p points to, so that a template shares nothing with its maker.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// maxCycles is how many cycles are reported at once.
const maxCycles = 10

// cycleFinder walks the dependencies in depth, without recursion: a chain may be
// [MaxSteps] long.
type cycleFinder struct {
	steps  []Step
	state  []uint8 // unseen, onPath or done
	next   []int   // the dependency to look at next
	path   []task.Ordinal
	told   []bool // in a cycle that was found
	cycles [][]task.Ordinal
}

const (
	unseen = iota
	onPath
	done
)

// findCycles returns cycles that have no step in common, each beginning with its lowest
// ordinal, each step depending on the next and the last one on the first.
func findCycles(steps []Step) [][]task.Ordinal {
	f := &cycleFinder{
		steps: steps, state: make([]uint8, len(steps)),
		next: make([]int, len(steps)), told: make([]bool, len(steps)),
	}
	for root := range steps {
		if f.state[root] == unseen {
			f.walk(ordinal(root))
		}
	}
	return f.cycles
}

func (f *cycleFinder) walk(root task.Ordinal) {
	f.path = append(f.path[:0], root)
	f.state[root] = onPath
	for len(f.path) > 0 && len(f.cycles) < maxCycles {
		at := f.path[len(f.path)-1]
		if f.next[at] == len(f.steps[at].DependsOn) {
			f.state[at] = done
			f.path = f.path[:len(f.path)-1]
			continue
		}
		dep := f.steps[at].DependsOn[f.next[at]]
		f.next[at]++
		switch f.state[dep] {
		case onPath:
			if !f.told[dep] && !f.told[at] {
				f.found(f.path[slices.Index(f.path, dep):])
			}
		case unseen:
			f.state[dep] = onPath
			f.path = append(f.path, dep)
		}
	}
}

func (f *cycleFinder) found(cycle []task.Ordinal) {
	for _, o := range cycle {
		f.told[o] = true
	}
	low := slices.Index(cycle, slices.Min(cycle))
	f.cycles = append(f.cycles, slices.Concat(cycle[low:], cycle[:low]))
}

// cycleText prints a cycle as "a -> b -> a", from a step to what it depends on.
func cycleText(steps []Step, cycle []task.Ordinal) string {
	const most = 12
	var b strings.Builder
	for i, o := range cycle {
		if i == most {
			fmt.Fprintf(&b, "... (%d more) -> ", len(cycle)-most)
			break
		}
		b.WriteString(string(steps[o].Name))
		b.WriteString(" -> ")
	}
	b.WriteString(string(steps[cycle[0]].Name))
	return b.String()
}
