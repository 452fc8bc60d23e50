package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
	"github.com/tasker-engine/tasker/host/template"
)

func (a *app) templateNewCommand() *cobra.Command {
	var (
		dir   string
		force bool
	)
	c := &cobra.Command{
		Use:   "new [NAMESPACE/]NAME",
		Short: "Begin a template: a file with comments, to be changed",
		Long: `Begin a template: NAME.yaml, a workflow of two steps with comments on what else there is.
Its steps run commands by the plugin exec, which comes with Tasker.`,
		Example: `  tasker template new shop/order
  tasker template new order --dir templates`,
		Args:              args(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&dir, "dir", ".", "`DIR` for the file")
	c.Flags().BoolVar(&force, "force", false, "overwrite a file that exists")
	_ = c.MarkFlagDirname("dir")
	c.RunE = func(c *cobra.Command, given []string) error {
		namespace, name, found := strings.Cut(given[0], "/")
		if !found {
			namespace, name = "", given[0]
		}
		if !template.ValidName(name) || found && !template.ValidName(namespace) {
			return usageOf(c, fmt.Errorf("%q is no name of a template: want [NAMESPACE/]NAME of lower-case letters, digits, - and _", given[0]))
		}
		path := filepath.Join(dir, name+".yaml")
		files, err := scaffold.Template{Namespace: namespace, Name: name, File: filepath.ToSlash(path)}.Files()
		if err != nil {
			return err
		}
		files[0].Path = name + ".yaml"
		if err := a.writeProject(dir, files, force); err != nil {
			return err
		}
		a.out.printf("\nnext:\n  tasker template check %[1]s\n  tasker run %[1]s --input '{\"name\": \"Ada\"}'\n", shellWord(path))
		return nil
	}
	return c
}
