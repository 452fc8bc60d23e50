package host_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/procfs"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/internal/cgroup"
	"github.com/tasker-engine/tasker/host/task"
)

// TestHostilePlugin: a plugin that was granted nothing, in a whole host under each profile
// that takes rights: what it tries is refused or bounded, and others work on.
func TestHostilePlugin(t *testing.T) {
	if k := host.ProbeKernel(); k.Landlock < 6 || !k.Seccomp {
		t.Skipf("this kernel enforces too little: %+v", k)
	}
	for _, profile := range []string{"default", "strict"} {
		t.Run(profile, func(t *testing.T) {
			h := hosttest.Start(t, hosttest.Plugins("./testdata/hostile", mockPlugin),
				hosttest.Expect("an executable that nobody approved"),
				hosttest.Options(func(o *host.Options) {
					o.Isolation = profile
					o.PluginIsolation = map[string]string{"mock": "default"} // it asks for more than a kernel may enforce
				}))
			hostile, mock := h.AwaitPlugin("hostile"), h.AwaitPlugin("mock")
			for name, attack := range attacks(t, h, hostile.Path, mock.PID) {
				if got := try(t, h, attack); got.Done || got.Refused == "" {
					t.Errorf("%s: %+v, want it refused", name, got)
				}
			}
			const flood = 20 << 10 // lines of 1 KiB
			if got := try(t, h, map[string]any{"attack": "flood", "count": flood}); !got.Done {
				t.Errorf("flood: %+v", got)
			}
			if size := sizeOf(t, filepath.Join(h.Home(), "logs")); size > flood<<10/2 {
				t.Errorf("its log has %d bytes", size)
			}
			h.WantTask(h.Checked(h.Create("name: fine\nversion: 1.0.0\nsteps:\n  - {name: a, handler: mock/echo}\n")), task.Complete)
			if now := h.AwaitPlugin("mock"); now.PID != mock.PID {
				t.Errorf("mock is process %d now, was %d", now.PID, mock.PID)
			}
		})
	}
}

// TestProcessLimit: a plugin that may start processes, and starts too many, is ended with all
// of them, also with those that went into sessions of their own; others work on.
func TestProcessLimit(t *testing.T) {
	if _, err := cgroup.Find(); err != nil {
		t.Skip(err)
	}
	h := hosttest.Start(t, hosttest.Plugins("./testdata/bomb", mockPlugin),
		hosttest.Expect("plugin crashed", "plugin is quarantined", "process limit"),
		hosttest.Options(func(o *host.Options) {
			o.Isolation = "default"
			o.PluginLimits = map[string]host.PluginLimits{"bomb": {Processes: 200}}
		}))
	h.AwaitPlugin("bomb")
	mock := h.AwaitPlugin("mock")
	seconds := strconv.Itoa(1_000_000 + os.Getpid())
	v := h.Checked(h.Create(fmt.Sprintf("name: bomb\nversion: 1.0.0\nsteps:\n  - {name: a, handler: bomb/explode, with: {seconds: %q}}\n", seconds)))
	h.WantTask(v, task.Error)
	if why := hosttest.Step(v, "a").Failure; why == nil || why.Code != task.CodeCrashesPlugin {
		t.Errorf("the step failed with %+v, want %s", why, task.CodeCrashesPlugin)
	}
	crashes, err := h.Crashes(t.Context(), "bomb")
	if err != nil || len(crashes) == 0 {
		t.Fatalf("crash reports: %v, %v", crashes, err)
	}
	for _, c := range crashes {
		if !strings.HasPrefix(c.Cause, "process limit: it has ") || !strings.Contains(c.Cause, "limits.processes is 200") {
			t.Errorf("cause %q, want the limit", c.Cause)
		}
	}
	if left := sleepers(t, seconds); left > 0 {
		t.Errorf("%d processes of it are left", left)
	}
	h.WantTask(h.Checked(h.Create("name: fine\nversion: 1.0.0\nsteps:\n  - {name: a, handler: mock/echo}\n")), task.Complete)
	if now := h.AwaitPlugin("mock"); now.PID != mock.PID {
		t.Errorf("mock is process %d now, was %d", now.PID, mock.PID)
	}
}

