//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// shell is the argument list that lets the shell run a line.
func shell(line string) []string { return []string{"/bin/sh", "-c", line} }

// ownGroup gives the command a process group of its own, and an end when the plugin ends, where the system can.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = withParent(&syscall.SysProcAttr{Setpgid: true})
}

// terminate asks the command's group to end.
func terminate(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

// kill ends what is left of the command's group. There may be nothing left, which is no error.
func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
