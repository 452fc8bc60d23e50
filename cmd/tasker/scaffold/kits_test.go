package scaffold_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/cmd/tasker/scaffold"
)

// ada is the input of the templates that projects begin with.
const ada = `{"name": "Ada"}`

// TestKits does what a new user does: each kind of plugin in each language, and a home, are
// begun by the command, linted, built, tested, verified, packed, installed and used. It
// takes minutes, and is for `make test-kits`, which sets TASKER_KITS to the linter.
func TestKits(t *testing.T) {
	linter := os.Getenv("TASKER_KITS")
	if linter == "" {
		t.Skip("TASKER_KITS is not set: make test-kits")
	}
	k := newKits(t, linter)
	for _, kind := range scaffold.Kinds() {
		t.Run("go "+kind, func(t *testing.T) {
			dir := k.begin(t, scaffold.Go, kind)
			k.run(t, dir, linter, "run")
			k.run(t, dir, linter, "fmt", "--diff")
			// Programs for other platforms are made by the same line, and take long to compile.
			k.run(t, dir, "make", "build", "test", "dist", "PLATFORMS="+k.platform)
			k.use(t, dir, kind)
		})
	}
	t.Run("init", k.home)
	for _, kind := range scaffold.Kinds() {
		t.Run("node "+kind, func(t *testing.T) {
			k.needNode(t)
			dir := k.begin(t, scaffold.Node, kind)
			if lock := k.read(t, dir, "package-lock.json"); strings.Contains(lock, `"resolved": "http`) {
				t.Error("package-lock.json names a registry")
			}
			k.run(t, dir, "make", "lint", "build", "test", "dist")
			k.use(t, dir, kind)
			if kind == string(scaffold.Both) {
				k.run(t, dir, "npm", "ci") // as CI does with a clone
			}
		})
	}
}

// kits runs commands as a user with tasker on the PATH.
type kits struct {
	linter   string
	module   string // the checkout
	platform string // linux/amd64
	node     string // why nothing can be done with Node.js here, "" = it can
}

func newKits(t *testing.T, linter string) *kits {
	t.Helper()
	module, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("GOWORK", "off")
	k := &kits{linter: linter, module: module}
	k.run(t, module, "go", "build", "-o", bin, "./cmd/tasker")
	k.platform = strings.TrimSpace(k.run(t, module, "go", "env", "GOOS")) + "/" + strings.TrimSpace(k.run(t, module, "go", "env", "GOARCH"))
	k.node = k.withoutNode(t)
	return k
}

// withoutNode says why nothing can be installed by npm here.
func (k *kits) withoutNode(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return "there is no " + name + " here"
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "view", "esbuild", "version", "--fetch-retries=1", "--fetch-timeout=30000")
	if err := cmd.Run(); err != nil {
		return "npm reaches no registry here"
	}
	return ""
}

func (k *kits) needNode(t *testing.T) {
	t.Helper()
	if k.node != "" {
		t.Skip(k.node + ": no plugin in TypeScript was tested")
	}
}

// run runs a command, which has to succeed, and returns its standard output.
func (k *kits) run(t *testing.T, dir, name string, arguments ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, arguments...)
	cmd.Dir = dir
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(arguments, " "), err, out.String(), said.String())
	}
	return out.String()
}

// begin begins a plugin called orders and returns its directory.
func (k *kits) begin(t *testing.T, lang scaffold.Lang, kind string) string {
	t.Helper()
	parent := t.TempDir()
	k.run(t, parent, "tasker", "plugin", "new", "orders", "--lang", string(lang), "--kind", kind, "--sdk", k.module)
	return filepath.Join(parent, "orders")
}

// use verifies the plugin that was built, and uses the package that was made of it in a home
// of its own.
func (k *kits) use(t *testing.T, dir, kind string) {
	t.Helper()
	k.run(t, dir, "bin/tasker-plugin-orders", "--describe")
	k.run(t, dir, "tasker", "plugin", "verify", "bin/tasker-plugin-orders")
	home := filepath.Join(t.TempDir(), "home")
	k.run(t, dir, "tasker", "plugin", "install", "dist/orders-0.1.0.tar.gz", "--home", home, "--approve")
	if kind == string(scaffold.Subscriber) {
		if got := k.run(t, dir, "tasker", "plugin", "dev", ".", "--once", "--event", "step.failed"); !strings.Contains(got, "acked") {
			t.Errorf("the event is not acked:\n%s", got)
		}
		return
	}
	if got := k.run(t, dir, "tasker", "run", "template.yaml", "--input", ada, "--home", home); !strings.Contains(got, "Hello, Ada!") {
		t.Errorf("the task says\n%s", got)
	}
	if got := k.run(t, dir, "tasker", "plugin", "dev", ".", "--once", "--run", "template.yaml", "--input", ada); !strings.Contains(got, "Hello, Ada!") {
		t.Errorf("the task of plugin dev says\n%s", got)
	}
}

// home begins a home and does what its README says.
func (k *kits) home(t *testing.T) {
	parent := t.TempDir()
	k.run(t, parent, "tasker", "init", "shop", "--sdk", k.module)
	dir := filepath.Join(parent, "shop")
	plugin := filepath.Join(dir, "hello")
	k.run(t, plugin, k.linter, "run")
	k.run(t, plugin, "make", "test")
	k.run(t, plugin, "go", "build", "-o", "../bin/tasker-plugin-hello", ".")
	k.run(t, dir, "tasker", "template", "check", "templates")
	if got := k.run(t, dir, "tasker", "run", "hello", "--input", ada); !strings.Contains(got, "Hello, Hello, Ada!!") {
		t.Errorf("the task says\n%s", got)
	}
}

func (k *kits) read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
