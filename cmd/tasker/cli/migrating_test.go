package cli

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// TestMigrating: what docs/migrating.md sends people to is there: commands, flags,
// settings, events, and names of the SDK.
func TestMigrating(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "migrating.md"))
	if err != nil {
		t.Fatal(err)
	}
	root := (&app{out: &answer{w: &bytes.Buffer{}}, stderr: &bytes.Buffer{}}).root()
	exported := sdkNames(t)
	for line := range strings.Lines(string(text)) {
		ours := line
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(cells) > 1 {
			ours = cells[len(cells)-1]
		}
		for _, m := range regexp.MustCompile("`tasker ([a-z]+)( [a-z-]+)?").FindAllStringSubmatch(ours, -1) {
			path := strings.Fields(m[1] + m[2])
			found, _, err := root.Find(path)
			if err != nil || found.Name() != path[len(path)-1] && found.HasSubCommands() {
				t.Errorf("there is no command tasker %s: %s", strings.Join(path, " "), line)
			}
		}
		for _, m := range regexp.MustCompile("`(--[a-z-]+)`|--([a-z-]+) ").FindAllStringSubmatch(ours, -1) {
			if flag := strings.TrimPrefix(m[1]+m[2], "--"); !hasFlag(t, flag) {
				t.Errorf("no command has --%s: %s", flag, line)
			}
		}
		for _, m := range regexp.MustCompile(`sdk\.([A-Z]\w+)`).FindAllStringSubmatch(ours, -1) {
			if !slices.Contains(exported, m[1]) {
				t.Errorf("there is no sdk.%s: %s", m[1], line)
			}
		}
		for _, m := range regexp.MustCompile("`([a-z]+)\\.[a-z_]+`").FindAllStringSubmatch(ours, -1) {
			name := strings.Trim(m[0], "`")
			if _, known := event.Lookup(name); event.Reserved(m[1]) && !known {
				t.Errorf("there is no event %s: %s", name, line)
			}
		}
	}
	_, config, _ := strings.Cut(string(text), "## Configuration")
	for _, key := range []string{"plugin_dirs", "template_dirs", "environment", "home", "log_level", "log_format", "health_addr", "concurrency", "events.keep"} {
		if !strings.Contains(config, "`"+key+"`") || !slices.ContainsFunc(settings(), func(s setting) bool { return s.key == key }) {
			t.Errorf("%s is no setting, or it is not told of", key)
		}
	}
}

// hasFlag reports whether any command has a flag.
func hasFlag(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(text, []byte("--"+name+" "))
}

// sdkNames lists what the SDK exports.
func sdkNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../../plugin/sdk/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names = append(names, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						names = append(names, s.Name.Name)
					}
				}
			}
		}
	}
	return names
}
