package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/bench"
)

// What `tasker bench` does unless it is told otherwise.
const (
	benchTime    = 3 * time.Second // of each run
	benchAllTime = 5 * time.Minute // of --all at most
	benchPayload = 100             // bytes
	benchIdle    = 2 * time.Second // a host with nothing to do is watched for
	benchRate    = 1000            // tasks per second
	benchShare   = 0.7             // of what saturates the host: the rate of --all
	benchLimit   = 1 << 20         // of any number, and bytes of a payload
)

// benchmark is one `tasker bench`.
type benchmark struct {
	*app

	workloads   []string
	inFlight    []int
	payloads    []string
	subscribers []int
	finished    []int
	tasks       int
	long        time.Duration
	rate        float64
	all, json   bool
	floor       bool
	production  bool
	plot        string // a file; "" = none

	dir     string // where homes are made
	started time.Time
	report  benchReport
}

func (a *app) benchCommand() *cobra.Command {
	b := &benchmark{app: a}
	c := &cobra.Command{
		Use:   "bench [WORKLOAD...]",
		Short: "Measure how fast tasks run on this machine",
		Long: `Measure how fast tasks run on this machine: each run is a host of its own with a fresh store
in the working directory, fsync on, and a plugin process over mutual TLS that returns its
input. Nothing else is needed; the plugin is this binary, started again.

Workloads (default linear, three and fanout):
` + benchWorkloads() + `  dagN     N steps in layers of 10
  production
           orders and censuses mixed, 10 KB payloads, handlers that take 1 to 500 ms of which
           1 in 20 fails and 1 in 200 for good, 3 subscriptions, a crash of the plugin in the
           middle, at 70 % of what saturates the host; only --for and --tasks apply to it

Every combination of workload, --in-flight, --payload, --subscribers and --finished is one run,
and beside each its floor is measured: an engine that only knows dependencies, commits the
same records in groups and sends over one stream. Latencies are from the engine's time stamps.
--all measures the targets in docs/performance.md; it takes no more than 5 minutes.

With --home the stores and logs of the runs are kept below that directory, which must be on
the disk that you want to know about.

--json prints {"version", "started_at", "machine", "disk", "wire", "idle", "runs", "production",
"targets", "skipped"}; durations are in nanoseconds where the key ends in _ns, else as the key says.`,
		Example: `  tasker bench
  tasker bench linear --in-flight 1,64 --payload 100B,10KB --subscribers 0,1,3
  tasker bench rate --rate 2000 --for 10s
  tasker bench production --for 30s
  tasker bench linear --in-flight 1024 --finished 0,1000000
  tasker bench --all --json > bench.json`,
		Args: b.checkArgs,
	}
	f := c.Flags()
	f.BoolVar(&b.all, "all", false, "measure every target")
	f.IntSliceVar(&b.inFlight, "in-flight", []int{1, 64, 1024}, "tasks at once")
	f.StringSliceVar(&b.payloads, "payload", []string{strconv.Itoa(benchPayload) + "B"}, "`SIZES` of the input and result of each step, such as 100B,10KB")
	f.IntSliceVar(&b.subscribers, "subscribers", []int{1}, "subscriptions to everything")
	f.IntSliceVar(&b.finished, "finished", []int{0}, "finished tasks in the store before")
	f.IntVar(&b.tasks, "tasks", 0, "create this many tasks in each run, instead of as many as --for allows")
	f.DurationVar(&b.long, "for", benchTime, "how long tasks are created in each run")
	f.Float64Var(&b.rate, "rate", benchRate, "tasks per second of the workload rate")
	f.BoolVar(&b.floor, "floor", true, "measure the floors, too")
	f.StringVar(&b.plot, "plot", "", "draw how long tasks took, by percentile, into this `FILE` (SVG)")
	asJSON := jsonFlag(c)
	c.ValidArgsFunction = cobra.FixedCompletions(benchNames(), cobra.ShellCompDirectiveNoFileComp)
	c.RunE = func(c *cobra.Command, given []string) error {
		b.workloads, b.json = given, *asJSON
		if b.tasks > 0 && !c.Flags().Changed("for") {
			b.long = 0
		}
		return b.run(c)
	}
	return c
}

func benchWorkloads() string {
	var text strings.Builder
	for _, w := range bench.Workloads() {
		fmt.Fprintf(&text, "  %-8s %s\n", w.Name, w.Summary)
	}
	return text.String()
}

func benchNames() []string {
	var names []string
	for _, w := range bench.Workloads() {
		names = append(names, w.Name)
	}
	return append(names, bench.NameProduction)
}

// checkArgs checks the names of workloads, and that --all stands alone.
func (b *benchmark) checkArgs(c *cobra.Command, given []string) error {
	if b.all && len(given) > 0 {
		return usageOf(c, errors.New("--all runs its own workloads"))
	}
	if c.Flags().Changed("tasks") && b.tasks == 0 || b.tasks < 0 || b.long <= 0 || b.rate <= 0 {
		return usageOf(c, errors.New("--tasks, --for and --rate: want more than 0"))
	}
	for _, name := range given {
		if _, err := bench.Find(name); err != nil && name != bench.NameProduction {
			return usageOf(c, err)
		}
	}
	return nil
}

