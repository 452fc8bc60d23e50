package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Result is how a check went.
type Result string

// The results of a check.
const (
	Pass Result = "pass"
	Fail Result = "fail"
	Skip Result = "skip" // it does not apply, or needs what the plugin does not offer
)

// Options say what is checked, and how. Only Command is required.
type Options struct {
	// Command is the plugin's program and its arguments.
	Command []string
	// Config is the plugin's configuration, JSON. Empty = that of the fixtures, else one made from its schema.
	Config []byte
	// Fixtures say what to call handlers with; see [ParseFixtures]. The zero value = none.
	Fixtures Fixtures
	// Only are the ids, or the groups ("work"), of the checks to run. None = all.
	Only []string
	// Patience is how long the plugin has for whatever it must do. Zero = 10 s.
	Patience time.Duration
	// StartTimeout is how long the program has until its handshake. Zero = 30 s.
	StartTimeout time.Duration
	// Parallel is how many checks run at once, each with processes of its own. Zero = 3.
	Parallel int
	// CheckManifest reports everything for which a host refuses a manifest, one problem to a line. Nil = nothing.
	CheckManifest func(*pluginv1.Manifest) error
	// Progress is told of each check as it ends, one at a time. Nil = nobody is.
	Progress func(done, of int, o Outcome)
}

// ErrUsage says that the options make no sense: no command, an unknown check.
var ErrUsage = errors.New("wrong use")

// Report is what a run has found.
type Report struct {
	Command  []string  `json:"command"`
	Plugin   string    `json:"plugin,omitempty"`  // empty when it never said
	Version  string    `json:"version,omitempty"` // its own
	SDK      string    `json:"sdk,omitempty"`     // language and version
	Passed   int       `json:"passed"`
	Failed   int       `json:"failed"`
	Skipped  int       `json:"skipped"`
	Seconds  float64   `json:"seconds"`
	Outcomes []Outcome `json:"checks"` // in the order of [Checks]
}

// Outcome is the result of one check.
type Outcome struct {
	Check

	Result   Result   `json:"result"`
	Reason   string   `json:"reason,omitempty"`   // why it was skipped
	Problems []string `json:"problems,omitempty"` // what breaks the rule
	Seen     string   `json:"seen,omitempty"`     // what the verdict rests on
	Seconds  float64  `json:"seconds"`
}

// Check is one rule and how to find it in the document.
type Check struct {
	ID    string `json:"id"`    // "work.result": group and name
	Title string `json:"title"` // what is checked, in a line
	Rule  string `json:"rule"`  // what a plugin owes
	Doc   string `json:"doc"`   // "docs/plugin-wire.md#work"

	run func(ctx context.Context, t *trial) error
}

// Group is the part of the id before its dot.
func (c Check) Group() string {
	group, _, _ := strings.Cut(c.ID, ".")
	return group
}

// Run checks a plugin. The error wraps [ErrUsage], or says that ctx ended; what the
// plugin does wrong is in the report alone.
func Run(ctx context.Context, opts Options) (*Report, error) {
	opts = opts.withDefaults()
	if len(opts.Command) == 0 {
		return nil, fmt.Errorf("%w: no program is named", ErrUsage)
	}
	chosen, err := choose(opts.Only)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	r := newRunner(opts)
	report := &Report{Command: opts.Command, Outcomes: make([]Outcome, len(chosen))}
	r.probe(ctx)
	r.all(ctx, chosen, report.Outcomes)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, o := range report.Outcomes {
		switch o.Result {
		case Pass:
			report.Passed++
		case Fail:
			report.Failed++
		case Skip:
			report.Skipped++
		}
	}
	if m := r.manifest; m != nil {
		report.Plugin, report.Version = m.GetName(), m.GetVersion()
		report.SDK = strings.TrimSpace(m.GetSdk().GetLanguage() + " " + m.GetSdk().GetVersion())
	}
	report.Seconds = time.Since(begin).Seconds()
	return report, nil
}

