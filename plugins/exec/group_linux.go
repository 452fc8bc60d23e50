package main

import "syscall"

// withParent has the kernel kill the command when the plugin ends: its group is not the plugin's, which the host
// kills.
func withParent(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	attr.Pdeathsig = syscall.SIGKILL
	return attr
}
