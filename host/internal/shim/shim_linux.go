package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/tasker-engine/tasker/host/internal/cgroup"
)

// Supported says whether this system takes rights from plugins.
const Supported = true

// The files that a shim inherits beside the standard ones.
const (
	reportFD = 3
	binaryFD = 4
)

// exitShim is the exit status of a shim that does not become the plugin.
const exitShim = 126

// Main makes a process that was started as a shim the plugin, or ends it. In every other
// process it does nothing. Call it first in main.
func Main() {
	text, ok := os.LookupEnv(launchEnv)
	if !ok {
		return
	}
	// What is given up is given up by this thread, which alone survives the execution.
	runtime.LockOSThread()
	out := json.NewEncoder(os.NewFile(reportFD, "report"))
	unix.CloseOnExec(reportFD)
	unix.CloseOnExec(binaryFD)
	var plan Plan
	err := json.Unmarshal([]byte(text), &plan)
	if err == nil {
		err = plan.launch(out)
	}
	last := report{Error: err.Error(), Refused: errors.Is(err, ErrUnenforceable)}
	if failed, ok := errors.AsType[*executeError](err); ok {
		last.Error, last.Errno = "execute "+failed.path, int(failed.errno)
	}
	_ = out.Encode(last) // the host sees the end in any case
	os.Exit(exitShim)    //nolint:forbidigo // this is a main
}

// launch returns only if the process did not become the plugin.
func (p *Plan) launch(out *json.Encoder) error {
	kernel := Probe()
	p.enter()
	if err := p.limit(); err != nil {
		return err
	}
	if p.Profile != Off && p.Profile != "" {
		p.confine(&kernel)
	}
	measures := p.Measures(kernel)
	if err := out.Encode(report{Measures: measures}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := refuse(p.Profile, measures); err != nil {
		return err
	}
	if err := p.followHost(); err != nil {
		return err
	}
	return p.execute()
}

// enter goes to the plugin's cgroup. It is told when that fails.
func (p *Plan) enter() {
	if p.Group == "" {
		return
	}
	if err := cgroup.Enter(p.Group); err != nil {
		p.Group, p.NoGroup = "", fmt.Sprintf("%v: %v", cgroup.ErrNone, err)
	}
}

// confine gives up what was not granted, and notes in k what the kernel did not do.
func (p *Plan) confine(k *Kernel) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		k.NoNewPrivs, k.NoPrivileges = false, "no_new_privs: "+err.Error()
	}
	if k.Landlock > 0 {
		if err := p.landlock(k.Landlock); err != nil {
			k.Landlock, k.NoLandlock = 0, err.Error()
		}
	}
	if err := dropCapabilities(); err != nil {
		k.NoNewPrivs, k.NoPrivileges = false, err.Error()
	}
	if k.Seccomp {
		if err := p.seccomp(); err != nil {
			k.Seccomp, k.NoSeccomp = false, err.Error()
		}
	}
}

// Probe asks the kernel what it can enforce.
func Probe() Kernel {
	k := Kernel{Root: os.Geteuid() == 0}
	abi, err := ll.LandlockGetABIVersion()
	switch {
	case err == nil && abi > 0:
		k.Landlock = abi
	case errors.Is(err, unix.EOPNOTSUPP):
		k.NoLandlock = "it is switched off (the kernel's lsm= parameter)"
	default:
		k.NoLandlock = "this kernel has none"
	}
	_, err = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if k.NoNewPrivs = err == nil; err != nil {
		k.NoPrivileges = "this kernel has no no_new_privs"
	}
	k.Seccomp, k.NoSeccomp = probeSeccomp()
	return k
}

// limit sets the limits of the process.
func (p *Plan) limit() error {
	set := func(name string, which int, soft, hard uint64) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(which, &now); err != nil {
			return fmt.Errorf("limit of %s: %w", name, err)
		}
		hard = min(hard, now.Max)
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: min(soft, hard), Max: hard}); err != nil {
			return fmt.Errorf("limit of %s: %w", name, err)
		}
		return nil
	}
	if p.Profile == Off || p.Profile == "" {
		return nil
	}
	// Programs that know no more than select(2) break above 1024; others raise it themselves.
	const soft = 1024
	files := uint64(p.openFiles()) //nolint:gosec // a positive number
	err := errors.Join(set("core dumps", unix.RLIMIT_CORE, 0, 0), set("open files", unix.RLIMIT_NOFILE, soft, files))
	if p.Processes > 0 && p.Group == "" {
		n := uint64(p.Processes)
		err = errors.Join(err, set("processes", unix.RLIMIT_NPROC, n, n))
	}
	return err
}

// dropCapabilities gives up what root may do beyond its user id, for good: with
// no_new_privs, no program gets it back.
func dropCapabilities() error {
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // only root has any to drop
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// followHost has the process end with the thread of the host that forked it. The host asked
// for that already, but for the first thread of this process, and this may be another.
func (p *Plan) followHost() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("follow the host: %w", err)
	}
	if os.Getppid() != p.HostPID {
		return errors.New("the host is gone")
	}
	return nil
}

// execute becomes the plugin: the open file, or for a script its path.
func (p *Plan) execute() error {
	argv, err := syscall.SlicePtrFromStrings([]string{p.Path})
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, launchEnv+"=") {
			env = append(env, kv)
		}
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	fd, name, flags := uintptr(binaryFD), "", uintptr(unix.AT_EMPTY_PATH)
	if p.Script {
		fd, name, flags = uintptr(0), p.Path, 0 // absolute, so the directory does not matter
	}
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, fd, uintptr(unsafe.Pointer(path)), //nolint:gosec // a system call
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), flags, 0) //nolint:gosec // a system call
	return &executeError{p.Path, errno}
}

// executeError says why the kernel does not execute a file.
type executeError struct {
	path  string
	errno syscall.Errno
}

func (e *executeError) Error() string { return e.errno.Error() }

// lease keeps the file from being written while it is open. Not every file system knows
// leases, and only the owner of a file may have one; why says so. Then a change between the
// hash and the execution has to be made in place, within milliseconds, by somebody who may
// write there.
func lease(file *os.File) (why string, err error) {
	_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, unix.EAGAIN):
		return "", errors.New("somebody has the executable open for writing")
	case errors.Is(err, unix.EACCES):
		return "only the owner of a file may lock it against writers, and that is another user", nil
	}
	return "its file system has no lock against writers: " + err.Error(), nil
}

// ExecPath returns the path under which to execute an open file that is no script.
func ExecPath(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }
