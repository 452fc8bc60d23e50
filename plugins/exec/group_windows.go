package main

import (
	"context"
	"os/exec"
	"strconv"
	"syscall"
)

// shell is the argument list that lets the shell run a line.
func shell(line string) []string { return []string{"cmd.exe", "/C", line} }

// ownGroup gives the command a process group of its own.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate ends the command and its children: there is no way to ask.
func terminate(cmd *exec.Cmd) error {
	kill(cmd)
	return nil
}

// kill ends the command and its children. There may be nothing left, which is no error.
func kill(cmd *exec.Cmd) {
	pid := strconv.Itoa(cmd.Process.Pid)
	_ = exec.CommandContext(context.Background(), "taskkill", "/T", "/F", "/PID", pid).Run()
}
