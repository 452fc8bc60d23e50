package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A session is what a README or a guide shows of a terminal: commands, each with what it prints.
type session []command

type command struct {
	line   string // without the prompt
	output string
}

// A block is a fenced part of a README or a guide.
type block struct {
	language string
	file     string // the path that the text before the block names last; "" = none
	text     string
}

var (
	fenced = regexp.MustCompile("(?sm)\\A(.*?)^```(\\w+)\n(.*?)^```\n")
	named  = regexp.MustCompile("`([a-z]+/[\\w.]+)`[^`]*\\z")
)

func readBlocks(t *testing.T, path string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for rest := string(text); ; {
		m := fenced.FindStringSubmatch(rest)
		if m == nil {
			return blocks
		}
		rest = rest[len(m[0]):]
		b := block{language: m[2], text: m[3]}
		if name := named.FindStringSubmatch(m[1]); name != nil {
			b.file = name[1]
		}
		blocks = append(blocks, b)
	}
}

// session returns what a console block shows.
func (b block) session() (s session) {
	for line := range strings.Lines(b.text) {
		if strings.HasPrefix(line, "$ ") {
			s = append(s, command{line: strings.TrimSpace(line[2:])})
		} else if len(s) > 0 {
			s[len(s)-1].output += line
		}
	}
	return s
}

// readSession collects the console blocks of a README.
func readSession(t *testing.T, readme string) (s session) {
	t.Helper()
	for _, b := range readBlocks(t, readme) {
		if b.language == "console" {
			s = append(s, b.session()...)
		}
	}
	if len(s) == 0 {
		t.Fatalf("%s shows no session", readme)
	}
	return s
}

// terminal executes the commands of a session.
type terminal struct {
	dir       string
	module    string            // where commands of go are typed; "" = in dir, like all others
	input     string            // added to the commands that run a task; "" = none
	addresses map[string]string // where a service listens in the README -> where it does here
	ids       map[string]string // an id in the README -> the one that the test saw in its place
}

// run executes a command and returns what it prints.
func (term *terminal) run(t *testing.T, c command) string {
	t.Helper()
	line := c.line
	for readme, here := range term.ids {
		line = strings.ReplaceAll(line, readme, here)
	}
	for readme, here := range term.addresses {
		line = strings.ReplaceAll(line, readme, here)
	}
	if term.input != "" && strings.Contains(line, "tasker run ") {
		line += " --input '" + term.input + "'"
	}
	if server, ok := strings.CutSuffix(line, " &"); ok {
		return term.serve(t, server, c.output)
	}
	if url, ok := strings.CutPrefix(line, "curl -s http"); ok && !strings.Contains(url, "|") {
		return get(t, "http"+url)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = term.dir
	if term.module != "" && strings.HasPrefix(line, "go ") {
		cmd.Dir = term.module
	}
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatalf("%s: %v", line, err)
	}
	return string(out)
}

var taskID = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`)

// learn remembers which ids the test saw where the README has others.
func (term *terminal) learn(readme, here string) {
	got := taskID.FindAllString(here, -1)
	for i, id := range taskID.FindAllString(readme, -1) {
		if i < len(got) && term.ids[id] == "" {
			term.ids[id] = got[i]
		}
	}
}

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// serve starts a service for the rest of the test, and returns what it prints first: as many lines as the README
// shows. A service that tells its address gets any free port; what is meant to go to the one that the README has goes
// there. A host shows nothing, and is waited for.
func (term *terminal) serve(t *testing.T, line, output string) string {
	t.Helper()
	readme := address.FindString(output)
	if readme != "" {
		line += " -addr 127.0.0.1:0"
	}
	shop := strings.Contains(line, "orders-shopd")
	if shop {
		line += " -delay 1m"
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", "exec "+line+" 2>/dev/null")
	cmd.Dir = term.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // a host has plugins to stop
		_ = cmd.Wait()
	})
	var printed strings.Builder
	lines := bufio.NewReader(out)
	for range strings.Count(output, "\n") {
		l, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%s printed %q: %v", line, printed.String()+l, err)
		}
		printed.WriteString(l)
	}
	if readme == "" {
		term.awaitHost(t)
		return ""
	}
	here := address.FindString(printed.String())
	term.addresses[readme] = here
	if shop {
		term.sendOrdersTo(t, "http://"+here)
	}
	term.readdress(t, readme, here)
	return printed.String()
}

// awaitHost waits until a host answers.
func (term *terminal) awaitHost(t *testing.T) {
	t.Helper()
	for term.run(t, command{line: "bin/tasker health >/dev/null 2>&1 && echo ready"}) == "" {
		select {
		case <-t.Context().Done():
			t.Fatal("the host does not become ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// readdress changes an address in the templates of the examples, and in the files that a guide shows.
func (term *terminal) readdress(t *testing.T, readme, here string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*/*.yaml", "*/*.go", "examples/*/template.yaml"} {
		found, err := filepath.Glob(filepath.Join(term.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(readme), []byte(here)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var inShop = regexp.MustCompile(`^\{"shop": "[^"]*",`)

