package shim

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	// foreignNumbers are those of the x32 interface, under which every call has a second name.
	foreignNumbers = 0x40000000
)

// forks are the system calls that always make a process.
func forks() []uintptr { return []uintptr{unix.SYS_FORK, unix.SYS_VFORK} }
