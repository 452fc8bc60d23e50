package cli

import (
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/bench"
)

// benchReport is what `tasker bench --json` prints.
type benchReport struct {
	Version   string            `json:"version"`
	StartedAt *string           `json:"started_at"`
	Machine   bench.Machine     `json:"machine"`
	Disk      *bench.DiskResult `json:"disk"` // null without floors
	Wire      *bench.WireResult `json:"wire"` // null without floors
	Idle      *bench.IdleResult `json:"idle"` // null without --all
	Runs      []*bench.Result   `json:"runs"`
	// Production is null unless it was asked for.
	Production *bench.ProductionResult `json:"production"`
	Targets    []bench.Target          `json:"targets"`
	Skipped    []string                `json:"skipped"` // runs for which there was no time left
}

// print shows the report to people.
func (b *benchmark) print() {
	m := b.report.Machine
	b.out.printf("tasker %s, %s %s, %d CPUs, %s, %s\n", b.report.Version, m.OS, m.Arch, m.CPUs, m.Go, m.Processor)
	b.out.printf("stores on %s, %s at every commit\n", orUnknown(m.Disk), m.Fsync)
	if d, w := b.report.Disk, b.report.Wire; d != nil && w != nil {
		b.out.printf("disk: sync of 4 KiB %s (p99 %s), bbolt commit of one record %s (p99 %s)\n",
			micro(d.Sync.P50), micro(d.Sync.P99), micro(d.Commit.P50), micro(d.Commit.P99))
		b.out.printf("wire: %s attempts/s through a raw stream, a single one %s (p99 %s)\n",
			number(int64(w.PerSecond)), micro(w.RoundTrip.P50), micro(w.RoundTrip.P99))
	}
	if len(b.report.Runs) > 0 {
		b.printSpeed()
		b.printCost()
	}
	b.printProduction()
	b.printTargets()
	for _, what := range b.report.Skipped {
		b.note("no time left for: %s", what)
	}
}

// printSpeed shows throughput and latency of the runs.
func (b *benchmark) printSpeed() {
	t := table{head: []string{
		"WORKLOAD", "LOAD", "PAYLOAD", "SUBS", "FINISHED", "STEPS/S", "TASKS/S", "OF FLOOR", "TASK P50", "P99", "MAX", "SEEN P50", "P99", "STEP P50", "P99", "MAX",
	}}
	for _, r := range b.report.Runs {
		load, of, finished := number(r.InFlight), "-", "-"
		if r.Finished != nil {
			finished = number(r.Finished.Tasks)
		}
		if r.Rate > 0 {
			load = fmt.Sprintf("%.0f/s", r.Rate)
		}
		if r.Floor != nil {
			of = fmt.Sprintf("%.2f", r.OfFloor)
		}
		t.add(r.Workload, load, benchSizeText(r.Payload), number(r.Subscribers), finished,
			number(int64(r.StepsPerSecond)), number(int64(r.TasksPerSecond)), of,
			micro(r.Task.P50), micro(r.Task.P99), micro(r.Task.Max), micro(r.Observed.P50), micro(r.Observed.P99),
			micro(r.Step.P50), micro(r.Step.P99), micro(r.Step.Max))
	}
	b.out.printf("\n")
	t.print(b.out)
}

// printCost shows what a step of the runs used.
func (b *benchmark) printCost() {
	t := table{head: []string{
		"WORKLOAD", "LOAD", "PAYLOAD", "SUBS", "CPU HOST", "PLUGIN", "SUBSCR", "FLOOR", "ALLOCS", "BYTES", "COMMITS/S", "COMMIT", "BATCH", "PUTS", "BYTES/PUT",
	}}
	for _, r := range b.report.Runs {
		load, floor := number(r.InFlight), "-"
		if r.Rate > 0 {
			load = fmt.Sprintf("%.0f/s", r.Rate)
		}
		if r.Floor != nil {
			floor = fmt.Sprintf("%.1fus", r.Floor.CPU)
		}
		c, s := r.Cost, r.Commits
		t.add(r.Workload, load, benchSizeText(r.Payload), number(r.Subscribers),
			fmt.Sprintf("%.1fus", c.Host), fmt.Sprintf("%.1fus", c.Plugin), fmt.Sprintf("%.1fus", c.Subscriber), floor,
			fmt.Sprintf("%.0f", c.Allocs), number(int64(c.AllocBytes)), number(int64(s.PerSecond)), micro(int64(s.Mean*float64(time.Microsecond))),
			fmt.Sprintf("%.1f", s.Batch), fmt.Sprintf("%.1f", s.PutsPerStep), number(s.BytesPerPut))
	}
	b.out.printf("\nper step, but for commits:\n")
	t.print(b.out)
}

// printProduction shows how the host did a day's work.
func (b *benchmark) printProduction() {
	r := b.report.Production
	if r == nil {
		return
	}
	b.out.printf("\nproduction: orders and censuses at %.0f tasks/s, 70 %% of the %.0f that saturate the host\n", r.Rate, r.Saturation)
	b.out.printf("  %s tasks (%s failed), %s steps/s, %s retries, %s attempts lost to the plugin's crash\n",
		number(r.Tasks), number(r.Failed), number(int64(r.StepsPerSecond)), number(r.Retries), number(r.Lost))
	b.out.printf("  task p50 %s, p99 %s; step p50 %s, p99 %s; seen p50 %s, p99 %s\n",
		micro(r.Task.P50), micro(r.Task.P99), micro(r.Step.P50), micro(r.Step.P99), micro(r.Observed.P50), micro(r.Observed.P99))
	b.out.printf("  subscriptions behind by p50 %s, p99 %s, at most %s events\n", micro(r.Lag.P50), micro(r.Lag.P99), number(r.LagMost))
	b.out.printf("  host: %.1fus of CPU per step, %.0f MiB resident, %.0f MiB without a file\n",
		r.Cost.Host, float64(r.Cost.HostRSS)/(1<<20), float64(r.Cost.HostAnon)/(1<<20))
}

// printTargets shows what was promised and what came of it.
func (b *benchmark) printTargets() {
	t := table{head: []string{"TARGET", "WANT", "MEASURED", "OF FLOOR", "HOLDS"}}
	for _, target := range b.report.Targets {
		if !target.Measured && !b.all {
			continue
		}
		got, of, holds := "not measured", "-", "-"
		if target.Measured {
			got, holds = target.Got, "no"
			if target.Holds {
				holds = "yes"
			}
		}
		if target.OfFloor > 0 {
			of = fmt.Sprintf("%.2f", target.OfFloor)
		}
		t.add(target.Name, target.Want, got, of, holds)
	}
	if len(t.rows) > 0 {
		b.out.printf("\n")
		t.print(b.out)
	}
}

// micro prints nanoseconds for people.
func micro(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	default:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "an unknown disk"
	}
	return s
}
