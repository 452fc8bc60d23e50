package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/bench"
)

// suite is the test binary: it checks for leaks and cleans up behind the scripts.
type suite struct{ m *testing.M }

// Run implements testscript.TestingM.
func (s suite) Run() int {
	code := s.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	return code
}

func TestMain(m *testing.M) {
	roles := map[string]func(){"tasker": taskerMain}
	for _, role := range []string{bench.RoleHandler, bench.RoleFloor, bench.RoleSink + "1", bench.RoleSink + "3"} {
		roles[pluginPrefix+role] = func() { ServePlugin(os.Args[0]) } // as main.main does, for `tasker bench`
	}
	testscript.Main(suite{m}, roles)
}

// taskerMain is main.main: the scripts run this binary under another name.
func taskerMain() {
	host.LaunchPlugin()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code) //nolint:forbidigo // this is a main
}

// TestScripts runs the sessions in testdata/script, against real plugins.
func TestScripts(t *testing.T) {
	plugins := buildPlugins(t, "plugins/mock", "plugins/exec")
	watch := buildPlugins(t, "cmd/tasker/cli/testdata/watch")
	steady := buildPlugins(t, "host/testdata/steady")
	broken := buildPlugins(t, "host/internal/conform/testdata/broken")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// A short directory for sockets, removed with what killed hosts leave there.
			dir, err := os.MkdirTemp("", "tasker-test") //nolint:usetesting // t.TempDir is too deep for sockets
			if err != nil {
				return fmt.Errorf("set up: %w", err)
			}
			env.Defer(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("XDG_RUNTIME_DIR", dir)
			env.Setenv("TMPDIR", dir) // sockets of plugins that are asked what they are
			env.Setenv("PLUGINS", plugins)
			env.Setenv("WATCH", watch)
			env.Setenv("BROKEN", broken)
			env.Setenv("STEADY", steady)
			env.Setenv("TASKER_PLUGIN_DIRS", plugins)
			env.Setenv("USER", "tester")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // each command would sleep for a second before it exits
			return goEnvironment(env)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready": readyCommand,
			"json":  jsonCommand,
			"setid": setidCommand,
			"await": awaitCommand,
			"until": untilCommand,
			"told":  toldCommand,
		},
	})
}

// goEnvironment lets a session build plugins in Go, with the caches of this machine, and
// names this module.
func goEnvironment(env *testscript.Env) error {
	names := []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN"}
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	for i, value := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		env.Setenv(names[i], value)
	}
	module, err := filepath.Abs("../../..")
	env.Setenv("MODULE", module)
	return err
}

// buildPlugins builds plugins of this module into a fresh directory.
func buildPlugins(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range packages {
		out := filepath.Join(dir, pluginPrefix+path.Base(name))
		cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", out, "github.com/tasker-engine/tasker/"+name)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build plugin %s: %v\n%s", name, err, text)
		}
	}
	return dir
}

// patience is how long a script waits for something that must happen.
const patience = 30 * time.Second

// poll calls f until it says true.
func poll(ts *testscript.TestScript, what string, f func(context.Context) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// readyCommand is `ready [HOME]`: waits until a host is ready there.
func readyCommand(ts *testscript.TestScript, _ bool, args []string) {
	home := ts.MkAbs(strings.Join(append(args, ".tasker")[:1], ""))
	poll(ts, "a ready host in "+home, func(ctx context.Context) bool {
		client, err := host.Dial(ctx, home)
		if err != nil {
			return false
		}
		h, err := client.Health(ctx)
		return errors.Join(err, client.Close()) == nil && h.Ready
	})
}

// awaitCommand is `await HOME STEP STATUS`: waits until the step of the newest task in
// the home has the status. Its host must be running, or starting.
func awaitCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 && len(args) != 4 {
		ts.Fatalf("usage: await HOME STEP STATUS [REASON]")
	}
	poll(ts, strings.Join(args, " "), func(ctx context.Context) bool {
		client, err := host.Dial(ctx, ts.MkAbs(args[0]))
		if err != nil {
			return false
		}
		defer client.Close() //nolint:errcheck // nothing was written
		page, _, err := client.ListTasks(ctx, host.Filter{}, host.Page{Limit: 1})
		if err != nil || len(page) == 0 {
			return false
		}
		v, err := client.Task(ctx, string(page[0].Spec.ID))
		if err != nil {
			return false
		}
		for i := range v.Steps {
			s := &v.Steps[i]
			if string(s.Name) == args[1] && string(s.Status) == args[2] {
				return len(args) == 3 || s.Reason != nil && string(s.Reason.Code) == args[3]
			}
		}
		return false
	})
}

// untilCommand is `until PATH VALUE COMMAND...`: runs a command until what it prints has
// the JSON value at the path.
func untilCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: until PATH VALUE COMMAND...")
	}
	last := ""
	poll(ts, strings.Join(args, " "), func(context.Context) bool {
		if ts.Exec(args[2], args[3:]...) != nil {
			return false
		}
		var doc any
		if json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc) != nil {
			return false
		}
		got, err := json.Marshal(find(doc, args[0]))
		if last != string(got) {
			last = string(got)
			ts.Logf("%s is %s", args[0], last)
		}
		return err == nil && last == args[1]
	})
}

// toldCommand is `told FILE PATTERN`: waits until a file has a match.
func toldCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: told FILE PATTERN")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	poll(ts, strings.Join(args, " "), func(context.Context) bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && pattern.Match(text)
	})
}

// find is [lookup] for what may not be there yet.
func find(doc any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch at := doc.(type) {
		case map[string]any:
			doc = at[key]
		case []any:
			if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(at) {
				doc = at[i]
			} else if key == "len" {
				doc = len(at)
			}
		}
	}
	return doc
}

// jsonCommand is `[!] json FILE PATH VALUE`: compares what lies at a dotted path of a
// JSON document with a JSON value; `len` at the end of a path is the length. A document
// of several values, one per line, is an array.
func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH VALUE")
	}
	doc := readJSON(ts, args[0])
	got, err := json.Marshal(lookup(ts, doc, args[1]))
	ts.Check(err)
	if (string(got) == args[2]) == neg {
		ts.Fatalf("%s %s is %s, want %s (negated: %t)", args[0], args[1], got, args[2], neg)
	}
}

func readJSON(ts *testscript.TestScript, file string) any {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	dec.UseNumber()
	var docs []any
	for dec.More() {
		var doc any
		ts.Check(dec.Decode(&doc))
		docs = append(docs, doc)
	}
	if len(docs) == 1 {
		return docs[0]
	}
	return docs
}

func lookup(ts *testscript.TestScript, doc any, path string) any {
	for key := range strings.SplitSeq(strings.Trim(path, "."), ".") {
		if key == "" {
			continue
		}
		switch at := doc.(type) {
		case map[string]any:
			value, ok := at[key]
			if !ok {
				ts.Fatalf("no key %q in %s", key, path)
			}
			doc = value
		case []any:
			if key == "len" {
				doc = len(at)
				continue
			}
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(at) {
				ts.Fatalf("no element %q in %s", key, path)
			}
			doc = at[i]
		default:
			ts.Fatalf("nothing at %q in %s", key, path)
		}
	}
	return doc
}

// setidCommand is `setid NAME FILE PATH`: sets a variable to a text of a JSON document.
func setidCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: setid NAME FILE PATH")
	}
	value, ok := lookup(ts, readJSON(ts, args[1]), args[2]).(string)
	if !ok {
		ts.Fatalf("%s is no text", args[2])
	}
	ts.Setenv(args[0], value)
}
