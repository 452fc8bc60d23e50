// Package examples_test builds the examples as `make build` does, types the sessions of their READMEs into a
// shell, and compares what they print; and it kills a host half-way, as the README of the census invites to.
package examples_test

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestExamples(t *testing.T) {
	dir := build(t)
	// A part of Go's own source tree is enough to tell, and quicker.
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src", "net")
	input := `{"root": "` + filepath.ToSlash(root) + `", "title": "net"}`

	t.Run("01-greeter", func(t *testing.T) { runReadme(t, &terminal{dir: dir}, "01-greeter", false) })
	t.Run("02-orders", func(t *testing.T) { runReadme(t, &terminal{dir: dir}, "02-orders", false) })
	t.Run("04-subscribers", func(t *testing.T) { runReadme(t, &terminal{dir: dir}, "04-subscribers", false) })
	t.Run("05-custom-events", func(t *testing.T) { runReadme(t, &terminal{dir: dir}, "05-custom-events", false) })
	t.Run("03-census", func(t *testing.T) { runReadme(t, &terminal{dir: dir, input: input}, "03-census", true) })
	t.Run("census counts what is there", func(t *testing.T) { testCensus(t, dir, root, input) })
	t.Run("census survives kill -9", func(t *testing.T) { testKill(t, dir, input) })
	t.Run("a trace survives kill -9", func(t *testing.T) { testTrace(t, dir) })
}

// runReadme does what a README says, in a home of its own.
func runReadme(t *testing.T, term *terminal, example string, anyNumber bool) {
	t.Helper()
	term.begin(t)
	term.follow(t, readSession(t, filepath.Join(example, "README.md")), anyNumber)
}

// begin makes sure that nothing is left of another session.
func (term *terminal) begin(t *testing.T) {
	t.Helper()
	t.Setenv("TASKER_HOME", "")
	t.Setenv("TASKER_DELIVERY_GRACE", "1m") // a machine that does much else delivers late
	t.Setenv("TASKER_GRACE", "1m")
	if err := os.RemoveAll(filepath.Join(term.dir, ".tasker")); err != nil {
		t.Fatal(err)
	}
	term.ids, term.addresses = map[string]string{}, map[string]string{}
}

// follow types commands and compares what they print. What delivery brings about is waited for.
func (term *terminal) follow(t *testing.T, commands session, anyNumber bool) {
	t.Helper()
	for _, c := range commands {
		here := term.run(t, c)
		for range 100 {
			if !looks.MatchString(c.line) || differ(c, here, anyNumber) == "" {
				break
			}
			<-time.After(100 * time.Millisecond)
			here = term.run(t, c)
		}
		term.learn(c.output, here)
		if diff := differ(c, here, anyNumber); diff != "" {
			t.Errorf("$ %s\n%s\nhere:\n%s", c.line, diff, here)
		}
	}
}

// looks are commands that may come too early for what subscribers do, and change nothing.
var looks = regexp.MustCompile(`^(curl|cat|bin/tasker (task trace|subscriber (list|show|dead-letters (list|show))|event tail|plugin logs))\b`)

// task is what `tasker run --json` prints, as far as these tests look.
type task struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Steps  []step `json:"steps"`
}

type step struct {
	Name        string          `json:"name"`
	Status      string          `json:"status"`
	Attempts    int             `json:"attempts"`
	StartedAt   time.Time       `json:"started_at"`
	CompletedAt time.Time       `json:"completed_at"`
	Results     json.RawMessage `json:"results"`
}

func (k task) step(name string) step {
	for _, s := range k.Steps {
		if s.Name == name {
			return s
		}
	}
	return step{}
}

// tasker prepares a command that runs the census, in the home that TASKER_HOME names.
func tasker(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join("bin", "tasker"), append([]string{
		"run", "examples/03-census/template.yaml", "--plugin-dir", "bin/examples",
	}, args...)...)
	cmd.Path = filepath.Join(dir, cmd.Path)
	cmd.Dir = dir
	return cmd
}

