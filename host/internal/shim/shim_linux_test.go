package shim_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tasker-engine/tasker/host/internal/cgroup"
	"github.com/tasker-engine/tasker/host/internal/shim"
)

// attackEnv makes the test binary a hostile program: it tries what it says.
const attackEnv = "TASKER_TEST_ATTACK"

func TestMain(m *testing.M) {
	shim.Main()
	text := os.Getenv(attackEnv)
	if text == "" {
		m.Run()
		return
	}
	var a attack
	err := json.Unmarshal([]byte(text), &a)
	if err == nil {
		err = a.try()
	}
	if err != nil {
		_, _ = fmt.Fprintf(os.Stdout, "refused: %v\n", err) // the test reads it
		return
	}
	_, _ = fmt.Fprintln(os.Stdout, "done") // the test reads it
}

// attack is something that a hostile program tries.
type attack struct {
	What string `json:"what"`
	Path string `json:"path"`
	Addr string `json:"addr"`
	PID  int    `json:"pid"`
}

func (a attack) try() error {
	switch a.What {
	case "read":
		_, err := os.ReadFile(a.Path)
		return err
	case "list":
		_, err := os.ReadDir(a.Path)
		return err
	case "write":
		return os.WriteFile(a.Path, []byte("mine"), 0o600)
	case "truncate":
		return os.Truncate(a.Path, 0)
	case "remove":
		return os.Remove(a.Path)
	case "temporary":
		f, err := os.CreateTemp("", "x")
		if err == nil {
			err = os.Rename(f.Name(), filepath.Join(a.Path, "moved"))
		}
		return err
	case "tcp", "unix":
		c, err := net.Dial(a.What, a.Addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	case "udp":
		c, err := net.Dial("udp", a.Addr)
		if err == nil {
			_, err = c.Write([]byte("secret"))
		}
		return err
	case "listen":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			_ = l.Close()
		}
		return err
	case "listen on a socket":
		l, err := net.Listen("unix", filepath.Join(a.Path, "s"))
		if err == nil {
			_ = l.Close()
		}
		return err
	case "trace":
		return unix.PtraceAttach(a.PID)
	case "memory":
		buf := make([]byte, 8)
		local := []unix.Iovec{{Base: &buf[0], Len: 8}}
		_, err := unix.ProcessVMReadv(a.PID, local, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
		return err
	case "signal":
		return unix.Kill(a.PID, unix.SIGURG) // a Go program ignores it
	case "limit":
		return unix.Prlimit(a.PID, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	case "send without connecting":
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err == nil {
			err = unix.Sendto(pair[0], []byte("secret"), 0, &unix.SockaddrUnix{Name: a.Addr})
		}
		return err
	case "type into a terminal":
		key := byte('x')
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&key)))
		if errno == unix.EPERM { // its standard input is no terminal: the kernel itself says so otherwise
			return errno
		}
		return nil
	case "priority":
		return unix.Setpriority(unix.PRIO_PROCESS, a.PID, mild)
	case "priority of a group":
		return unix.Setpriority(unix.PRIO_PGRP, a.PID, mild)
	case "priority of a user":
		return unix.Setpriority(unix.PRIO_USER, a.PID, mild)
	case "processors":
		var all unix.CPUSet
		return errors.Join(unix.SchedGetaffinity(0, &all), unix.SchedSetaffinity(a.PID, &all))
	case "scheduling":
		return unix.SchedSetAttr(a.PID, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
	case "disk priority":
		return call(unix.SYS_IOPRIO_SET, 1, uintptr(a.PID), 2<<13|7) // least of the default class
	case "queue":
		return call(unix.SYS_MSGGET, 0, 0, 0) // a private one
	case "semaphore of others":
		return call(unix.SYS_SEMOP, 0, 0, 0)
	case "shared memory of others":
		return call(unix.SYS_SHMCTL, 0, unix.IPC_STAT, 0)
	case "own limit":
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	case "own pair":
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	case "group":
		text, err := os.ReadFile("/proc/self/cgroup")
		return errors.Join(err, errors.New(string(text)))
	case "leave":
		return os.WriteFile(a.Path, []byte("0"), 0)
	case "fork":
		return exec.Command("/bin/true").Run()
	case "namespace":
		return unix.Unshare(unix.CLONE_NEWUSER)
	case "mount":
		return unix.Mount("none", a.Path, "tmpfs", 0, "")
	case "io_uring":
		_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
		return errno
	case "files":
		for {
			if _, err := os.Open("/dev/null"); err != nil {
				return err
			}
		}
	case "privileges":
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		return errors.New(strings.Join(strings.Fields(strings.Join(lines(string(status), "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp:"), " ")), " "))
	case "environment":
		return errors.New(strings.Join(os.Environ(), " "))
	}
	return fmt.Errorf("unknown attack %q", a.What)
}

