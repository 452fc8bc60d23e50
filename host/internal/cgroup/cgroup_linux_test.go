package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// limit is more than a test ever waits.
const limit = time.Minute

// openTree returns a tree of the kernel's.
func openTree(t *testing.T) *Tree {
	t.Helper()
	tree, err := Find()
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Prepare(prefix()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Prepare(prefix()); err != nil {
			t.Error(err)
		}
	})
	return tree
}

func prefix() string { return fmt.Sprintf("tasker-test-%d-", os.Getpid()) }

// leave starts processes in a group that nobody is the parent of, each in a session of its own
// where the machine has setsid(1), and returns when they are there.
func leave(t *testing.T, g *Group, n int) {
	t.Helper()
	const script = `echo 0 > "$1/cgroup.procs" || exit 1
i=0; while [ $i -lt "$2" ]; do
  if command -v setsid >/dev/null; then setsid sleep 600 >/dev/null 2>&1 & else sleep 600 >/dev/null 2>&1 & fi
  i=$((i+1))
done`
	if out, err := exec.Command("sh", "-c", script, "sh", g.Dir(), fmt.Sprint(n)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestGroup: what is in a group is counted and ended, wherever it went.
func TestGroup(t *testing.T) {
	tree := openTree(t)
	g, err := tree.Make("it#1", Limits{Memory: 1 << 30, Processes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Make("it#1", Limits{}); !errors.Is(err, ErrNone) {
		t.Errorf("the same again: %v, want %v", err, ErrNone)
	}
	const n = 7
	leave(t, g, n)
	if got, err := g.Count(); err != nil || got != n {
		t.Errorf("Count = %d, %v, want %d", got, err, n)
	}
	if g.OutOfMemory() {
		t.Error("it is out of memory")
	}
	if err := g.Remove(limit); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(limit); err != nil {
		t.Errorf("Remove again: %v", err)
	}
	if _, err := os.Stat(g.Dir()); err == nil {
		t.Error("it is there after Remove")
	}
}

// TestPrepare: what a dead host left is ended, and nothing of others.
func TestPrepare(t *testing.T) {
	tree := openTree(t)
	left, err := tree.Make("left", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	leave(t, left, 3)
	below := filepath.Join(left.Dir(), "below") // as a process can make that was granted to
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	other := &Tree{dir: tree.dir, prefix: "tasker-other" + prefix()}
	others, err := other.Make("left", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = others.Remove(limit) }()
	if err := tree.Prepare(prefix()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left.Dir()); err == nil {
		t.Error("what a dead host left is there")
	}
	if _, err := os.Stat(others.Dir()); err != nil {
		t.Errorf("another host's: %v", err)
	}
}

// TestLimit: the files of the controllers that there are get the limits. Most machines of
// tests have none to give, so these are files like others.
func TestLimit(t *testing.T) {
	files := []string{killFile, "memory.max", "memory.oom.group", "pids.max"}
	for name, tt := range map[string]struct {
		controllers []string
		limits      Limits
		want        []string // of the files
	}{
		"all":            {[]string{memory, pids}, Limits{Memory: 5, Processes: 7}, []string{"", "5", "1", "7"}},
		"no controllers": {nil, Limits{Memory: 5, Processes: 7}, []string{"", "", "", ""}},
		"no limits":      {[]string{memory, pids}, Limits{}, []string{"", "", "", ""}},
		"one":            {[]string{pids}, Limits{Memory: 5, Processes: 7}, []string{"", "", "", "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Group{dir: t.TempDir()}
			for _, file := range files {
				if err := os.WriteFile(filepath.Join(g.dir, file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.limit(tt.limits, tt.controllers); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, file := range files {
				text, err := os.ReadFile(filepath.Join(g.dir, file))
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(text))
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("files (-got +want):\n%s", diff)
			}
		})
	}
	if err := (&Group{dir: t.TempDir()}).limit(Limits{}, nil); err == nil {
		t.Error("a kernel that cannot end a group is fine")
	}
}

// TestEnable: controllers are handed on, once, and never by the root of the machine.
func TestEnable(t *testing.T) {
	for name, tt := range map[string]struct {
		offers, hands string
		root          bool
		want          string // what is written
		has           []string
	}{
		"all":         {"cpu memory pids", "", false, "+memory +pids", nil},
		"one is":      {"memory pids", "pids", false, "+memory", nil},
		"nothing new": {"memory pids", "memory pids", false, "memory pids", []string{memory, pids}},
		"none":        {"cpu", "", false, "", nil},
		"root":        {"memory pids", "", true, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			tree := &Tree{dir: t.TempDir()}
			all := map[string]string{offersFile: tt.offers, handsFile: tt.hands, typeFile: "domain"}
			if tt.root {
				delete(all, typeFile)
			}
			for file, text := range all {
				if err := os.WriteFile(filepath.Join(tree.dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tree.hands = tree.controllers(handsFile)
			tree.enable()
			text, err := os.ReadFile(filepath.Join(tree.dir, handsFile))
			if err != nil || string(text) != tt.want {
				t.Errorf("written %q, %v, want %q", text, err, tt.want)
			}
			if diff := cmp.Diff(tt.has, tree.hands); tt.has != nil && diff != "" {
				t.Errorf("hands (-got +want):\n%s", diff)
			}
		})
	}
}

// TestOutOfMemory: the kernel counts in a file.
func TestOutOfMemory(t *testing.T) {
	for text, want := range map[string]bool{"": false, "oom 3\noom_kill 0\n": false, "oom 3\noom_kill 2\noom_group_kill 1\n": true} {
		g := &Group{dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(g.dir, "memory.events"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := g.OutOfMemory(); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