func runJSON(t *testing.T, cmd *exec.Cmd) task {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, stderr.String())
	}
	var k task
	if err := json.Unmarshal(out, &k); err != nil {
		t.Fatalf("%v printed no JSON: %v\n%s", cmd, err, out)
	}
	return k
}

// testCensus compares the result with a count of its own.
func testCensus(t *testing.T, dir, root, input string) {
	t.Helper()
	t.Setenv("TASKER_HOME", filepath.Join(t.TempDir(), ".tasker"))
	k := runJSON(t, tasker(t, dir, "--input", input, "--json"))
	if k.Status != "complete" || len(k.Steps) != 19 {
		t.Fatalf("the task is %s with %d steps, want complete with 19", k.Status, len(k.Steps))
	}
	files, packages := count(t, root)
	var report struct {
		Page     string `json:"page"`
		Data     string `json:"data"`
		Files    int    `json:"files"`
		Packages int    `json:"packages"`
	}
	if err := json.Unmarshal(k.step("report").Results, &report); err != nil {
		t.Fatal(err)
	}
	if report.Files != files || report.Packages != packages {
		t.Errorf("the census has %d files in %d packages, want %d in %d", report.Files, report.Packages, files, packages)
	}
	page, err := os.ReadFile(report.Page)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "<h1>net</h1>") {
		t.Errorf("%s is not the report of this census", report.Page)
	}
	data, err := os.ReadFile(report.Data)
	if err != nil || !json.Valid(data) {
		t.Errorf("%s: %v, or no JSON", report.Data, err)
	}
}

// count finds the Go files below a directory and the directories that hold them.
func count(t *testing.T, root string) (files, packages int) {
	t.Helper()
	dirs := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "vendor"):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go"):
			files++
			dirs[filepath.Dir(path)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, len(dirs)
}

// testKill kills the host as soon as one analysis is complete, while others run; the same command then ends the
// same task, and what was complete is not done again.
func testKill(t *testing.T, dir, input string) {
	t.Helper()
	t.Setenv("TASKER_HOME", filepath.Join(t.TempDir(), ".tasker"))
	cmd := tasker(t, dir, "--input", input, "--resume")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id == "" {
			id = taskID.FindString(lines.Text())
		}
		if strings.Contains(lines.Text(), "analyse_") && strings.Contains(lines.Text(), "complete") {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the host ended by itself before it could be killed")
	}
	killed := time.Now()

	again := runJSON(t, tasker(t, dir, "--input", input, "--resume", "--json"))
	if again.ID != id || again.Status != "complete" {
		t.Fatalf("the second command ended task %s as %s, want %s complete", again.ID, again.Status, id)
	}
	kept, cut := 0, 0
	for _, s := range again.Steps {
		switch {
		case s.CompletedAt.Before(killed):
			kept++
			if s.Attempts != 1 {
				t.Errorf("step %s was complete when the host was killed, and has %d attempts", s.Name, s.Attempts)
			}
		case s.Attempts > 1:
			cut++
		}
	}
	if kept < 2 {
		t.Errorf("%d steps were kept, want at least discover and one analysis", kept)
	}
	t.Logf("%d steps kept, %d cut off and attempted again", kept, cut)

	// A third command has nothing to resume and begins anew.
	third := runJSON(t, tasker(t, dir, "--input", input, "--resume", "--json"))
	if third.ID == id {
		t.Errorf("--resume found task %s, which is complete", id)
	}
	ignore := cmpopts.IgnoreFields(step{}, "Attempts", "StartedAt", "CompletedAt", "Results")
	if diff := cmp.Diff(third.Steps, again.Steps, ignore); diff != "" {
		t.Errorf("an uninterrupted task has other steps (-third +resumed):\n%s", diff)
	}
}
