package sdk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGuide follows docs/guides/handlers.md: it writes the files that the guide shows, types its commands, and
// compares what they print.
func TestGuide(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile(filepath.Join(root, "docs", "guides", "handlers.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := guideModule(t, root)
	sh(t, root, "go build -o '"+filepath.Join(dir, "bin", "tasker")+"' ./cmd/tasker")

	blocks := regexp.MustCompile("(?sm)^```(\\w+)\n(.*?)^```").FindAllSubmatch(guide, -1)
	named := regexp.MustCompile("`(hello/[\\w.]+)`[^`]*$")
	end := 0
	for _, b := range blocks {
		if name := named.FindSubmatch(guide[end:strings.Index(string(guide), string(b[0]))]); name != nil && string(b[1]) != "console" {
			write(t, filepath.Join(dir, string(name[1])), b[2])
		}
		end = strings.Index(string(guide), string(b[0])) + len(b[0])
	}
	for _, b := range blocks {
		if string(b[1]) == "console" {
			follow(t, dir, string(b[2]))
		}
	}
}

// guideModule makes a module that has this one as it is here.
func guideModule(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	const path = "github.com/tasker-engine/tasker"
	text := strings.Replace(string(mod), "module "+path, "module guide", 1)
	text += "\nrequire " + path + " v0.0.0\n\nreplace " + path + " => " + root + "\n"
	write(t, filepath.Join(dir, "go.mod"), []byte(text))
	write(t, filepath.Join(dir, "go.sum"), sum)
	return dir
}

// follow types the commands of a console block.
func follow(t *testing.T, dir, block string) {
	t.Helper()
	for _, entry := range strings.Split(block, "$ ")[1:] {
		command, want, _ := strings.Cut(entry, "\n")
		if diff := cmp.Diff(want, sh(t, dir, command)); diff != "" {
			t.Errorf("%s (-guide +real):\n%s", command, diff)
		}
	}
}

func sh(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
