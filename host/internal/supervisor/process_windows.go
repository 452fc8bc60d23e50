package supervisor

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// platformState holds the job object of a process: everything it starts belongs to
// the job, and ends when the last handle is closed, which the end of the host does too.
type platformState struct{ job windows.Handle }

func (s platformState) release() {
	if s.job != 0 {
		_ = windows.CloseHandle(s.job)
	}
}

// adopt puts a process into a job of its own. Without one (an old nested job forbids
// it) only the process itself can be killed.
func adopt(p *os.Process) platformState {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return platformState{}
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	size := uint32(unsafe.Sizeof(info))
	if _, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), size); err != nil {
		_ = windows.CloseHandle(job)
		return platformState{}
	}
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(job, h)
		_ = windows.CloseHandle(h)
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return platformState{}
	}
	return platformState{job: job}
}

func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

func prepareForkThread() {}

// await reaps the process and calls dead, which ends what is left in its job.
func await(p *os.Process, dead func()) (*os.ProcessState, error) {
	state, err := p.Wait()
	dead()
	return state, err
}

func killGroup(p *os.Process, s platformState) error {
	if s.job != 0 {
		return windows.TerminateJobObject(s.job, 1)
	}
	return p.Kill()
}

// terminateGroup has no gentle form here: the lifeline was the request.
func terminateGroup(*os.Process, platformState) error { return nil }

// yieldProcessor has no form here.
func yieldProcessor(*os.Process, platformState) error { return nil }

// dumpProcess has no form here.
func dumpProcess(*os.Process, platformState) error { return nil }

func describeExit(state *os.ProcessState) exit {
	if state == nil {
		return exit{code: -1, signal: "unknown"}
	}
	return exit{code: state.ExitCode()}
}
