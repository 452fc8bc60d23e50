package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// recordJSON is what `plugin record --json` prints.
type recordJSON struct {
	Files []string `json:"files"`
	Left  []string `json:"left"`  // what was not recorded, and why
	Notes []string `json:"notes"` // what to look at
}

// recordFlags are the flags of `plugin record`.
type recordFlags struct {
	plugin, template, out string
	last                  int
	volatile              []string
}

func (a *app) pluginRecordCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "record [TASK...]",
		Short: "Write attempts of tasks as files for plugin replay and tests",
		Long: `Write each attempt of the steps of tasks as a file: what the handler was asked (input,
config, results of dependencies, the failure before) and what came of it: output or error,
the events that it emitted, and how long the host waited before the next attempt.
` + "`tasker plugin replay`" + ` asks a plugin's executable the same again and compares, and so does
sdktest.Replay in a Go test.

Attempts that were lost or cancelled, or that the host ended, cannot be asked again, and
are left out. The checkpoint that an attempt began from is not kept once it has ended, and
is in no file.

Tasks are named, or are the newest of a template. What schemas mark with writeOnly is
written as "REDACTED": in inputs, configs, outputs, results of dependencies and events.
The same values, and the secrets of the plugins' configurations, become *** wherever else
they stand, also in errors; what is shorter than eight bytes stays in data, and what is
shorter than four everywhere. Look at the files before you share them.

--volatile names values that change from run to run, as JSON pointers into the outcome;
* stands for any key or index.

--json prints {"files", "left", "notes"}: left says which attempts were not recorded, and
why, notes what to look at in the files.`,
		Example: `  tasker plugin record 01JD --out testdata/attempts
  tasker plugin record --template orders --last 20 --plugin shop
  tasker plugin record 01JD --volatile /output/at --volatile '/output/items/*/id'`,
		ValidArgsFunction: a.completeTasks,
		Args:              cobra.ArbitraryArgs,
	}
	pluginFlags(c)
	var f recordFlags
	c.Flags().StringVar(&f.plugin, "plugin", "", "only attempts of the plugin `NAME`")
	c.Flags().StringVar(&f.template, "template", "", "tasks of the template `[NAMESPACE/]NAME[@VERSION]`")
	c.Flags().IntVar(&f.last, "last", 1, "with --template: how many of its newest tasks")
	c.Flags().StringVar(&f.out, "out", "recordings", "the directory `DIR` for the files")
	c.Flags().StringArrayVar(&f.volatile, "volatile", nil, "`POINTER` to a value that is not compared (may be repeated)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if (f.template == "") == (len(given) == 0) {
			return usageOf(c, errors.New("want tasks, or --template"))
		}
		return a.ask(c, func(ctx context.Context, cfg *config, s host.Service) error {
			done, err := a.record(ctx, cfg, s, given, &f)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(done)
			}
			for _, file := range done.Files {
				a.out.printf("%s\n", file)
			}
			for _, left := range done.Left {
				a.note("left out: %s", left)
			}
			for _, note := range done.Notes {
				a.note("note: %s", note)
			}
			return nil
		})
	}
	return c
}

// record records tasks and writes the files.
func (a *app) record(ctx context.Context, cfg *config, s host.Service, ids []string, f *recordFlags) (*recordJSON, error) {
	plugins, err := s.Plugins(ctx)
	if errors.Is(err, host.ErrNoHost) {
		plugins, err = a.executables(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	if f.template != "" {
		if ids, err = newestTasks(ctx, s, f.template, f.last); err != nil {
			return nil, err
		}
	}
	got, err := host.Record(ctx, s, ids, host.RecordOptions{Plugin: f.plugin, Known: plugins, Configs: cfg.hostOptions().PluginConfigs})
	if err != nil {
		return nil, err
	}
	done := &recordJSON{Files: []string{}, Left: list(got.Left), Notes: list(got.Notes)}
	for _, attempt := range got.Attempts {
		attempt.Volatile = append(attempt.Volatile, f.volatile...)
		path, err := writeRecording(f.out, attempt)
		if err != nil {
			return nil, err
		}
		done.Files = append(done.Files, path)
	}
	return done, nil
}

// writeRecording writes a file whose name says what it holds.
func writeRecording(dir string, attempt *recording.Attempt) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(attempt.IdempotencyKey, "/")
	path := filepath.Join(dir, fmt.Sprintf("%s-%s-%s-%s-%d.json", attempt.Plugin, attempt.Handler, id, attempt.Step, attempt.Number))
	return path, attempt.Write(path)
}

// newestTasks are the ids of the newest tasks of a template that have ended.
func newestTasks(ctx context.Context, s host.Service, ref string, n int) ([]string, error) {
	f := host.Filter{Statuses: []task.Status{task.Complete, task.Error, task.ResolvedManually}, Namespace: template.DefaultNamespace}
	name, version, _ := strings.Cut(ref, "@")
	if namespace, short, ok := strings.Cut(name, "/"); ok {
		f.Namespace, name = namespace, short
	}
	f.Template, f.Version = name, version
	var ids []string
	for page := (host.Page{Limit: max(min(n, host.MaxPage), 1)}); len(ids) < n; {
		found, next, err := s.ListTasks(ctx, f, page)
		if err != nil {
			return nil, err
		}
		for i := range found {
			if len(ids) < n {
				ids = append(ids, string(found[i].Spec.ID))
			}
		}
		if next == "" {
			break
		}
		page.After = next
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("task of template %s that has ended: %w", ref, task.ErrNotFound)
	}
	return ids, nil
}
