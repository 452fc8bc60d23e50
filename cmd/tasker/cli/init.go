package cli

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
)

// examplePlugin is the name of the plugin that `tasker init` writes.
const examplePlugin = "hello"

func (a *app) initCommand() *cobra.Command {
	var (
		sdk   string
		force bool
	)
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Begin a home with settings, a template and a plugin",
		Long: `Begin a directory of your own: a home in .tasker with a tasker.yaml that explains itself,
an example template in templates, an example plugin in Go in hello, and a README with the
next commands. In it, commands find the home without being told.

The plugin requires the SDK as ` + "`tasker plugin new`" + ` says. Files that exist are not overwritten,
unless --force is given.`,
		Example: `  tasker init
  tasker init orders && cd orders`,
		Args: args(0, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	c.Flags().StringVar(&sdk, "sdk", "", "`DIR` of a checkout of Tasker whose SDK the plugin takes")
	c.Flags().BoolVar(&force, "force", false, "overwrite files that exist")
	_ = c.MarkFlagDirname("sdk")
	c.RunE = func(c *cobra.Command, given []string) error {
		if c.Flags().Changed("home") {
			return usageOf(c, errors.New("init makes the home "+defaultHome+" in DIR, so --home does not go with it"))
		}
		dir := strings.Join(append(given, ".")[:1], "")
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		files, err := scaffold.Home{Name: filepath.Base(abs), Plugin: examplePlugin}.Files()
		if err != nil {
			return err
		}
		if err := a.writeProject(dir, files, force); err != nil {
			return err
		}
		n := &newPlugin{kind: string(scaffold.Both), dir: filepath.Join(dir, examplePlugin), sdk: sdk, force: force}
		if _, err := a.writePlugin(c.Context(), n, examplePlugin); err != nil {
			return err
		}
		a.out.printf("\nnext:\n")
		if dir != "." {
			a.out.printf("  cd %s\n", shellWord(dir))
		}
		a.out.printf("  tasker plugin dev %s --run templates/hello.yaml --input '{\"name\": \"Ada\"}'\n", examplePlugin)
		return nil
	}
	return c
}
