package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) pluginRemoveCommand() *cobra.Command {
	var tree bool
	c := &cobra.Command{
		Use:   "remove PLUGIN[@VERSION]",
		Short: "Remove an installed plugin",
		Long: `Remove an installed plugin, or one version of it, from the home and from its lock. The
current version is only removed with the whole plugin. What the plugin keeps in its data
directory stays, and a host that runs goes on with the process that it has.

With --tree only the files are removed and the lock stays: ` + "`tasker plugin install --locked`" + `
brings back what it says.`,
		Example: `  tasker plugin remove greeter@1.0.0
  tasker plugin remove greeter`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeInstalled,
	}
	c.Flags().BoolVar(&tree, "tree", false, "remove the files and leave the lock as it is")
	c.RunE = func(c *cobra.Command, given []string) error {
		_, d, err := a.depot(c)
		if err != nil {
			return err
		}
		name, version, _ := strings.Cut(given[0], "@")
		if tree {
			err = d.RemoveTree(name, version)
		} else {
			err = d.Remove(name, version)
		}
		if err != nil {
			return installedHint(err)
		}
		a.note("%s: removed", given[0])
		return nil
	}
	return c
}

// installedHint says where to see what is installed.
func installedHint(err error) error {
	if errors.Is(err, host.ErrNotInstalled) {
		return withHint(err, "see what is installed: tasker plugin list")
	}
	return err
}

func (a *app) pluginApproveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "approve PLUGIN[@VERSION]",
		Short: "Approve the permissions and commands of an installed plugin",
		Long: `Approve all permissions that an installed version asks for and all commands that it adds to
the command line, of the current one unless another is named, and write them to the lock. Its
files must be what the lock says. A plugin that asks for more than was approved is not started,
and a command that was not approved is not run: it would run as you do, outside of the isolation.

--json prints {"name", "approved", "added"}.`,
		Example:           `  tasker plugin approve greeter`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeInstalled,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		_, d, err := a.depot(c)
		if err != nil {
			return err
		}
		name, version, _ := strings.Cut(given[0], "@")
		added, err := d.Approve(name, version)
		if err != nil {
			return installedHint(err)
		}
		m, err := d.Manifest(name, version)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(struct {
				Name     string   `json:"name"`
				Approved []string `json:"approved"`
				Added    []string `json:"added"`
			}{name, approvedOf(m), list(added)})
		}
		if len(added) == 0 {
			a.note("%s: nothing to approve; it has: %s", given[0], strings.Join(nonEmpty(approvedOf(m), "nothing beyond its own data directory"), ", "))
			return nil
		}
		a.note("%s: approved: %s", given[0], strings.Join(added, ", "))
		return nil
	}
	return c
}

// approvedOf says what was approved of a plugin that all was approved of.
func approvedOf(m *host.PackageManifest) []string {
	out := list(host.Asks(m.Permissions))
	for _, name := range commandNames(m) {
		out = append(out, "command "+name)
	}
	return out
}

// textOf is an error as text, nil when there is none.
func textOf(err error) *string {
	if err == nil {
		return nil
	}
	return optional(fmt.Sprint(err))
}

// completeInstalled proposes the plugins of the lock.
func (a *app) completeInstalled(c *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completion(c, done, func(_ context.Context, cfg *config) []string {
		d, err := host.OpenDepot(cfg.Home)
		if err != nil {
			return nil
		}
		l, err := d.Lock()
		if err != nil {
			return nil
		}
		return l.Names()
	}), cobra.ShellCompDirectiveDefault
}
