package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuides follows the guides: it writes the files that they show, types their commands, and compares what they
// print.
func TestGuides(t *testing.T) {
	dir := build(t)
	t.Run("validation", func(t *testing.T) {
		term := &terminal{dir: dir, module: ".."}
		term.begin(t)
		term.follow(t, readSession(t, filepath.Join("..", "docs", "validation.md")), true)
	})
	guideModule(t, dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("LC_ALL", "C.UTF-8") // drawings are those of a terminal
	for _, guide := range []string{"handlers", "subscribers", "events", "api-handlers", "observability", "commands", "testing"} {
		t.Run(guide, func(t *testing.T) {
			term := &terminal{dir: dir}
			term.begin(t)
			term.addresses["127.0.0.1:9464"] = "127.0.0.1:0" // of metrics, which nothing here fetches by HTTP
			blocks := readBlocks(t, filepath.Join("..", "docs", "guides", guide+".md"))
			for _, b := range blocks {
				if b.file != "" && b.language != "console" {
					write(t, filepath.Join(dir, b.file), b.text)
				}
			}
			for _, b := range blocks {
				if b.language == "console" {
					term.follow(t, b.session(), false)
				}
			}
		})
	}
}

// guideModule makes the directory a module that has this one as it is here.
func guideModule(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
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
	write(t, filepath.Join(dir, "go.mod"), text)
	write(t, filepath.Join(dir, "go.sum"), string(sum))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
