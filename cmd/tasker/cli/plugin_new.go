package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
	"github.com/tasker-engine/tasker/host/task"
)

// newPlugin is one `tasker plugin new`.
type newPlugin struct {
	lang   string
	kind   string
	dir    string
	module string
	sdk    string
	force  bool
}

func (a *app) pluginNewCommand() *cobra.Command {
	n := &newPlugin{}
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Begin a plugin: a project that builds, with a test",
		Long: `Begin a plugin: a project that builds, with a test, a workflow for CI, and a recipe for
releases. A Go project is a module of its own; go mod tidy is run in it. With --lang node
it is one in TypeScript; npm install is run in it.

It requires the SDK in the version of this tasker. A tasker that is no release takes the
checkout that it was built in, or is called from, and says so; --sdk names another one.
go.mod gets a replace directive; for package.json the SDK is built there and packed into
the project's directory vendor.

Files that exist are not overwritten, unless --force is given.`,
		Example: `  tasker plugin new orders
  tasker plugin new pager --kind subscriber --module github.com/acme/tasker-pager
  tasker plugin new labels --lang node`,
		Args: args(1, 1),
	}
	f := c.Flags()
	f.StringVar(&n.lang, "lang", string(scaffold.Go), "the `LANGUAGE`: "+strings.Join(scaffold.Languages(), ", "))
	f.StringVar(&n.kind, "kind", string(scaffold.Both), "what it offers (`KIND`): "+strings.Join(scaffold.Kinds(), ", "))
	f.StringVar(&n.dir, "dir", "", "the project's `DIR` (default NAME)")
	f.StringVar(&n.module, "module", "", "`PATH` of its Go module (default example.com/tasker-plugin-NAME)")
	f.StringVar(&n.sdk, "sdk", "", "`DIR` of a checkout of Tasker whose SDK it takes")
	f.BoolVar(&n.force, "force", false, "overwrite files that exist")
	c.ValidArgsFunction = cobra.NoFileCompletions
	_ = c.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(scaffold.Languages(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(scaffold.Kinds(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.MarkFlagDirname("dir")
	_ = c.MarkFlagDirname("sdk")
	c.RunE = func(c *cobra.Command, given []string) error {
		if err := n.check(given[0]); err != nil {
			return usageOf(c, err)
		}
		if n.dir == "" {
			n.dir = given[0]
		}
		p, err := a.writePlugin(c.Context(), n, given[0])
		if err != nil {
			return err
		}
		a.pluginSteps(n.dir, p)
		return nil
	}
	return c
}

func (n *newPlugin) check(name string) error {
	if !task.ValidPluginName(name) {
		return fmt.Errorf("%q is no plugin name: want lower-case letters, digits and -, beginning with a letter", name)
	}
	if err := oneOf(n.lang, scaffold.Languages()...); err != nil {
		return fmt.Errorf("--lang: %w", err)
	}
	if err := oneOf(n.kind, scaffold.Kinds()...); err != nil {
		return fmt.Errorf("--kind: %w", err)
	}
	if n.module != "" && n.lang != string(scaffold.Go) {
		return errors.New("--module is for plugins in Go")
	}
	return nil
}

// writePlugin writes the project, and completes its module or installs its packages.
func (a *app) writePlugin(ctx context.Context, n *newPlugin, name string) (scaffold.Plugin, error) {
	from, how, err := sdkOf(n.sdk)
	if err != nil {
		return scaffold.Plugin{}, err
	}
	p := scaffold.Plugin{Name: name, Lang: scaffold.Lang(n.lang), Kind: scaffold.Kind(n.kind), Module: n.module, Go: goVersion(), SDK: from}
	if p.Lang == scaffold.Node {
		return a.writeNodePlugin(ctx, n, p, how)
	}
	if p.Module == "" {
		p.Module = "example.com/tasker-plugin-" + name
	}
	files, err := p.Files()
	if err != nil {
		return p, err
	}
	if err := a.writeProject(n.dir, files, n.force); err != nil {
		return p, err
	}
	a.note("%s", how)
	if err := tidy(ctx, n.dir, from); err != nil {
		a.note("its module is not complete: %v", err)
		a.note("next: (cd %s && go mod tidy)", shellWord(n.dir))
	}
	return p, nil
}

// writeProject writes files and lists them.
func (a *app) writeProject(dir string, files []scaffold.File, force bool) error {
	err := scaffold.Write(dir, files, force)
	if errors.Is(err, scaffold.ErrExists) {
		return withHint(err, "name another directory, or overwrite them: --force")
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		a.out.printf("wrote %s\n", filepath.Join(dir, filepath.FromSlash(f.Path)))
	}
	return nil
}

// pluginSteps prints what one would type next.
func (a *app) pluginSteps(dir string, p scaffold.Plugin) {
	a.out.printf("\nnext:\n  cd %s\n", shellWord(dir))
	if p.Lang == scaffold.Node {
		a.out.printf("  npm test\n")
	} else {
		a.out.printf("  go test .\n")
	}
	if p.Handlers() {
		a.out.printf("  tasker plugin dev . --run template.yaml --input '{\"name\": \"Ada\"}'\n")
	} else {
		a.out.printf("  tasker plugin dev . --event step.failed\n")
	}
}
