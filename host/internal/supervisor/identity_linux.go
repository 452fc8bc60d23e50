package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// maxSocketPath is the longest path of a unix socket in bytes.
const maxSocketPath = 107

// identify reads the start time of a process in clock ticks since the boot, and the
// id of the boot. A zombie counts as gone.
func identify(pid int) (identity, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return identity{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	if err != nil {
		return identity{}, err
	}
	// The second field is the name in parentheses and may hold anything; the third is
	// the state, the 22nd the start time.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, start = 0, 19
	if len(fields) <= start || string(fields[state]) == "Z" {
		return identity{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, err
	}
	return identity{PID: pid, Start: string(fields[start]), Boot: strings.TrimSpace(string(boot))}, nil
}

// killLeftover ends the group of a process that a dead host started.
func killLeftover(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }
