//go:build unix && !linux

package main

import "syscall"

// withParent changes nothing: the system cannot tie a command's life to the plugin's.
func withParent(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }
