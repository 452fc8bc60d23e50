package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

func (a *app) templateImportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Turn a task handler of Ruby Tasker into a template",
		Long: `Turn the YAML file of a task handler of Ruby Tasker, the Rails engine, into a template, and
print it. Steps, their order, retries, configurations, the schema of the context and the
environments are carried over. What is not, or is called otherwise, is told on stderr, each as
file:line:column: warning: message. Handlers are guessed from the classes: the modules name
the plugin, what is left of the class the handler.

The template is one that ` + "`tasker template check`" + ` finds nothing wrong with.
docs/migrating.md says what becomes of the rest of an application.`,
		Example: `  tasker template import config/tasker/tasks/order_process.yaml --output order.yaml
  tasker template import order_process.yaml --plugin orders`,
		Args: args(1, 1),
	}
	output := c.Flags().StringP("output", "o", "", "write the template to this `FILE`, which must not exist")
	plugin := c.Flags().String("plugin", "", "`NAME` of the plugin of all handlers, instead of a guess")
	c.RunE = func(c *cobra.Command, given []string) error {
		src, err := readTemplateSource(given[0])
		if err != nil {
			return err
		}
		if *plugin != "" && !task.ValidPluginName(*plugin) {
			return usageOf(c, fmt.Errorf("--plugin %s: want lower-case letters, digits and -, beginning with a letter", *plugin))
		}
		out, warnings, err := template.ImportRuby(given[0], src, template.ImportOptions{Plugin: *plugin})
		if err != nil {
			return err
		}
		if err := a.writeTemplate(*output, out); err != nil {
			return err
		}
		for _, w := range warnings {
			w.Message = "warning: " + w.Message
			a.note("%s", w.Error())
		}
		if *plugin == "" {
			a.note("handlers are guessed from the classes; --plugin NAME names their plugin")
		}
		return nil
	}
	return c
}

// readTemplateSource reads a file that is no larger than a template may be.
func readTemplateSource(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	src, err := io.ReadAll(io.LimitReader(f, template.MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return src, nil
}

// writeTemplate writes a new file, or the answer when none is named.
func (a *app) writeTemplate(path string, src []byte) error {
	if path == "" {
		a.out.printf("%s", src)
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // a template is no secret
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("%s exists", path), "remove it, or name another file")
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	_, err = f.Write(src)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	a.out.printf("%s\n", path)
	return nil
}
