package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuides follows the guides: it writes the files that they show, types their commands, and compares what they
// print.
func TestGuides(t *testing.T) {
	dir := build(t)
	guideModule(t, dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	for _, guide := range []string{"handlers", "subscribers", "events"} {
		t.Run(guide, func(t *testing.T) {
			path := filepath.Join("..", "docs", "guides", guide+".md")
			writeFiles(t, path, dir)
			runSession(t, &terminal{dir: dir}, readSession(t, path), false)
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

// shown is a block of a guide, and the text before it.
var shown = regexp.MustCompile("(?sm)\\A(.*?)^```(\\w+)\n(.*?)^```\n")

// named is the last thing in the text before a block that is named, when that is the path of a file.
var named = regexp.MustCompile("`([a-z]+/[\\w.]+)`[^`]*\\z")

// writeFiles writes the files that a guide shows: blocks that follow the name of the file.
func writeFiles(t *testing.T, guide, dir string) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for rest := string(text); ; {
		m := shown.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		rest = rest[len(m[0]):]
		if name := named.FindStringSubmatch(m[1]); name != nil && m[2] != "console" {
			write(t, filepath.Join(dir, name[1]), m[3])
			files++
		}
	}
	t.Logf("%s shows %d files", guide, files)
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
