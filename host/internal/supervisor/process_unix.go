//go:build unix

package supervisor

import (
	"os"
	"syscall"
)

// platformState is what a platform keeps per process beside its id.
type platformState struct{}

func (platformState) release() {}

// adopt is called right after the start; the process group was made by the fork.
func adopt(*os.Process) platformState { return platformState{} }

func killGroup(p *os.Process, _ platformState) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

func terminateGroup(p *os.Process, _ platformState) error {
	return syscall.Kill(-p.Pid, syscall.SIGTERM)
}

// yieldedNice is the nice value of processes that give way to others.
const yieldedNice = 10

// yieldProcessor has the process, with all its threads and what it starts, get the
// processor when others do not want it. It is no error where that is not allowed.
func yieldProcessor(p *os.Process, _ platformState) error {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, p.Pid, yieldedNice)
	return nil
}

func dumpProcess(p *os.Process, _ platformState) error { return syscall.Kill(p.Pid, syscall.SIGQUIT) }

func describeExit(state *os.ProcessState) exit {
	if state == nil {
		return exit{code: -1, signal: "unknown"}
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exit{code: -1, signal: ws.Signal().String()}
	}
	return exit{code: state.ExitCode()}
}