// sendOrdersTo writes the address of the shop into the orders, which name none and so mean its usual one.
func (term *terminal) sendOrdersTo(t *testing.T, url string) {
	t.Helper()
	orders, err := filepath.Glob(filepath.Join(term.dir, "examples", "02-orders", "*.json"))
	if err != nil || len(orders) == 0 {
		t.Fatalf("no orders: %v", err)
	}
	for _, path := range orders {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(inShop.ReplaceAll(text, []byte("{")), []byte("{"), []byte(`{"shop": "`+url+`",`), 1)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// normal makes what two terminals show comparable. Ids, times and ports are replaced, and where a README counts
// a tree that another machine has in another version, so is every number. The lines are sorted, because which of
// two steps is faster is chance; and those of running steps left out, because a step may be done before it is
// seen running.
func normal(output string, anyNumber bool) []string {
	replace := []struct{ pattern, by string }{
		{taskID.String(), "ID"},
		{`\b[0-9a-f]{32}\b`, "TRACE"},
		{`\|[-\d .~:=/>x!?█·░msu]+\|`, "|BAR|"}, // of a timeline or trace
		{`\b\d{4}-\d\d-\d\d[T ]`, ""},
		{`\b\d\d:\d\d:\d\d(\.\d+)?Z`, "CLOCK"},
		{`127\.0\.0\.1:\d+`, "ADDRESS"},
		{`\b(\d+m)?[0-9.]+ ?[mu]?s\b`, "TIME"},
		{`"/[^"]*/\.tasker/`, `"/DIR/.tasker/`},
		{`[ \t]+`, " "},
	}
	if anyNumber {
		replace = append(replace, struct{ pattern, by string }{`\b\d[\d,.]*`, "N"})
	}
	for _, r := range replace {
		output = regexp.MustCompile(r.pattern).ReplaceAllString(output, r.by)
	}
	var lines []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "in_progress") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// differ tells where a terminal shows something else than the README; "" = nowhere. A line "..." in the README stands
// for any number of lines.
func differ(c command, here string, anyNumber bool) string {
	got, want := normal(here, anyNumber), normal(c.output, anyNumber)
	if slices.Contains(want, "...") {
		for _, line := range want {
			if line != "..." && !slices.Contains(got, line) {
				return fmt.Sprintf("the README shows %q, which is not there", line)
			}
		}
		return ""
	}
	// What passes quickly may be missed here, but not look different.
	passing := func(line string) bool { return strings.Contains(line, "waiting_for_retry") }
	for _, line := range got {
		if passing(line) && !slices.Contains(want, line) {
			return fmt.Sprintf("%q is there, which the README does not show", line)
		}
	}
	got, want = slices.DeleteFunc(got, passing), slices.DeleteFunc(want, passing)
	if diff := cmp.Diff(got, want); diff != "" {
		return "(-here +README), sorted:\n" + diff
	}
	return ""
}

// binDir is where this process keeps what it built.
func binDir() string {
	return filepath.Join(os.TempDir(), "tasker-examples-"+strconv.Itoa(os.Getpid()))
}

// built builds all binaries, once for all tests, and returns where they are.
var built = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "run", "./.ci/build", "-out", binDir())
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binDir(), nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(binDir()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // this is a main
}

// linkAll links the files below one directory into another, which need not exist. What a test replaces there stays as it was here.
func linkAll(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		return os.Link(path, filepath.Join(to, name))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// build makes a directory that looks like the repository after `make build`.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("the sessions are typed into a POSIX shell")
	}
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := built()
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	linkAll(t, bin, filepath.Join(dir, "bin"))
	for _, pattern := range []string{"*/template.yaml", "*/*.json", "*/notifier/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, "examples", f)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				t.Fatal(err)
			}
			// A busy machine gets more time; the sessions are compared without it.
			text = bytes.Replace(text, []byte("timeout: 2s"), []byte("timeout: 5s"), 1)
			// A module of its own finds this one where it is.
			text = bytes.Replace(text, []byte("tasker => ../../.."), []byte("tasker => "+root), 1)
			if err := os.WriteFile(to, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