// mild is a priority that a process can be lowered to without harm.
const mild = 1

// call makes a system call, of which it looks at whether the filter refuses it.
func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno == unix.EPERM {
		return errno
	}
	return nil
}

func lines(text string, prefixes ...string) []string {
	var found []string
	for line := range strings.Lines(text) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				found = append(found, line)
			}
		}
	}
	return found
}

// launch runs an attack under a plan and returns what it printed and what was in force.
func launch(t *testing.T, plan shim.Plan, a attack) (string, []shim.Measure, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if plan.Path == "" {
		plan.Path = self
	}
	plan.HostPID = os.Getpid()
	program, err := shim.Open(plan.Path, plan.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	file := program.File
	defer func() { _ = file.Close() }()
	plan.Script, plan.NoLease = program.Script, program.NoLease
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	env := []string{attackEnv + "=" + string(text), "PATH=/usr/bin:/bin", "GORACE=atexit_sleep_ms=0"}
	if len(plan.Private) > 0 {
		env = append(env, "TMPDIR="+plan.Private[0])
	}
	path, args, env, err := plan.Command(env)
	if err != nil {
		t.Fatal(err)
	}
	report, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Close() }()
	var out bytes.Buffer
	cmd := &exec.Cmd{Path: path, Args: args, Env: env, Stdout: &out, Stderr: &out, ExtraFiles: []*os.File{child, file}, Dir: t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = child.Close()
	measures, reported := shim.ReadReport(report)
	_, _ = io.Copy(io.Discard, report)
	if err := cmd.Wait(); err != nil && reported == nil {
		t.Fatalf("%v: %s", err, &out)
	}
	return strings.TrimSpace(out.String()), measures, reported
}

// home is what is not the plugin's business, and what is.
type home struct{ store, others, own, granted string }

func newHome(t *testing.T) home {
	t.Helper()
	dir := t.TempDir()
	h := home{
		store: filepath.Join(dir, "tasker.db"), others: filepath.Join(dir, "data", "other"),
		own: filepath.Join(dir, "data", "mine"), granted: filepath.Join(dir, "granted"),
	}
	for _, d := range []string{h.others, h.own, h.granted} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{h.store, filepath.Join(h.others, "secret"), filepath.Join(h.granted, "file")} {
		if err := os.WriteFile(f, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// needs skips where the kernel cannot do what the test is about.
func needs(t *testing.T, landlock int) shim.Kernel {
	t.Helper()
	k := shim.Probe()
	if k.Landlock < landlock || !k.Seccomp {
		t.Skipf("this kernel has Landlock ABI %d (wanted %d), seccomp %v", k.Landlock, landlock, k.Seccomp)
	}
	return k
}

// TestHostileProgram is a plugin that does what it can to get at others.
func TestHostileProgram(t *testing.T) {
	needs(t, 6)
	h := newHome(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	dir, err := os.MkdirTemp("", "sh") //nolint:usetesting // a short name for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	control, err := net.Listen("unix", filepath.Join(dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = datagrams.Close() }()
	pid := os.Getpid()
	proc := "/proc/" + strconv.Itoa(pid)
	none := shim.Plan{Profile: shim.Default, Private: []string{h.own}}
	granted := none
	granted.Read, granted.Network, granted.Subprocess = []string{h.granted}, "any", true
	everything := none
	everything.Write = []string{shim.Everything}

	const refused, done = "refused: ", "done"
	for name, tt := range map[string]struct {
		plan   shim.Plan
		attack attack
		want   string // how the answer begins
	}{
		"read the store":                    {none, attack{What: "read", Path: h.store}, refused},
		"write the store":                   {none, attack{What: "write", Path: h.store}, refused},
		"truncate the store":                {none, attack{What: "truncate", Path: h.store}, refused},
		"remove the store":                  {none, attack{What: "remove", Path: h.store}, refused},
		"read the data of another plugin":   {none, attack{What: "read", Path: filepath.Join(h.others, "secret")}, refused},
		"list the data of another plugin":   {none, attack{What: "list", Path: h.others}, refused},
		"connect to the socket of a host":   {none, attack{What: "unix", Addr: control.Addr().String()}, refused},
		"read the environment of the host":  {none, attack{What: "read", Path: proc + "/environ"}, refused},
		"the same, with subprocesses":       {granted, attack{What: "read", Path: proc + "/environ"}, refused},
		"open the memory of the host":       {granted, attack{What: "read", Path: proc + "/mem"}, refused},
		"read the memory of the host":       {granted, attack{What: "memory", PID: pid}, refused},
		"trace the host":                    {granted, attack{What: "trace", PID: pid}, refused},
		"signal the host":                   {granted, attack{What: "signal", PID: pid}, refused},
		"limit the host":                    {granted, attack{What: "limit", PID: pid}, refused},
		"lower the priority of the host":    {granted, attack{What: "priority", PID: pid}, refused},
		"lower it for its group":            {granted, attack{What: "priority of a group", PID: pid}, refused},
		"lower it for the user":             {granted, attack{What: "priority of a user"}, refused},
		"move the host to a processor":      {granted, attack{What: "processors", PID: pid}, refused},
		"change the scheduling of the host": {granted, attack{What: "scheduling", PID: pid}, refused},
		"take the disk from the host":       {granted, attack{What: "disk priority", PID: pid}, refused},
		"make a message queue":              {granted, attack{What: "queue"}, refused},
		"use a semaphore of the user":       {granted, attack{What: "semaphore of others"}, refused},
		"look at memory of the user":        {granted, attack{What: "shared memory of others"}, refused},
		"its own: a priority":               {none, attack{What: "priority"}, done},
		"its own: processors":               {none, attack{What: "processors"}, done},
		"its own: scheduling":               {none, attack{What: "scheduling"}, done},
		"its own: disk priority":            {none, attack{What: "disk priority"}, done},
		"granted: a message queue":          {everything, attack{What: "queue"}, done},
		"send to a socket unconnected":      {none, attack{What: "send without connecting", Addr: datagrams.LocalAddr().String()}, refused},
		"type into a terminal":              {granted, attack{What: "type into a terminal"}, refused},
		"its own: a limit":                  {none, attack{What: "own limit"}, done},
		"its own: a pair of sockets":        {none, attack{What: "own pair"}, done},
		"connect over TCP":                  {none, attack{What: "tcp", Addr: tcp.Addr().String()}, refused},
		"listen on TCP":                     {none, attack{What: "listen"}, refused},
		"send over UDP":                     {none, attack{What: "udp", Addr: "127.0.0.1:9"}, refused},
		"start a process":                   {none, attack{What: "fork"}, refused},
		"make a user namespace":             {granted, attack{What: "namespace"}, refused},
		"mount":                             {granted, attack{What: "mount", Path: h.own}, refused},
		"io_uring":                          {granted, attack{What: "io_uring"}, refused},
		"open files without end":            {none, attack{What: "files"}, refused},
		"write where it may read":           {granted, attack{What: "write", Path: filepath.Join(h.granted, "file")}, refused},
		"read what root alone may":          {none, attack{What: "read", Path: "/etc/shadow"}, refused},
		"granted: read":                     {granted, attack{What: "read", Path: filepath.Join(h.granted, "file")}, done},
		"granted: connect over TCP":         {granted, attack{What: "tcp", Addr: tcp.Addr().String()}, done},
		"granted: listen on TCP":            {granted, attack{What: "listen"}, done},
		"granted: start a process":          {granted, attack{What: "fork"}, done},
		"its own: write":                    {none, attack{What: "write", Path: filepath.Join(h.own, "x")}, done},
		"its own: move a temporary file":    {none, attack{What: "temporary", Path: h.own}, done},
		"its own: a socket":                 {none, attack{What: "listen on a socket", Path: h.own}, done},
		"its own: what the system tells it": {none, attack{What: "read", Path: "/proc/self/status"}, done},
		"its own: certificates and names":   {none, attack{What: "read", Path: "/etc/hosts"}, done},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := launch(t, tt.plan, tt.attack)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("the program says %q, want %q", got, tt.want)
			}
		})
	}
	if got, err := os.ReadFile(h.store); err != nil || string(got) != "secret" {
		t.Errorf("the store is %q, %v; want it untouched", got, err)
	}
}

func TestPrivilegesAreGone(t *testing.T) {
	needs(t, 1)
	got, _, err := launch(t, shim.Plan{Profile: shim.Default, Private: []string{t.TempDir()}}, attack{What: "privileges"})
	if err != nil {
		t.Fatal(err)
	}
	want := "CapPrm: 0000000000000000 "
	if os.Geteuid() == 0 {
		want += "CapBnd: 0000000000000000 "
	}
	if !strings.Contains(got, want) || !strings.Contains(got, "NoNewPrivs: 1 Seccomp: 2") {
		t.Errorf("the program has %s, want no capabilities, no_new_privs and a filter", got)
	}
}

func TestPlanIsNotInTheEnvironment(t *testing.T) {
	got, _, err := launch(t, shim.Plan{Profile: shim.Default}, attack{What: "environment"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "TASKER_LAUNCH") || !strings.Contains(got, "PATH=/usr/bin:/bin") {
		t.Errorf("the program sees %q, want its own variables alone", got)
	}
}

func TestReportSaysWhatTheKernelGave(t *testing.T) {
	k := needs(t, 1)
	plan := shim.Plan{Profile: shim.Default, Private: []string{t.TempDir()}}
	_, got, err := launch(t, plan, attack{What: "environment"})
	if err != nil {
		t.Fatal(err)
	}
	plan.Path = got[0].Detail // whatever it is
	if diff := cmp.Diff(got, plan.Measures(k)); diff != "" {
		t.Errorf("report differs from what the kernel can do (-got +want):\n%s", diff)
	}
}

func TestStrictSaysWhatItCannotEnforce(t *testing.T) {
	_, measures, err := launch(t, shim.Plan{Profile: shim.Strict, Network: "loopback", Private: []string{t.TempDir()}}, attack{What: "environment"})
	if !errors.Is(err, shim.ErrUnenforceable) || !strings.Contains(err.Error(), "network: only this machine is granted") {
		t.Errorf("got %v, want a refusal for the network", err)
	}
	if len(measures) == 0 {
		t.Error("the refusal comes without the measures")
	}
}

func TestStrictStarts(t *testing.T) {
	needs(t, 6)
	got, _, err := launch(t, shim.Plan{Profile: shim.Strict, Private: []string{t.TempDir()}}, attack{What: "list", Path: "/"})
	if err != nil || !strings.HasPrefix(got, "refused") {
		t.Errorf("got %q, %v; want a program that was started and refused", got, err)
	}
}

func TestScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho said $0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, _, err := launch(t, shim.Plan{Profile: shim.Default, Path: path, Private: []string{t.TempDir()}}, attack{})
	if err != nil || got != "said "+path {
		t.Errorf("got %q, %v; want the script's name", got, err)
	}
}

func TestWhatIsNoProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte("text"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := launch(t, shim.Plan{Profile: shim.Default, Path: path}, attack{}); !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("got %v, want %v", err, unix.ENOEXEC)
	}
}

func TestLimits(t *testing.T) {
	const files = "open files 9, no core dumps"
	enforced := func(detail string) shim.Measure {
		return shim.Measure{Name: "limits", State: shim.Enforced, Detail: files + detail}
	}
	const none = "no cgroup: version 2 is not mounted"
	tests := []struct {
		name   string
		plan   shim.Plan
		kernel shim.Kernel
		want   shim.Measure
	}{
		{
			"bounded by a cgroup",
			shim.Plan{Processes: 7, Subprocess: true, Group: "/g", Bounded: true},
			shim.Kernel{Root: true},
			enforced(", threads and processes 7: the kernel, by its cgroup"),
		},
		{
			"counted in a cgroup",
			shim.Plan{Subprocess: true, Group: "/g"},
			shim.Kernel{Root: true},
			enforced(", threads and processes 4096: the host counts them in its cgroup, and ends it when there are more"),
		},
		{
			"threads alone",
			shim.Plan{NoGroup: none},
			shim.Kernel{Seccomp: true},
			enforced(", threads and processes 4096: the host counts its threads, and ends it when there are more"),
		},
		{"a user", shim.Plan{Processes: 7, Subprocess: true, NoGroup: none}, shim.Kernel{Seccomp: true}, enforced(", threads and processes 7 of its user")},
		{
			"root",
			shim.Plan{Processes: 7, Subprocess: true, NoGroup: none},
			shim.Kernel{Seccomp: true, Root: true},
			shim.Measure{Name: "limits", State: shim.Missing, Detail: files + "; not the limit of 7 threads and processes: the kernel exempts root from it; " + none},
		},
		{"no limit", shim.Plan{Subprocess: true, NoGroup: none}, shim.Kernel{Seccomp: true}, enforced("; what it starts is not counted: " + none)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.plan.Profile, tt.plan.Files = shim.Default, 9
			measures := tt.plan.Measures(tt.kernel)
			if diff := cmp.Diff(measures[len(measures)-1], tt.want); diff != "" {
				t.Errorf("got and want differ (-got +want):\n%s", diff)
			}
		})
	}
}

