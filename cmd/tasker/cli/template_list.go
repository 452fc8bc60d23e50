package cli

import (
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// templateJSON is one template in `template list --json` and `template show --json`.
type templateJSON struct {
	Template    string          `json:"template"` // namespace/name@version
	Namespace   string          `json:"namespace"`
	Name        string          `json:"name"`
	Version     string          `json:"version"`
	Hash        string          `json:"hash"`
	Latest      bool            `json:"latest"`
	Description *string         `json:"description"`
	File        *string         `json:"file"`
	Environment *string         `json:"environment"`
	StepCount   int             `json:"step_count"`
	Handlers    []string        `json:"handlers"`
	InputSchema json.RawMessage `json:"input_schema"`
}

func newTemplateJSON(t *host.TemplateInfo) templateJSON {
	return templateJSON{
		Template: t.Ref.String(), Namespace: t.Ref.Namespace, Name: t.Ref.Name, Version: t.Ref.Version, Hash: t.Ref.Hash,
		Latest: t.Latest, Description: optional(t.Description), File: optional(t.Path), Environment: optional(t.Environment),
		StepCount: t.Steps, Handlers: list(t.Handlers), InputSchema: t.InputSchema,
	}
}

func (a *app) templateListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the registered templates",
		Long: `List the templates of the running host; without one, those of the template directories.

--json prints an array of {"template", "namespace", "name", "version", "hash", "latest",
"description", "file", "environment", "step_count", "handlers", "input_schema"}.`,
		Example: "  tasker template list --template-dir templates",
		Args:    args(0, 0),
	}
	templateFlags(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		infos, err := a.templates(c.Context(), cfg)
		if err != nil {
			return err
		}
		if *asJSON {
			out := make([]templateJSON, len(infos))
			for i := range infos {
				out[i] = newTemplateJSON(&infos[i])
			}
			return a.printJSON(out)
		}
		if len(infos) == 0 {
			a.note("no templates; name their directory with --template-dir")
			return nil
		}
		t := table{head: []string{"TEMPLATE", "STEPS", "FILE", "DESCRIPTION"}}
		for i := range infos {
			t.add(infos[i].Ref.String(), strconv.Itoa(infos[i].Steps), infos[i].Path, cut(oneLine(infos[i].Description), 60))
		}
		t.print(a.out)
		return nil
	}
	return c
}
