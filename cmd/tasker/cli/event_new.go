package cli

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) eventNewCommand() *cobra.Command {
	var (
		dir   string
		force bool
	)
	c := &cobra.Command{
		Use:   "new PLUGIN.EVENT",
		Short: "Add a custom event to a plugin in Go",
		Long: `Add a custom event to a plugin in Go: a file with its type, description and example, and its
declaration in the plugin's sdk.Plugin value. How to emit it, and how others subscribe to
it, is printed.`,
		Example: `  tasker event new orders.shipped
  tasker event new orders.payment_refused --dir plugins/orders`,
		Args:              args(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVar(&dir, "dir", ".", "`DIR` of the plugin's source")
	c.Flags().BoolVar(&force, "force", false, "overwrite a file that exists")
	_ = c.MarkFlagDirname("dir")
	c.RunE = func(c *cobra.Command, given []string) error {
		plugin, name, _ := strings.Cut(given[0], ".")
		if !task.ValidPluginName(plugin) || !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
			return usageOf(c, fmt.Errorf("%q is no name of a custom event: want PLUGIN.EVENT, such as orders.shipped", given[0]))
		}
		return a.newEvent(dir, plugin, name, force)
	}
	return c
}

func (a *app) newEvent(dir, plugin, name string, force bool) error {
	src, err := findPluginSource(dir)
	if err != nil {
		return err
	}
	if src.name != "" && src.name != plugin {
		return fmt.Errorf("the plugin in %s is called %q: its events are %s.*", dir, src.name, src.name)
	}
	goType := exportedName(name)
	files, err := scaffold.Event{Package: src.pkg, Name: plugin + "." + name, Type: goType}.Files()
	if err != nil {
		return err
	}
	files[0].Path = "event_" + name + ".go"
	if err := a.writeProject(dir, files, force); err != nil {
		return err
	}
	declaration := "declare" + goType + "()"
	declared, err := src.declare(declaration)
	if err != nil {
		return err
	}
	if declared {
		a.out.printf("declared in %s\n", src.path)
	} else {
		a.out.printf("\ndeclare it in the plugin:\n  sdk.Plugin{Events: sdk.Events{%s}, ...}\n", declaration)
	}
	a.out.printf("\nemit it in a handler:\n  err := sdk.Emit(ctx, %s{ID: \"42\"})\n", goType)
	a.out.printf("\nothers hear of it by its name:\n  func (s *subscriber) On%s%s(ctx context.Context, e sdk.Event[%[2]s]) error\n", exportedName(plugin), goType)
	return nil
}

// exportedName makes an exported Go name of one with _ and -.
func exportedName(name string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '_' || r == '-' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// pluginSource is where the source of a plugin has its sdk.Plugin value.
type pluginSource struct {
	pkg  string // its package
	name string // what it calls itself, empty when that is no constant text
	path string // of the file with the value, empty = there is none, or several
	text []byte // of that file
	end  int    // where the value ends in it: its closing brace
	list int    // where the list of its events ends, 0 = it has none
}

// findPluginSource reads the Go files of a directory.
func findPluginSource(dir string) (pluginSource, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return pluginSource{}, fmt.Errorf("event: %w", err)
	}
	var (
		src    pluginSource
		values int
	)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return src, fmt.Errorf("event: %w", err)
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
		if err != nil {
			return src, err
		}
		src.pkg = file.Name.Name
		ast.Inspect(file, func(n ast.Node) bool {
			if value, ok := n.(*ast.CompositeLit); ok && isSDK(value.Type, "Plugin") {
				values++
				src.path, src.text = path, text
				src.read(files, value)
			}
			return true
		})
	}
	switch {
	case src.pkg == "":
		return src, withHint(fmt.Errorf("%s holds no Go source", dir), "name the plugin's directory: --dir DIR")
	case values != 1:
		src.path, src.name = "", ""
	}
	return src, nil
}

// read takes what is needed from the sdk.Plugin value.
func (s *pluginSource) read(files *token.FileSet, value *ast.CompositeLit) {
	s.end, s.list, s.name = files.Position(value.Rbrace).Offset, 0, ""
	for _, e := range value.Elts {
		pair, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := pair.Key.(*ast.Ident)
		if !ok {
			continue
		}
		if text, ok := pair.Value.(*ast.BasicLit); ok && key.Name == "Name" {
			s.name, _ = strconv.Unquote(text.Value) // the parser has read it
		}
		if key.Name != "Events" {
			continue
		}
		s.list = -1 // made elsewhere
		if list, ok := pair.Value.(*ast.CompositeLit); ok && isSDK(list.Type, "Events") {
			s.list = files.Position(list.Rbrace).Offset
		}
	}
}

// isSDK reports whether an expression is sdk.NAME.
func isSDK(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "sdk" && s.Sel.Name == name
}

// declare adds an event to the sdk.Plugin value, and reports whether that could be done.
func (s *pluginSource) declare(declaration string) (bool, error) {
	if s.path == "" || s.list < 0 || bytes.Contains(s.text, []byte(declaration)) {
		return s.path != "" && s.list >= 0, nil
	}
	at, added := s.end, "Events: sdk.Events{"+declaration+"},\n"
	if s.list > 0 {
		at, added = s.list, declaration
		switch before := bytes.TrimRight(s.text[:at], " \t\n"); {
		case bytes.HasSuffix(before, []byte(",")):
			added += ",\n"
		case !bytes.HasSuffix(before, []byte("{")):
			added = ", " + added
		}
	} else if before := bytes.TrimRight(s.text[:at], " \t\n"); !bytes.HasSuffix(before, []byte(",")) && !bytes.HasSuffix(before, []byte("{")) {
		added = ",\n" + added
	}
	text, err := format.Source(slices.Concat(s.text[:at], []byte(added), s.text[at:]))
	if err != nil {
		return false, errors.Join(fmt.Errorf("declare the event in %s", s.path), err)
	}
	return true, os.WriteFile(s.path, text, 0o644) //nolint:gosec // as open as source is
}
