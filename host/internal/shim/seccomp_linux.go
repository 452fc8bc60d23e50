//go:build linux && (amd64 || arm64)

package shim

import (
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data; arguments are 64 bits wide, and their lower halves come
// first on the processors that are built for.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
	argSize      = 8
)

func argument(n uint32) uint32 { return offsetArgs + n*argSize }

// answer is what a filter says to a system call.
type answer uint32

const allow = answer(unix.SECCOMP_RET_ALLOW)

func fail(errno unix.Errno) answer {
	return answer(unix.SECCOMP_RET_ERRNO | uint32(errno)) //nolint:gosec // a small number
}

func probeSeccomp() (ok bool, why string) {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))) //nolint:gosec // a system call
	if errno != 0 {
		return false, "this kernel cannot filter system calls"
	}
	return true, ""
}

// seccomp refuses the system calls that plugins were not granted, or that no plugin needs
// and that lead around what else is refused.
func (p *Plan) seccomp() error {
	raw, err := bpf.Assemble(p.filter())
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}                                         //nolint:gosec // a few hundred at most
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))) //nolint:gosec // a system call
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// filter returns the program that answers system calls.
func (p *Plan) filter() []bpf.Instruction {
	code := []bpf.Instruction{
		// Numbers mean something only on the machine that they were written for.
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(fail(unix.ENOSYS))},
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: foreignNumbers, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(fail(unix.ENOSYS))},
	}
	for _, number := range never() {
		code = on(code, number, answers(fail(unix.EPERM)))
	}
	for _, number := range hidden() {
		code = on(code, number, answers(fail(unix.ENOSYS)))
	}
	// Limits of the host could end it, and a terminal that it has would take what is typed.
	code = on(code, unix.SYS_PRLIMIT64, oneOf(0, allow, fail(unix.EPERM), 0))
	code = on(code, unix.SYS_IOCTL, oneOf(1, fail(unix.EPERM), allow, unix.TIOCSTI, unix.TIOCLINUX))
	for _, number := range schedulers() {
		code = on(code, number, oneOf(0, allow, fail(unix.EPERM), 0))
	}
	code = on(code, unix.SYS_SETPRIORITY, itself(unix.PRIO_PROCESS))
	code = on(code, unix.SYS_IOPRIO_SET, itself(ioprioProcess))
	if !p.unrestricted() {
		for _, number := range queues() {
			code = on(code, number, answers(fail(unix.EPERM)))
		}
	}
	if p.Subprocess {
		// Namespaces would give a process capabilities again, if only there.
		code = on(code, unix.SYS_CLONE, ifBits(0, newNamespaces, fail(unix.EPERM), allow))
	} else {
		for _, number := range forks() {
			code = on(code, number, answers(fail(unix.EPERM)))
		}
		code = on(code, unix.SYS_CLONE, ifBits(0, unix.CLONE_THREAD, allow, fail(unix.EPERM)))
	}
	if p.network() == networkNone {
		code = on(code, unix.SYS_CONNECT, answers(fail(unix.EACCES)))
		code = on(code, unix.SYS_SOCKET, streamSockets())
		code = on(code, unix.SYS_SOCKETPAIR, streamSockets()) // one of a pair can send to others, too
	} else {
		code = on(code, unix.SYS_SOCKET, families(unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK))
	}
	return append(code, bpf.RetConstant{Val: uint32(allow)})
}

// on appends what answers one system call. Its parts end in an answer.
func on(code []bpf.Instruction, number uintptr, then []bpf.Instruction) []bpf.Instruction {
	code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(number), SkipFalse: uint8(len(then))}) //nolint:gosec // small numbers
	return append(code, then...)
}

func answers(a answer) []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: uint32(a)}} }

// ifBits answers by whether an argument has one of some bits.
func ifBits(arg, bits uint32, then, otherwise answer) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: argument(arg), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: bits, SkipFalse: 1},
		bpf.RetConstant{Val: uint32(then)},
		bpf.RetConstant{Val: uint32(otherwise)},
	}
}

// oneOf answers by whether the lower half of an argument, which is all that the kernel reads
// of those that this is for, is one of some values.
func oneOf(arg uint32, then, otherwise answer, values ...uint32) []bpf.Instruction {
	code := []bpf.Instruction{bpf.LoadAbsolute{Off: argument(arg), Size: 4}}
	for _, value := range values {
		code = append(code,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: 1},
			bpf.RetConstant{Val: uint32(then)})
	}
	return append(code, bpf.RetConstant{Val: uint32(otherwise)})
}

// ioprioProcess has ioprio_set(2) mean a process, see linux/ioprio.h.
const ioprioProcess = 1

// itself allows a call whose first two arguments name a process, of this kind, if that is the
// caller. Who wants to change another thread of its own has to do so in that thread: the
// filter cannot tell them from those of others.
func itself(kind uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: argument(0), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: kind, SkipTrue: 3},
		bpf.LoadAbsolute{Off: argument(1), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(allow)},
		bpf.RetConstant{Val: uint32(fail(unix.EPERM))},
	}
}

// families allows sockets of some families.
func families(allowed ...uint32) []bpf.Instruction {
	return oneOf(0, allow, fail(unix.EAFNOSUPPORT), allowed...)
}

// streamSockets allows the sockets over which the host talks with the plugin. Others could
// send without connecting.
func streamSockets() []bpf.Instruction {
	const kinds = 0xf // the rest of the argument are flags
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: argument(0), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipFalse: 4},
		bpf.LoadAbsolute{Off: argument(1), Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: kinds},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_STREAM, SkipFalse: 1},
		bpf.RetConstant{Val: uint32(allow)},
		bpf.RetConstant{Val: uint32(fail(unix.EACCES))},
	}
}

// newNamespaces are the flags of clone(2) that make namespaces.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// never are system calls that no plugin needs: they reach into other processes, into the
// kernel, or out of what a process sees of the machine.
func never() []uintptr {
	return []uintptr{
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
		unix.SYS_PERF_EVENT_OPEN, unix.SYS_BPF, unix.SYS_USERFAULTFD,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR,
		unix.SYS_OPEN_BY_HANDLE_AT,
	}
}

// schedulers are system calls that say when and where a process runs; their first argument
// is the process, 0 = the caller.
func schedulers() []uintptr {
	return []uintptr{unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR}
}

// queues are the system calls by which processes of one user share what is no file: it has
// a number that can be guessed, so refusing to open it would not do.
func queues() []uintptr {
	return []uintptr{
		unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL,
		unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL,
		unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL,
		unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
	}
}

// hidden are system calls whose arguments a filter cannot see, as if the kernel were too old
// for them: programs then take the ones from before.
func hidden() []uintptr {
	return []uintptr{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}
}
