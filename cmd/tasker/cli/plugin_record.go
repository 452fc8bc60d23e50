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
	Left  []string `json:"left"` // what was not recorded, and why
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
		Long: `Write the last attempt of each step of tasks as a file: what the handler was asked (input,
config, results of dependencies) and what came of it. ` + "`tasker plugin replay`" + ` asks a
plugin's executable the same again and compares, and so does sdktest.Replay in a Go test.

Tasks are named, or are the newest of a template. What the schemas of a handler mark with
writeOnly is written as "REDACTED"; look at the files before you share them: other fields
are what they were. --volatile names values that change from run to run, as JSON pointers
into the outcome; * stands for any key or index.

--json prints {"files", "left"}: left says which steps were not recorded, and why.`,
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
	done := &recordJSON{Files: []string{}, Left: []string{}}
	for _, id := range ids {
		got, err := host.Record(ctx, s, id, f.plugin, plugins)
		if err != nil {
			return nil, err
		}
		for _, left := range got.Left {
			done.Left = append(done.Left, fmt.Sprintf("task %s: %s", id, left))
		}
		for _, attempt := range got.Attempts {
			attempt.Volatile = append(attempt.Volatile, f.volatile...)
			path, err := writeRecording(f.out, attempt)
			if err != nil {
				return nil, err
			}
			done.Files = append(done.Files, path)
		}
	}
	return done, nil
}

// writeRecording writes a file whose name says what it holds.
func writeRecording(dir string, attempt *recording.Attempt) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(attempt.IdempotencyKey, "/")
	path := filepath.Join(dir, fmt.Sprintf("%s-%s-%s-%s.json", attempt.Plugin, attempt.Handler, id, attempt.Step))
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