// sleepers counts the processes that sleep for so many seconds.
func sleepers(t *testing.T, seconds string) (n int) {
	t.Helper()
	all, err := procfs.AllProcs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if args, err := p.CmdLine(); err == nil && slices.Contains(args, seconds) {
			n++
		}
	}
	return n
}

// attacks returns what a plugin goes for in a host.
func attacks(t *testing.T, h *hosttest.Host, executable string, neighbour int) map[string]map[string]any {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	at := func(attack, path string) map[string]any { return map[string]any{"attack": attack, "path": path} }
	on := func(attack string, pid int) map[string]any { return map[string]any{"attack": attack, "pid": pid} }
	self := fmt.Sprintf("/proc/%d/", os.Getpid())
	return map[string]map[string]any{
		"the store":                        at("read", host.StorePath(h.Home())),
		"a change of the store":            at("write", host.StorePath(h.Home())),
		"the token of the host":            at("read", filepath.Join(h.Home(), "control.json")),
		"another one's data":               at("list", filepath.Join(h.Home(), "data", "mock")),
		"a file in another one's data":     at("write", filepath.Join(h.Home(), "data", "mock", "x")),
		"the environment of the host":      at("read", self+"environ"),
		"the memory of the host":           at("read", self+"mem"),
		"the environment of another one":   at("read", fmt.Sprintf("/proc/%d/environ", neighbour)),
		"its own executable, for others":   at("write", executable),
		"the socket of the host":           at("connect", socketOf(t, h.Home())),
		"the socket of another one":        at("connect", socketOfPlugin(t, neighbour)),
		"the network":                      at("connect", listener.Addr().String()),
		"a signal to the host":             on("signal", os.Getpid()),
		"a signal to another one":          on("signal", neighbour),
		"to trace the host":                on("trace", os.Getpid()),
		"the host's priority":              on("priority", os.Getpid()),
		"another one's priority":           on("priority", neighbour),
		"the host's processors":            on("processors", os.Getpid()),
		"the host's scheduling":            on("scheduling", os.Getpid()),
		"the host's turn at the disk":      on("disk priority", os.Getpid()),
		"message queues of the user":       {"attack": "queue"},
		"semaphores of the user":           {"attack": "semaphore"},
		"shared memory of the user":        {"attack": "shared memory"},
		"to start processes, many":         {"attack": "start", "count": 50},
		"secrets of whoever runs all this": at("read", "/etc/shadow"),
	}
}

// socketOfPlugin returns the socket that a plugin listens on, as the kernel knows it.
func socketOfPlugin(t *testing.T, pid int) string {
	t.Helper()
	self, err := procfs.NewProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	open, err := self.FileDescriptorTargets()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := proc.NetUNIX()
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range sockets.Rows {
		if socket.Path != "" && slices.Contains(open, fmt.Sprintf("socket:[%d]", socket.Inode)) {
			return socket.Path
		}
	}
	t.Fatalf("process %d listens on no socket that has a name: %q", pid, open)
	return ""
}

// socketOf returns the control socket of a host.
func socketOf(t *testing.T, home string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home, "control.json"))
	if err != nil {
		t.Fatal(err)
	}
	var control struct {
		Socket string `json:"socket"`
	}
	if err := json.Unmarshal(text, &control); err != nil || control.Socket == "" {
		t.Fatalf("control.json: %s, %v", text, err)
	}
	return control.Socket
}

func sizeOf(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// attempted is what plugin hostile answers.
type attempted struct {
	Done    bool   `json:"done"`
	Refused string `json:"refused"`
}

func try(t *testing.T, h *hosttest.Host, attack map[string]any) (got attempted) {
	t.Helper()
	text, err := json.Marshal(attack)
	if err != nil {
		t.Fatal(err)
	}
	v := h.Checked(h.Create(fmt.Sprintf("name: try\nversion: 1.0.0\nsteps:\n  - {name: a, handler: hostile/try, with: %s}\n", text)))
	h.WantTask(v, task.Complete)
	if err := json.Unmarshal(hosttest.Step(v, "a").Results.Inline, &got); err != nil {
		t.Fatal(err)
	}
	return got
}