// run measures and prints.
func (b *benchmark) run(c *cobra.Command) error {
	plan, err := b.plan(c)
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	remove, err := b.makeDir(c)
	if err != nil {
		return err
	}
	b.started = b.now()
	b.report = benchReport{
		Version: buildVersion().Version, StartedAt: stamp(b.started), Machine: bench.ThisMachine(b.dir),
		Runs: []*bench.Result{}, Targets: []bench.Target{}, Skipped: []string{},
	}
	err = errors.Join(b.measure(c.Context(), plan, executable), remove())
	if err != nil {
		return err
	}
	if err := b.draw(); err != nil {
		return err
	}
	if b.json {
		return b.printJSON(b.report)
	}
	b.print()
	return nil
}

// draw writes the plot that was asked for.
func (b *benchmark) draw() error {
	if b.plot == "" {
		return nil
	}
	var svg bytes.Buffer
	if err := bench.LatencyPlot(b.report.Runs).WriteSVG(&svg); err != nil {
		return err
	}
	const readable = 0o644
	return os.WriteFile(b.plot, svg.Bytes(), readable)
}

// makeDir makes the directory that the runs work in.
func (b *benchmark) makeDir(c *cobra.Command) (remove func() error, err error) {
	if c.Flags().Changed("home") {
		b.dir = b.home
		return func() error { return nil }, os.MkdirAll(b.dir, 0o700)
	}
	if b.dir, err = os.MkdirTemp(".", ".tasker-bench-*"); err != nil {
		return nil, fmt.Errorf("a directory for the stores: %w", err)
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(b.dir) }, nil
}

// plan lists the runs.
func (b *benchmark) plan(c *cobra.Command) ([]bench.Config, error) {
	payloads := make([]int, len(b.payloads))
	for i, text := range b.payloads {
		n, err := benchSize(text)
		if err != nil {
			return nil, usageOf(c, err)
		}
		payloads[i] = n
	}
	for _, n := range slices.Concat(b.inFlight, b.subscribers, b.finished) {
		if n < 0 || n > benchLimit {
			return nil, usageOf(c, fmt.Errorf("--in-flight, --subscribers and --finished: %d is not between 0 and %d", n, benchLimit))
		}
	}
	if b.all {
		return b.planAll()
	}
	if len(b.workloads) == 0 {
		b.workloads = []string{"linear", "three", "fanout"}
	}
	var plan []bench.Config
	for _, name := range b.workloads {
		if name == bench.NameProduction {
			b.production = true
			continue
		}
		w, err := bench.Find(name)
		if err != nil {
			return nil, err
		}
		inFlight := b.inFlight
		if w.Open {
			inFlight = []int{0}
		}
		for _, flight := range inFlight {
			for _, payload := range payloads {
				for _, subscribers := range b.subscribers {
					for _, finished := range b.finished {
						cfg := b.config(w, flight, payload, subscribers)
						cfg.Finished = finished
						plan = append(plan, cfg)
					}
				}
			}
		}
	}
	return plan, nil
}

// planAll lists what the targets ask for.
func (b *benchmark) planAll() ([]bench.Config, error) {
	b.production = true
	const large = 10 << 10
	var plan []bench.Config
	for _, r := range []struct {
		workload                       string
		inFlight, payload, subscribers int
	}{
		{"linear", 1, benchPayload, 1},
		{"linear", 64, benchPayload, 1},
		{"linear", 1024, benchPayload, 1},
		{"linear", 1024, benchPayload, 0},
		{"linear", 1024, benchPayload, 3},
		{"linear", 64, large, 1},
		{"three", 1, benchPayload, 1},
		{"fanout", 1, benchPayload, 1},
		{"fanout", 64, benchPayload, 1},
		{"fanout", 1024, benchPayload, 1},
		{"diamond", 64, benchPayload, 1},
		{"burst", 64, benchPayload, 1},
		{"dag100", 1, benchPayload, 1},
		{"dag2000", 1, benchPayload, 1},
		{"dag10000", 1, benchPayload, 1},
		{"rate", 0, benchPayload, 1},
	} {
		w, err := bench.Find(r.workload)
		if err != nil {
			return nil, err
		}
		plan = append(plan, b.config(w, r.inFlight, r.payload, r.subscribers))
	}
	return plan, nil
}

func (b *benchmark) config(w bench.Workload, inFlight, payload, subscribers int) bench.Config {
	return bench.Config{
		Version: buildVersion().Version, Workload: w, InFlight: inFlight, Rate: b.rate, Payload: payload,
		Subscribers: subscribers, Tasks: b.tasks, For: b.long, Floor: b.floor,
	}
}

