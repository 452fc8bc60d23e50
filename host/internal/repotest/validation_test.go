package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestValidation: the targets, tests, benchmarks, verbs and packages that docs/validation.md
// names exist. What its light commands print, TestGuides of examples compares.
func TestValidation(t *testing.T) {
	read := func(path ...string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc, manual, makefile := read("docs", "validation.md"), read("docs", "cli.md"), read("Makefile")
	tests := testFunctions(t)
	goTest := regexp.MustCompile(`^go test .*?\./(\S+)`)
	selected := regexp.MustCompile(`-(?:run|bench) '?([\w|]+)`)
	verb := regexp.MustCompile(`^bin/tasker( [a-z]+)+( |$)`)
	var commands int
	for line := range strings.Lines(doc) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			continue
		}
		commands++
		if m := goTest.FindStringSubmatch(command); m != nil {
			for _, names := range selected.FindAllStringSubmatch(command, -1) {
				for name := range strings.SplitSeq(names[1], "|") {
					if !hasTest(tests, m[1], name) {
						t.Errorf("%s: %s has no %s", command, m[1], name)
					}
				}
			}
			continue
		}
		if m := verb.FindString(command); m != "" {
			command = strings.TrimSpace(m)
		}
		if !commandExists(command, manual, makefile) {
			t.Errorf("there is no command %s", command)
		}
	}
	if commands == 0 {
		t.Error("no commands")
	}
	for _, m := range regexp.MustCompile(`(?m)^ok\s+github\.com/tasker-engine/tasker/(\S+)`).FindAllStringSubmatch(doc, -1) {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
			t.Errorf("there is no package: %v", err)
		}
	}
}

// hasTest reports whether a directory has a test or benchmark with such a name, as `go test
// -run` takes it.
func hasTest(tests map[string][]string, dir, name string) bool {
	for test := range tests {
		if in, function, _ := strings.Cut(test, " "); in == dir && strings.Contains(function, name) {
			return true
		}
	}
	return false
}