func (o Options) withDefaults() Options {
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = 30 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 3
	}
	if o.CheckManifest == nil {
		o.CheckManifest = func(*pluginv1.Manifest) error { return nil }
	}
	if o.Progress == nil {
		o.Progress = func(int, int, Outcome) {}
	}
	return o
}

// choose returns the checks of the ids and groups.
func choose(only []string) ([]Check, error) {
	all := Checks()
	if len(only) == 0 {
		return all, nil
	}
	var chosen []Check
	for _, c := range all {
		if slices.Contains(only, c.ID) || slices.Contains(only, c.Group()) {
			chosen = append(chosen, c)
		}
	}
	for _, name := range only {
		if !slices.ContainsFunc(all, func(c Check) bool { return c.ID == name || c.Group() == name }) {
			return nil, fmt.Errorf("%w: there is no check %q", ErrUsage, name)
		}
	}
	return chosen, nil
}

// all runs the checks, several at a time.
func (r *runner) all(ctx context.Context, checks []Check, into []Outcome) {
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, r.opts.Parallel)
		mu    sync.Mutex
		done  int
	)
	for i, c := range checks {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			o := r.one(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			done++
			into[i] = o
			r.opts.Progress(done, len(checks), o)
		})
	}
	wg.Wait()
}

// one runs a check.
func (r *runner) one(ctx context.Context, c Check) Outcome {
	o := Outcome{Check: c, Result: Pass}
	begin := time.Now()
	t := &trial{runner: r, id: c.ID}
	err := r.unfit(c)
	if err == nil {
		err = c.run(ctx, t)
		t.end()
	}
	o.Seconds = time.Since(begin).Seconds()
	o.Seen = t.seen()
	skipped, isSkip := errors.AsType[*skipError](err)
	if err != nil && !isSkip {
		t.failf("%v", err)
	}
	o.Problems = t.found()
	switch {
	case len(o.Problems) > 0:
		o.Result = Fail
	case isSkip:
		o.Result, o.Reason = Skip, skipped.reason
	}
	return o
}

// unfit says why a check makes no sense for a plugin that does not get ready.
func (r *runner) unfit(c Check) error {
	if r.probed == nil || c.Group() == groupStart || c.Group() == groupDescribe || c.Group() == groupConfigure {
		return nil
	}
	return skipf("the plugin does not get ready: %v", r.probed)
}

// trial is one check on its way: what it started, and what it found.
type trial struct {
	*runner

	id string

	mu       sync.Mutex
	problems []string
	notes    []string
	sessions []*session
	attempts int
}

// maxProblems bounds what a check tells.
const maxProblems = 12

// failf adds a problem.
func (t *trial) failf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := cut(fmt.Sprintf(format, args...)); !slices.Contains(t.problems, text) {
		t.problems = append(t.problems, text)
	}
}

// sawf adds to what was seen.
func (t *trial) sawf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *trial) seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.notes, "; ")
}

func (t *trial) found() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if more := len(t.problems) - maxProblems; more > 0 {
		return append(slices.Clone(t.problems[:maxProblems]), fmt.Sprintf("and %d more", more))
	}
	return slices.Clone(t.problems)
}

// end stops whatever the check has started.
func (t *trial) end() {
	t.mu.Lock()
	sessions := t.sessions
	t.mu.Unlock()
	for _, s := range sessions {
		s.close()
	}
}

// skipError says why a check does not apply.
type skipError struct{ reason string }

func (e *skipError) Error() string { return e.reason }

func skipf(format string, args ...any) error { return &skipError{fmt.Sprintf(format, args...)} }

// cut bounds a text that a plugin made.
func cut(text string) string {
	const most = 400
	if text = strings.ToValidUTF8(text, "\uFFFD"); len(text) > most {
		return text[:most] + " ..."
	}
	return text
}
