package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/fixture"
	"github.com/tasker-engine/tasker/host/template"
)

// fixtureJSON is one file of `template test --json`.
type fixtureJSON struct {
	File     string               `json:"file"`
	Template *string              `json:"template"` // namespace/name@version, null when it cannot be read
	Problems template.Diagnostics `json:"problems"`
	Cases    []fixtureCaseJSON    `json:"cases"`
}

type fixtureCaseJSON struct {
	Name       string               `json:"name"`
	Line       int                  `json:"line"`
	Passed     bool                 `json:"passed"`
	Took       *string              `json:"took"` // on the task's clock
	Attempts   int                  `json:"attempts"`
	Mismatches []mismatchJSON       `json:"mismatches"`
	Problems   template.Diagnostics `json:"problems"` // why it could not run
}

type mismatchJSON struct {
	Field  string `json:"field"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (a *app) templateTestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test FILE|DIR...",
		Short: "Run the tests of templates: cases with stubs in place of the plugins",
		Long: `Run the tests of templates. A test file (order_test.yaml beside order.yaml) tells cases:
an input, a stub for each step, and what is expected of statuses, results, the order of
steps and events. The steps run in the real engine on a clock of their own: retries, time
limits and delays take no time. Neither plugins nor a home are needed. Of directories all
files are run whose names end in _test.yaml.

--init TEMPLATE prints a first test file for a template and runs nothing.

--json prints an array of {"file", "template", "problems", "cases": [{"name", "line",
"passed", "took", "attempts", "mismatches": [{"field", "want", "got", "line", "column"}],
"problems"}]}; problems are as those of ` + "`template check`" + `.

The exit code is 1 when a case fails or a file is wrong.`,
		Example: `  tasker template test order_test.yaml
  tasker template test templates --run declined
  tasker template test --init order.yaml > order_test.yaml`,
		Args: cobra.ArbitraryArgs,
	}
	asJSON := jsonFlag(c)
	pattern := c.Flags().String("run", "", "run only cases whose name matches the regular expression `REGEX`")
	initial := c.Flags().String("init", "", "print a first test file for the template `FILE`")
	c.RunE = func(c *cobra.Command, given []string) error {
		if *initial != "" {
			return a.initFixture(*initial)
		}
		if len(given) == 0 {
			return usageOf(c, fmt.Errorf("an argument is missing: %s", c.UseLine()))
		}
		match, err := regexp.Compile(*pattern)
		if err != nil {
			return usageOf(c, fmt.Errorf("--run: %w", err))
		}
		files, err := fixtureFiles(given)
		if err != nil {
			return err
		}
		out := make([]fixtureJSON, len(files))
		for i, file := range files {
			if out[i], err = runFixture(c.Context(), file, match); err != nil {
				return err
			}
		}
		if *asJSON {
			if err := a.printJSON(list(out)); err != nil {
				return err
			}
		}
		return a.fixtureVerdict(out, *asJSON)
	}
	return c
}

// initFixture prints a first test file, which is to lie beside the template.
func (a *app) initFixture(path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t, err := template.Parse(path, source, template.Options{})
	if err != nil {
		return err
	}
	a.out.printf("%s", fixture.Scaffold(filepath.Base(path), t, source))
	return nil
}

// fixtureFiles are the files that are given, and those of directories.
func fixtureFiles(given []string) ([]string, error) {
	var files []string
	for _, path := range given {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("there is no file or directory %s", path)
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		err = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			ext := filepath.Ext(path)
			if err == nil && d.Type().IsRegular() && slices.Contains([]string{".yaml", ".yml"}, ext) && strings.HasSuffix(path, "_test"+ext) {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// runFixture runs the cases of a file. The error is about files that cannot be read.
func runFixture(ctx context.Context, path string, match *regexp.Regexp) (fixtureJSON, error) {
	out := fixtureJSON{File: path, Problems: template.Diagnostics{}, Cases: []fixtureCaseJSON{}}
	f, err := fixture.Load(path)
	if errors.As(err, &out.Problems) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	ref := f.Template.Ref().String()
	out.Template = &ref
	for _, c := range f.Cases {
		if !match.MatchString(c.Name) {
			continue
		}
		one := fixtureCaseJSON{Name: c.Name, Line: c.Line, Mismatches: []mismatchJSON{}, Problems: template.Diagnostics{}}
		result, err := c.Run(ctx)
		switch {
		case errors.As(err, &one.Problems):
		case err != nil:
			return out, err
		default:
			took := result.Took.String()
			one.Took, one.Attempts, one.Passed = &took, result.Attempts, len(result.Mismatches) == 0
			for _, m := range result.Mismatches {
				one.Mismatches = append(one.Mismatches, mismatchJSON(m))
			}
		}
		out.Cases = append(out.Cases, one)
	}
	return out, nil
}

// fixtureVerdict prints how the cases went and decides on the exit code.
func (a *app) fixtureVerdict(files []fixtureJSON, quiet bool) error {
	run, failed, wrong := 0, 0, 0
	for _, f := range files {
		if len(f.Problems) > 0 {
			wrong++
		}
		for _, c := range f.Cases {
			run++
			if !c.Passed {
				failed++
			}
		}
		if !quiet {
			a.fixtureResult(f)
		}
	}
	switch {
	case run == 0 && wrong > 0:
	case failed+wrong > 0 && !quiet:
		a.note("%d of %s failed", failed, plural(run, "case"))
	case run == 0 && wrong == 0:
		a.note("no case was run")
	case !quiet:
		a.note("%s passed", plural(run, "case"))
	}
	if failed+wrong > 0 {
		return exit(exitFailed)
	}
	return nil
}

func (a *app) fixtureResult(f fixtureJSON) {
	for _, d := range f.Problems {
		a.note("%s", d.Error())
	}
	for _, c := range f.Cases {
		if c.Passed {
			a.out.printf("ok    %s: %s (%s on its clock)\n", f.File, c.Name, *c.Took)
			continue
		}
		a.out.printf("FAIL  %s:%d: %s\n", f.File, c.Line, c.Name)
		for _, d := range c.Problems {
			a.out.printf("      %s\n", d.Error())
		}
		for _, m := range c.Mismatches {
			a.out.printf("      %s:%d:%d: %s\n      - want %s\n      + got  %s\n", f.File, m.Line, m.Column, m.Field, orNothing(m.Want), orNothing(m.Got))
		}
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return printable(s, false)
}
