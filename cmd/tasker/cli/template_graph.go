package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) templateGraphCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "graph TEMPLATE",
		Short: "Draw the steps of a template",
		Long: `Draw the steps of a template and what they wait for: as text, or as a Mermaid flow
chart that many tools render. TEMPLATE is the path of a file, or
[namespace/]name[@version] of a registered template.`,
		Example: `  tasker template graph order.yaml
  tasker template graph order.yaml --format mermaid > order.mmd`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTemplates,
	}
	templateFlags(c)
	format := c.Flags().String("format", "text", "text or mermaid")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "mermaid"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, given []string) error {
		if err := oneOf(*format, "text", "mermaid"); err != nil {
			return usageOf(c, fmt.Errorf("--format: %w", err))
		}
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		_, t, err := a.template(c.Context(), cfg, given[0])
		if err != nil {
			return err
		}
		if *format == "mermaid" {
			a.out.printf("%s", t.Mermaid())
			return nil
		}
		a.out.printf("%s", t.Text())
		return nil
	}
	return c
}
