// Soak runs very many tasks through a host with a real plugin while retention removes
// them, and fails when memory or the file keep growing. It prints the curve as CSV and can
// draw it. `make soak` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// What the soak does.
const (
	window      = 1024 // unfinished tasks at a time
	keepTasks   = 5 * time.Second
	keepEvents  = 5 * time.Second
	settle      = 10 * time.Millisecond // between two looks at how many tasks are unfinished
	points      = 90                    // of the curve
	maxGrowth   = 1.2                   // of the last third over the middle one
	stepsOfTask = 3
)

const source = `
name: soak
version: 1.0.0
steps:
  - {name: a, handler: mock/noop}
  - {name: b, handler: mock/noop, depends_on: [a]}
  - {name: c, handler: mock/noop, depends_on: [b]}
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	tasks := flags.Int("tasks", 1_000_000, "how many tasks are run")
	plugin := flags.String("plugin", "", "the binary of plugins/mock")
	plot := flags.String("svg", "", "file to draw the curve to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "tasker-soak-")
	if err != nil {
		return err
	}
	curve, err := soak(ctx, home, *plugin, *tasks, stdout)
	err = errors.Join(err, os.RemoveAll(home))
	if err != nil {
		return err
	}
	if *plot != "" {
		if err := os.WriteFile(*plot, draw(curve), 0o644); err != nil { //nolint:gosec // a picture for everybody
			return err
		}
	}
	return judge(curve, stderr)
}

// soak runs tasks through a host in a home and returns the curve.
func soak(ctx context.Context, home, plugin string, tasks int, out io.Writer) (curve []point, err error) {
	if err := os.WriteFile(filepath.Join(home, "soak.yaml"), []byte(source), 0o600); err != nil {
		return nil, err
	}
	h, err := host.Open(ctx, host.Options{
		Home: home, PluginDirs: []string{plugin}, TemplateDirs: []string{home}, EventsKeep: keepEvents,
		Retention: host.Retention{Keep: template.Retention{Complete: task.Duration(keepTasks)}},
		Logger:    hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	})
	if err != nil {
		return nil, err
	}
	work, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- h.Run(work) }()
	curve, err = drive(ctx, h, home, tasks, out)
	stop()
	return curve, errors.Join(err, <-ended)
}

// drive creates tasks, window at a time, and takes points of the curve.
func drive(ctx context.Context, h *host.Host, home string, tasks int, out io.Writer) (curve []point, err error) {
	tick := time.NewTicker(settle)
	defer tick.Stop()
	began := time.Now()
	_, _ = fmt.Fprintln(out, csvHead) // the verdict does not hang on it
	for created := 0; ; {
		open, err := unfinished(ctx, h)
		if err != nil {
			return curve, err
		}
		more := min(max(window-open, 0), tasks-created)
		if err := create(ctx, h, more); err != nil {
			return curve, err
		}
		if created += more; created*points/tasks > len(curve) {
			p, err := measure(filepath.Join(home, "tasker.db"), created, time.Since(began))
			if err != nil {
				return curve, err
			}
			curve = append(curve, p)
			_, _ = fmt.Fprintln(out, p.csv())
		}
		if created == tasks && open == 0 {
			return curve, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return curve, ctx.Err()
		}
	}
}

// create creates tasks, many at once: each waits for the disk.
func create(ctx context.Context, h *host.Host, n int) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(window / 2)
	for range n {
		all.Go(func() error {
			_, err := h.CreateTask(ctx, task.Request{Template: "soak"})
			return err
		})
	}
	return all.Wait()
}

// unfinished is the number of tasks that have not ended.
func unfinished(ctx context.Context, h *host.Host) (int, error) {
	health, err := h.Health(ctx)
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	for status, tasks := range health.Tasks {
		if !status.Terminal() {
			n += tasks
		}
	}
	return int(n), nil
}
