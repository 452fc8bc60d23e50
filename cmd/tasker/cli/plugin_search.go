package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// errNoIndex is returned by a search that does not know where.
var errNoIndex = errors.New("name the index: --index DIR|URL")

func (a *app) pluginSearchCommand() *cobra.Command {
	var index string
	c := &cobra.Command{
		Use:   "search [TERM]",
		Short: "Search an index for plugins",
		Long: `List the plugins of an index that have the term in their name, title, description, handlers
or events; all without a term. The highest version of each comes first.

--json prints an array of {"name", "version", "title", "description", "package", "sha256",
"size", "signer", "platforms", "handlers", "events", "permissions"}.`,
		Example: `  tasker plugin search mail --index https://plugins.example.com
  tasker plugin search --index /mnt/mirror`,
		Args: args(0, 1),
	}
	c.Flags().StringVar(&index, "index", "", "`DIR|URL` of the index (required)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if index == "" {
			return usageOf(c, errNoIndex)
		}
		x, err := host.OpenIndex(c.Context(), index)
		if err != nil {
			return err
		}
		found := x.Search(strings.Join(given, " "))
		if *asJSON {
			return a.printJSON(list(found))
		}
		if len(found) == 0 {
			a.note("no plugin of %s has %q", index, strings.Join(given, " "))
			return nil
		}
		t := table{head: []string{"NAME", "VERSION", "PLATFORMS", "SIGNED", "HANDLERS", "WHAT IT IS"}}
		for i := range found {
			e := &found[i]
			signed := "no"
			if e.Signer != "" {
				signed = "yes"
			}
			t.add(e.Name, e.Version, orDash(names(e.Platforms)), signed, orDash(names(e.Handlers)), cut(oneLine(orText(e.Title, e.Description)), maxShownCause))
		}
		t.print(a.out)
		return nil
	}
	return c
}

func (a *app) pluginIndexCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "index DIR",
		Short: "Write the index of a directory of packages",
		Long: `Write index.json for the packages in a directory: name, version, hash and signer of each. The
directory is then an index, as it is or on any web server, and a mirror for machines without
a network.

--json prints {"format", "plugins"}, as the file.`,
		Example: `  tasker plugin index packages
  tasker plugin install greeter --index packages`,
		Args: args(1, 1),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(_ *cobra.Command, given []string) error {
		x, err := host.BuildIndex(given[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(x)
		}
		a.note("%s: %s", given[0], plural(len(x.Plugins), "package"))
		return nil
	}
	return c
}
