package cli

import (
	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/template"
)

func (a *app) templateSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the template format",
		Long: `Print the JSON Schema of the template format, for editors: with the YAML language
server, a template that begins with
  # yaml-language-server: $schema=tasker-template.json
is checked and completed while it is written.`,
		Example: "  tasker template schema > tasker-template.json",
		Args:    args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			a.out.printf("%s", template.Schema())
			return nil
		},
	}
}
