package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// checkJSON is one file of `template check --json`.
type checkJSON struct {
	File     string               `json:"file"`
	Template *string              `json:"template"` // namespace/name@version, null when it is wrong
	Steps    int                  `json:"steps"`
	Problems template.Diagnostics `json:"problems"`

	Subscriptions []templateBindingJSON `json:"subscriptions"`
	Events        []templateEventJSON   `json:"events"`

	notes []string
}

// newCheckJSON is the answer for a file that holds a template.
func newCheckJSON(file string, t *template.Template, cfg *config) checkJSON {
	ref := t.Ref().String()
	return checkJSON{
		File: file, Template: &ref, Steps: len(t.Steps), Problems: template.Diagnostics{},
		Subscriptions: newBindingsJSON(t), Events: newTemplateEventsJSON(t), notes: workflowNotes(t, cfg.WorkflowEvents),
	}
}

// newWrongJSON is the answer for a file that holds none.
func newWrongJSON(file string, problems template.Diagnostics) checkJSON {
	return checkJSON{File: file, Problems: problems, Subscriptions: []templateBindingJSON{}, Events: []templateEventJSON{}}
}

func (a *app) templateCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check FILE|DIR...",
		Short: "Check template files and say all that is wrong with them",
		Long: `Check template files, and those in directories, and say all that is wrong with them,
each as file:line:column: message. Of a template that is well it prints which events reach
which subscribers, and which events it publishes itself. Handlers and subscribers are not
looked for: plugins may come later. With --plugin-dir the executables there are asked what
their handlers take and return, and the expressions of ` + "`with` and `when`" + ` are held
against that.

--json prints an array of {"file", "template", "steps", "problems": [{"file", "line",
"column", "message", "hint"}], "subscriptions": [{"subscriber", "events", "filter",
"config", "enabled"}], "events": [{"name", "on", "step", "description"}]}.

The exit code is 1 when anything is wrong.`,
		Example: `  tasker template check order.yaml
  tasker template check templates --env production
  tasker template check order.yaml --plugin-dir bin/plugins`,
		Args: args(1, -1),
	}
	c.Flags().String("env", "", "environment whose overrides are merged")
	c.Flags().StringArray("plugin-dir", nil, "`DIR` with plugins to check expressions against (may be repeated)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		schemas := func(task.HandlerRef) (template.HandlerSchemas, bool) { return template.HandlerSchemas{}, false }
		if c.Flags().Changed("plugin-dir") {
			found, err := a.executables(c.Context(), cfg)
			if err != nil {
				return err
			}
			schemas = a.schemasOf(found)
		}
		var out []checkJSON
		for _, path := range given {
			checked, err := checkPath(path, cfg, schemas)
			if err != nil {
				return err
			}
			out = append(out, checked...)
		}
		if *asJSON {
			if err := a.printJSON(list(out)); err != nil {
				return err
			}
		}
		return a.verdict(out, *asJSON)
	}
	return c
}

// schemaLookup returns what a handler declares, false when it is not known.
type schemaLookup = func(task.HandlerRef) (template.HandlerSchemas, bool)

// schemasOf looks handlers up among plugins, and says which of those cannot be asked.
func (a *app) schemasOf(found []host.PluginInfo) schemaLookup {
	for i := range found {
		if found[i].State == task.PluginRefused {
			a.note("%s: %s", found[i].Path, oneLine(found[i].Cause))
		}
	}
	return func(ref task.HandlerRef) (out template.HandlerSchemas, ok bool) {
		highest := uint32(0)
		for i := range found {
			for _, h := range found[i].Handlers {
				if found[i].Name != ref.Plugin || h.Name != ref.Handler || (ref.Version != 0 && h.Version != ref.Version) || h.Version < highest {
					continue
				}
				highest, ok = h.Version, true
				out = template.HandlerSchemas{Input: h.InputSchema, Output: h.OutputSchema}
			}
		}
		return out, ok
	}
}

// checkPath checks a file, or the files of a directory.
func checkPath(path string, cfg *config, schemas schemaLookup) ([]checkJSON, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no file or directory %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	if !info.IsDir() {
		t, err := parseTemplate(path, cfg.Environment)
		var problems template.Diagnostics
		switch {
		case errors.As(err, &problems):
			return []checkJSON{newWrongJSON(path, problems)}, nil
		case err != nil:
			return nil, err
		}
		return []checkJSON{checkTemplate(path, t, cfg, schemas)}, nil
	}
	set, err := template.Load(template.Options{Environment: cfg.Environment}, path)
	if err != nil {
		return nil, err
	}
	var out []checkJSON
	for _, e := range set.List() {
		out = append(out, checkTemplate(e.File, e.Template, cfg, schemas))
	}
	byFile := make(map[string]int)
	for _, d := range set.Problems() {
		i, ok := byFile[d.File]
		if !ok {
			i = len(out)
			byFile[d.File] = i
			out = append(out, newWrongJSON(d.File, nil))
		}
		out[i].Problems = append(out[i].Problems, d)
	}
	return out, nil
}

// checkTemplate holds a template that is well in itself against what handlers declare.
func checkTemplate(path string, t *template.Template, cfg *config, schemas schemaLookup) checkJSON {
	if problems := t.CheckHandlers(schemas); len(problems) > 0 {
		return newWrongJSON(path, problems)
	}
	return newCheckJSON(path, t, cfg)
}

// verdict prints what is well and what is wrong, and decides on the exit code.
func (a *app) verdict(checked []checkJSON, asJSON bool) error {
	wrong := 0
	for _, c := range checked {
		if len(c.Problems) > 0 {
			wrong++
		}
		if asJSON {
			continue
		}
		for _, d := range c.Problems {
			a.note("%s", d.Error())
		}
		if len(c.Problems) == 0 {
			a.wellChecked(c)
		}
	}
	if wrong > 0 {
		return exit(exitFailed)
	}
	if len(checked) == 0 {
		a.note("no template files there")
	}
	return nil
}

// wellChecked prints what is to be known of a template that is well.
func (a *app) wellChecked(c checkJSON) {
	a.out.printf("%s: %s is well, %s\n", c.File, *c.Template, plural(c.Steps, "step"))
	for _, line := range bindingLines(c.Subscriptions) {
		a.out.printf("  subscription %s\n", line)
	}
	for _, line := range templateEventLines(c.Events) {
		a.out.printf("  event %s\n", line)
	}
	for _, n := range c.notes {
		a.note("%s", n)
	}
}
