package supervisor

import (
	"errors"
	"os"
	"runtime"
)

// errForkerStopped is returned for starts after the end.
var errForkerStopped = errors.New("supervisor has stopped")

// forker starts every process of a supervisor from one goroutine that is locked to
// its thread: on Linux the parent-death signal follows the thread that forked, not
// the process, so a child must never be forked from a thread that may end before it.
type forker struct {
	requests chan forkRequest
	done     chan struct{}
}

type forkRequest struct {
	path  string
	args  []string
	attr  *os.ProcAttr
	reply chan<- forkReply
}

type forkReply struct {
	process *os.Process
	err     error
}

func newForker() *forker {
	return &forker{requests: make(chan forkRequest), done: make(chan struct{})}
}

// run serves requests until stop. It must outlive every process that it started. The
// thread is never unlocked, so it ends with the goroutine and takes its private umask
// with it.
func (f *forker) run() {
	runtime.LockOSThread()
	prepareForkThread()
	for {
		select {
		case r := <-f.requests:
			p, err := os.StartProcess(r.path, r.args, r.attr)
			r.reply <- forkReply{process: p, err: err}
		case <-f.done:
			return
		}
	}
}

// start starts a process from the locked thread.
func (f *forker) start(request forkRequest) (*os.Process, error) {
	reply := make(chan forkReply, 1)
	request.reply = reply
	select {
	case f.requests <- request:
	case <-f.done:
		return nil, errForkerStopped
	}
	r := <-reply
	return r.process, r.err
}

// stop ends run; call it once, when every process was reaped.
func (f *forker) stop() { close(f.done) }