// measure does the runs, and says on the way which.
func (b *benchmark) measure(ctx context.Context, plan []bench.Config, executable string) (err error) {
	if err := b.measureBelow(ctx, plan, executable); err != nil {
		return err
	}
	for i, cfg := range plan {
		cfg.Executable = executable
		if cfg.Workload.Open && b.all {
			cfg.Rate = b.saturation() * benchShare
		}
		what := describeRun(cfg)
		if b.all && b.now().Sub(b.started)+2*cfg.For > benchAllTime {
			b.report.Skipped = append(b.report.Skipped, what)
			continue
		}
		b.note("[%d/%d, %s] %s", i+1, len(plan), seconds(b.now().Sub(b.started)), what)
		if cfg.Dir, err = b.runDir(what); err != nil {
			return err
		}
		result, err := bench.Run(ctx, cfg)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		b.report.Runs = append(b.report.Runs, result)
		if b.home == "" {
			if err := os.RemoveAll(cfg.Dir); err != nil { // the next run has the disk for itself
				return err
			}
		}
	}
	if b.production {
		if err := b.measureProduction(ctx, executable); err != nil {
			return err
		}
	}
	if b.floor {
		b.report.Targets = bench.Targets(b.report.Runs, b.report.Idle)
	}
	return nil
}

// measureProduction does the run that is like a day at work.
func (b *benchmark) measureProduction(ctx context.Context, executable string) (err error) {
	if b.all && b.now().Sub(b.started)+3*b.long > benchAllTime {
		b.report.Skipped = append(b.report.Skipped, bench.NameProduction)
		return nil
	}
	b.note("[%s] %s", seconds(b.now().Sub(b.started)), bench.NameProduction)
	cfg := bench.Config{Executable: executable, Version: buildVersion().Version, Tasks: b.tasks, For: b.long}
	if cfg.Dir, err = b.runDir(bench.NameProduction); err != nil {
		return err
	}
	if b.report.Production, err = bench.Production(ctx, cfg); err != nil {
		return fmt.Errorf("%s: %w", bench.NameProduction, err)
	}
	return nil
}

// measureBelow measures an idle host, while this process is young, and what lies below
// any engine.
func (b *benchmark) measureBelow(ctx context.Context, plan []bench.Config, executable string) error {
	if !b.floor || len(plan) == 0 {
		return nil
	}
	const (
		share   = 3 // of a run's time, for each
		commits = 500
	)
	long := max(b.long/share, 100*time.Millisecond)
	dir, err := b.runDir("below")
	if err != nil {
		return err
	}
	if b.all {
		b.note("[%s] a host with nothing to do", seconds(0))
		idle := plan[0]
		idle.Dir, idle.Executable = dir, executable
		if b.report.Idle, err = bench.Idle(ctx, idle, benchIdle); err != nil {
			return fmt.Errorf("idle: %w", err)
		}
	}
	b.note("[%s] disk and wire", seconds(b.now().Sub(b.started)))
	if b.report.Disk, err = bench.Disk(dir, commits); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if b.report.Wire, err = bench.Wire(ctx, executable, plan[0].InFlight*2+64, plan[0].Payload, long); err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	return nil
}

// runDir makes the directory of one run.
func (b *benchmark) runDir(what string) (string, error) {
	name := strings.NewReplacer(", ", "-", " ", "-", ",", "").Replace(what)
	dir, err := os.MkdirTemp(b.dir, name+"-*")
	if err != nil {
		return "", fmt.Errorf("a directory for the store: %w", err)
	}
	return dir, nil
}

// saturation is the most tasks per second that a run of five steps in a row reached.
func (b *benchmark) saturation() float64 {
	most := 1.0
	for _, r := range b.report.Runs {
		if r.Workload == "linear" && r.Subscribers == 1 && r.Payload == benchPayload {
			most = max(most, r.TasksPerSecond)
		}
	}
	return most
}

// describeRun names a run.
func describeRun(cfg bench.Config) string {
	load := number(cfg.InFlight) + " in flight"
	if cfg.Workload.Open {
		load = fmt.Sprintf("%.0f per second", cfg.Rate)
	}
	text := fmt.Sprintf("%s, %s, %s, %s", cfg.Workload.Name, load, benchSizeText(cfg.Payload), plural(cfg.Subscribers, "subscriber"))
	if cfg.Finished > 0 {
		text += ", " + number(cfg.Finished) + " finished"
	}
	return text
}

// The units of payloads; 1 KB is 1,024 bytes.
const benchKB = 1 << 10

// benchSize reads "100B", "10KB", "10KiB" or "100".
func benchSize(text string) (int, error) {
	digits, unit := text, 1
	for _, u := range []struct {
		suffix string
		bytes  int
	}{{"KiB", benchKB}, {"KB", benchKB}, {"B", 1}} {
		if d, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, unit = d, u.bytes
			break
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n*unit > benchLimit {
		return 0, fmt.Errorf("payload %q: want a size up to 1024KB, such as 100B or 10KB", text)
	}
	return n * unit, nil
}

func benchSizeText(n int) string {
	if n >= benchKB && n%benchKB == 0 {
		return number(n/benchKB) + " KB"
	}
	return number(n) + " B"
}
