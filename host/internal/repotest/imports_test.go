package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tasker-engine/tasker"

// TestDependencies looks at everything that a package drags in, however indirectly. The linter's
// depguard rules look at direct imports only, but name the line.
func TestDependencies(t *testing.T) {
	tests := []struct {
		name     string
		patterns []string
		never    []string // import paths; what lies below them is meant, too
		why      string
	}{
		{
			name:     "the SDK stands without the host",
			patterns: []string{"plugin/sdk/..."},
			never:    []string{module + "/host", module + "/cmd", "go.etcd.io/bbolt"},
			why:      "it ships inside other people's binaries",
		},
		{
			name:     "what ships with Tasker uses what outsiders have",
			patterns: []string{"plugins/...", "examples/..."},
			never:    []string{module + "/host", module + "/cmd", "go.etcd.io/bbolt"},
			why:      "plugins and examples prove that plugin/sdk suffices",
		},
		{
			name:     "contracts depend on nothing of ours",
			patterns: []string{"proto/..."},
			never:    []string{module + "/host", module + "/cmd", module + "/plugin", "go.etcd.io/bbolt", "github.com/hashicorp/go-plugin"},
			why:      "host and plugins meet there",
		},
		{
			name:     "the domain is plain Go",
			patterns: []string{"host/task", "plugin/sdk/event"},
			never:    []string{module + "/proto", "google.golang.org", "github.com/hashicorp", "go.etcd.io", "go.opentelemetry.io"},
			why:      "every layer speaks it",
		},
		{
			name:     "the engine decides without doing",
			patterns: []string{"host/internal/engine"},
			never:    []string{"google.golang.org/grpc", "go.etcd.io/bbolt", "github.com/hashicorp/go-plugin"},
			why:      "it is a pure function",
		},
		{
			name:     "only the host keeps state",
			patterns: []string{"host/internal/supervisor", "host/internal/delivery", "host/internal/runner"},
			never:    []string{"go.etcd.io/bbolt"},
			why:      "the store is a port, bbolt one way to serve it",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, dep := range dependencies(t, tt.patterns...) {
				for _, never := range tt.never {
					if dep == never || strings.HasPrefix(dep, never+"/") {
						t.Errorf("%s depends on %s: %s", strings.Join(tt.patterns, ", "), dep, tt.why)
					}
				}
			}
		})
	}
}

// TestNoTestCodeInBinaries: packages named for testing stay out of what users run.
func TestNoTestCodeInBinaries(t *testing.T) {
	for _, dep := range dependencies(t, mains(t, "./cmd/...", "./plugins/...", "./examples/...")...) {
		if strings.HasPrefix(dep, module+"/") && strings.HasSuffix(dep, "test") {
			t.Errorf("a binary contains %s", dep)
		}
	}
}

// mains lists the directories of the main packages that match, from the root.
func mains(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`}, patterns...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dirs := strings.Fields(strings.ReplaceAll(string(out), module+"/", ""))
	if len(dirs) < 10 {
		t.Errorf("only %d main packages: %q", len(dirs), dirs)
	}
	return dirs
}

// dependencies lists the import paths of the packages that match, and of all that they need,
// test files apart. A pattern whose directory does not exist matches nothing.
func dependencies(t *testing.T, patterns ...string) []string {
	t.Helper()
	args := []string{"list", "-deps"}
	for _, p := range patterns {
		if _, err := os.Stat(filepath.Join(root, strings.TrimSuffix(p, "/..."))); err == nil {
			args = append(args, "./"+p)
		}
	}
	if len(args) == 2 {
		return nil
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.Fields(string(out))
}

// TestDependenciesAreExplained: CONTRIBUTING.md says of each module that go.mod requires directly why
// it is there. What only tools or other modules need is not asked for.
func TestDependenciesAreExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-test", "-deps", "-f",
		`{{with .Module}}{{if not (or .Indirect .Main)}}{{.Path}}{{end}}{{end}}`, "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, dep := range slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out))))) {
		if !strings.Contains(string(text), "`"+dep) {
			t.Errorf("CONTRIBUTING.md does not say why %s is there", dep)
		}
	}
}
