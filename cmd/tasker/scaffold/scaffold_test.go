package scaffold_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
	"github.com/tasker-engine/tasker/host/template"
)

// TestKinds: a plugin of a kind has the files of that kind.
func TestKinds(t *testing.T) {
	handlers := []string{"handler.go", "handler_test.go", "template.yaml"}
	subscribers := []string{"subscriber.go", "subscriber_test.go"}
	for kind, want := range map[scaffold.Kind][]string{
		scaffold.Handler:    handlers,
		scaffold.Subscriber: subscribers,
		scaffold.Both:       append(handlers[:1:1], "handler_test.go", "subscriber.go", "subscriber_test.go", "template.yaml"),
	} {
		t.Run(string(kind), func(t *testing.T) {
			files, err := newPlugin(kind, "").Files()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				if name := f.Path; strings.HasPrefix(name, "handler") || strings.HasPrefix(name, "subscriber") || name == "template.yaml" {
					got = append(got, name)
				}
				if strings.Contains(string(f.Data), "[[") || strings.Contains(string(f.Data), "<no value>") {
					t.Errorf("%s is not complete:\n%s", f.Path, f.Data)
				}
				wantTemplate(t, f)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTemplates: the templates that others begin with are well.
func TestTemplates(t *testing.T) {
	home, err := scaffold.Home{Name: "orders", Plugin: "hello"}.Files()
	if err != nil {
		t.Fatal(err)
	}
	files, err := scaffold.Template{Namespace: "shop", Name: "order", File: "order.yaml"}.Files()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range append(home, files...) {
		if wantTemplate(t, f) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d templates, want 2", found)
	}
}

// wantTemplate checks a file if it is a template.
func wantTemplate(t *testing.T, f scaffold.File) bool {
	t.Helper()
	if filepath.Ext(f.Path) != ".yaml" || strings.HasPrefix(f.Path, ".") {
		return false
	}
	if _, err := template.Parse(f.Path, f.Data, template.Options{}); err != nil {
		t.Errorf("%s: %v", f.Path, err)
	}
	return true
}

// TestWrite: what exists is named and kept, unless it is to be overwritten.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	files := []scaffold.File{{Path: "a", Data: []byte("new")}, {Path: "b/c", Data: []byte("new")}}
	mine := filepath.Join(dir, "b", "c")
	if err := os.Mkdir(filepath.Dir(mine), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := scaffold.Write(dir, files, false); !errors.Is(err, scaffold.ErrExists) || !strings.Contains(err.Error(), mine) {
		t.Errorf("error %v, want one that names %s", err, mine)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("a was written, want nothing written")
	}
	if err := scaffold.Write(dir, files, true); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(mine); err != nil || string(got) != "new" {
		t.Errorf("b/c is %q, %v; want it overwritten", got, err)
	}
}

// TestKits generates each kind of plugin, and vets, lints, tests and builds it. It takes a
// while, and is for `make test-kits`, which sets TASKER_KITS to the linter.
func TestKits(t *testing.T) {
	linter := os.Getenv("TASKER_KITS")
	if linter == "" {
		t.Skip("TASKER_KITS is not set: make test-kits")
	}
	module, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(module, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range scaffold.Kinds() {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			files, err := newPlugin(scaffold.Kind(kind), module).Files()
			if err != nil {
				t.Fatal(err)
			}
			if err := scaffold.Write(dir, append(files, scaffold.File{Path: "go.sum", Data: sums}), false); err != nil {
				t.Fatal(err)
			}
			for _, command := range [][]string{
				{"go", "mod", "tidy"},
				{linter, "run"},
				{linter, "fmt", "--diff"},
				{"make", "build", "test"},
				{"bin/tasker-plugin-orders", "--describe"},
			} {
				cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GOWORK=off")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
				}
			}
		})
	}
}

func newPlugin(kind scaffold.Kind, sdk string) scaffold.Plugin {
	return scaffold.Plugin{
		Name: "orders", Kind: kind, Module: "example.com/orders", Go: "1.26.0", SDK: scaffold.SDK{Version: "v0.0.0", Replace: sdk},
	}
}