// TestGroup: a process goes to its cgroup and stays there, though it may write everywhere, and
// is told when it cannot go there.
func TestGroup(t *testing.T) {
	tree, err := cgroup.Find()
	if errors.Is(err, cgroup.ErrNone) {
		t.Skip(err)
	}
	if err == nil {
		err = tree.Prepare(fmt.Sprintf("tasker-test-%d-", os.Getpid()))
	}
	if err != nil {
		t.Fatal(err)
	}
	group, err := tree.Make("shim", cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := group.Remove(10 * time.Second); err != nil {
			t.Error(err)
		}
	}()
	plan := func(dir string) shim.Plan {
		return shim.Plan{
			Profile: shim.Default, Subprocess: true, Write: []string{shim.Everything}, Except: []string{t.TempDir()},
			Group: dir, Sealed: []string{tree.Mount()},
		}
	}
	procs := filepath.Join(tree.Dir(), "cgroup.procs")
	if out, measures, err := launch(t, plan(group.Dir()), attack{What: "group"}); err != nil || !strings.Contains(out, filepath.Base(group.Dir())) {
		t.Errorf("it is in %q, want %s (%v, %v)", out, group.Dir(), measures, err)
	}
	out, _, err := launch(t, plan(group.Dir()), attack{What: "leave", Path: procs})
	if k := shim.Probe(); err != nil || k.Landlock > 0 && !strings.HasPrefix(out, "refused: ") {
		t.Errorf("to leave it: %q, %v, want it refused", out, err)
	}
	_, measures, err := launch(t, plan(filepath.Join(tree.Dir(), "none")), attack{What: "group"})
	if err != nil {
		t.Fatal(err)
	}
	if last := measures[len(measures)-1]; !strings.Contains(last.Detail, "not counted: no cgroup: ") {
		t.Errorf("limits: %+v, want that there is no group", last)
	}
}

// TestWhyRightsAreNotGone: what could not be given up is named.
func TestWhyRightsAreNotGone(t *testing.T) {
	plan := shim.Plan{Profile: shim.Default}
	for why, want := range map[string]string{
		"": "the kernel has no no_new_privs",
		"drop capabilities: operation not permitted": "drop capabilities: operation not permitted",
	} {
		got := plan.Measures(shim.Kernel{NoPrivileges: why})[1]
		if diff := cmp.Diff(got, shim.Measure{Name: "privileges", State: shim.Missing, Detail: want}); diff != "" {
			t.Errorf("%q (-got +want):\n%s", why, diff)
		}
	}
}
