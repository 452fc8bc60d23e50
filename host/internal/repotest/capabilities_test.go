package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCapabilities: docs/capabilities.md has a row for each promise in bold of the README,
// each row a test that exists, and the commands that it shows exist.
func TestCapabilities(t *testing.T) {
	read := func(path ...string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc, manual, makefile := read("docs", "capabilities.md"), read("docs", "cli.md"), read("Makefile")
	for _, m := range regexp.MustCompile(`(?m)^- \*\*(.+?)\*\*`).FindAllStringSubmatch(read("README.md"), -1) {
		if !strings.Contains(doc, "\n| "+m[1]) {
			t.Errorf("the README promises %q, which has no row", m[1])
		}
	}
	tests := testFunctions(t)
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \|([^|]*)\|$`).FindAllStringSubmatch(doc, -1)
	quoted := regexp.MustCompile("`([^`]+)`")
	var promises int
	for _, row := range rows {
		promise, proofs, commands := row[1], quoted.FindAllStringSubmatch(row[2], -1), quoted.FindAllStringSubmatch(row[3], -1)
		if promise == "promise" {
			continue
		}
		promises++
		if len(proofs) == 0 {
			t.Errorf("%s: no test", promise)
		}
		for _, proof := range proofs {
			if _, ok := tests[proof[1]]; !ok {
				t.Errorf("%s: there is no test %s", promise, proof[1])
			}
		}
		for _, command := range commands {
			if !commandExists(command[1], manual, makefile) {
				t.Errorf("%s: there is no command %s", promise, command[1])
			}
		}
	}
	if promises == 0 {
		t.Error("no rows")
	}
}

// commandExists reports whether a target of make or a verb of tasker is known.
func commandExists(command, manual, makefile string) bool {
	if target, ok := strings.CutPrefix(command, "make "); ok {
		return strings.Contains(makefile, "\n"+target+":")
	}
	verb, ok := strings.CutPrefix(command, "bin/")
	verb, _, _ = strings.Cut(verb, " --")
	return ok && regexp.MustCompile(`(?m)^#+ `+regexp.QuoteMeta(verb)+`$`).MatchString(manual)
}
