// Plugin hostile tries what no plugin was granted, and tells what came of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// target is what an attempt of the attack goes for.
type target struct {
	Attack string `json:"attack"`
	Path   string `json:"path,omitempty"`
	PID    int    `json:"pid,omitempty"`
	Count  int    `json:"count,omitempty"`
}

// outcome is how far it came.
type outcome struct {
	Done    bool   `json:"done"`
	Refused string `json:"refused,omitempty"`
}

// attacks are what it knows.
func attacks() map[string]func(context.Context, target) error {
	return map[string]func(context.Context, target) error{
		"read": func(_ context.Context, t target) error {
			f, err := os.Open(t.Path)
			if err == nil {
				_, err = f.Read(make([]byte, 1))
				err = errors.Join(err, f.Close())
			}
			return err
		},
		"write": func(_ context.Context, t target) error {
			return os.WriteFile(t.Path, []byte("hostile"), 0o600)
		},
		"list": func(_ context.Context, t target) error {
			_, err := os.ReadDir(t.Path)
			return err
		},
		"connect": func(ctx context.Context, t target) error {
			network := "unix"
			if !filepath.IsAbs(t.Path) {
				network = "tcp"
			}
			c, err := (&net.Dialer{}).DialContext(ctx, network, t.Path)
			if err == nil {
				err = c.Close()
			}
			return err
		},
		"signal": func(_ context.Context, t target) error { return syscall.Kill(t.PID, 0) },
		"trace":  func(_ context.Context, t target) error { return syscall.PtraceAttach(t.PID) },
		"priority": func(_ context.Context, t target) error {
			return syscall.Setpriority(syscall.PRIO_PROCESS, t.PID, 1)
		},
		"processors": func(_ context.Context, t target) error {
			var all unix.CPUSet
			return errors.Join(unix.SchedGetaffinity(0, &all), unix.SchedSetaffinity(t.PID, &all))
		},
		"scheduling": func(_ context.Context, t target) error {
			return unix.SchedSetAttr(t.PID, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
		},
		"disk priority": func(_ context.Context, t target) error {
			return call(unix.SYS_IOPRIO_SET, 1, t.PID, 2<<13|7)
		},
		"queue":         func(context.Context, target) error { return call(unix.SYS_MSGGET, 1, 0, 0) },
		"semaphore":     func(context.Context, target) error { return call(unix.SYS_SEMGET, 1, 0, 0) },
		"shared memory": func(context.Context, target) error { return call(unix.SYS_SHMGET, 1, 0, 0) },
		"start": func(ctx context.Context, t target) error {
			var err error
			for range t.Count {
				err = errors.Join(err, exec.CommandContext(ctx, "/bin/true").Run())
			}
			return err
		},
		"flood": func(_ context.Context, t target) error {
			line := strings.Repeat("x", 1023) + "\n"
			for range t.Count {
				if _, err := os.Stderr.WriteString(line); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// call makes a system call; that what it names is not there is no refusal.
func call(number uintptr, a, b, c int) error {
	_, _, errno := syscall.Syscall(number, uintptr(a), uintptr(b), uintptr(c))
	if errno == 0 || errno == syscall.ENOENT {
		return nil
	}
	return errno
}

func try(ctx context.Context, t target) (outcome, error) {
	attack, known := attacks()[t.Attack]
	if !known {
		return outcome{}, fmt.Errorf("no attack %q", t.Attack)
	}
	if err := attack(ctx, t); err != nil {
		return outcome{Refused: err.Error()}, nil
	}
	return outcome{Done: true}, nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "hostile", Version: "1.0.0", Handlers: sdk.Handlers{"try": sdk.Func(try)}})
}
