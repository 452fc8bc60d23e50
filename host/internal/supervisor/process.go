package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/tasker-engine/tasker/host/internal/cgroup"
	"github.com/tasker-engine/tasker/host/internal/shim"
)

// outputGrace is how long the output of a dead process is read before its pipes are
// closed: a grandchild that left the process group may hold them open for ever.
const outputGrace = time.Second

// process is one plugin process: its pipes, its group, its end. It is started by the
// library through [libraryRunner], and watched and killed only by us.
type process struct {
	path     string
	dir      string // working directory
	env      []string
	forker   *forker
	output   *output
	onStart  func(pid int)
	lifeline *os.File // write end of the plugin's stdin; EOF tells it that the host is gone

	plan    *shim.Plan // what it may do, nil = what the host may
	program shim.Program
	group   *cgroup.Group

	// The library reads handshake; it sees the handshake line and nothing else.
	handshake      *io.PipeReader
	handshakeWrite *io.PipeWriter

	exited chan struct{} // closed when the process is reaped, or never started
	done   chan struct{} // closed when also its output is read to the end

	mu       sync.Mutex
	os       *os.Process
	platform platformState
	reaped   bool
	unwanted bool // killed before the start: do not start
	killed   bool // by us, while it ran
	starved  bool // the kernel ended it, for the memory of its cgroup
	state    *os.ProcessState
	inForce  []shim.Measure // what the shim said
}

func newProcess(path, dir string, env []string, f *forker, out *output, onStart func(pid int)) *process {
	r, w := io.Pipe()
	return &process{
		path: path, dir: dir, env: env, forker: f, output: out, onStart: onStart,
		handshake: r, handshakeWrite: w,
		exited: make(chan struct{}), done: make(chan struct{}),
	}
}

// start executes the binary with the environment that the library asks for on top of
// the scrubbed one. After an error the process counts as exited, or ends by itself.
func (p *process) start(libraryEnv []string) error {
	report, err := p.fork(append(append([]string(nil), p.env...), libraryEnv...))
	if err != nil {
		_ = p.handshakeWrite.Close() // the library's reader sees the end
		close(p.exited)
		close(p.done)
		return err
	}
	if report == nil {
		return nil
	}
	defer func() { _ = report.Close() }() // it was only read
	measures, err := shim.ReadReport(report)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inForce = measures
	return err
}

// fork starts the process. A shim's report is to be read from what it returns.
func (p *process) fork(env []string) (report *os.File, err error) {
	var pipes pipes
	if err := pipes.open(); err != nil {
		return nil, err
	}
	defer pipes.closeChild()
	defer func() {
		if err != nil {
			pipes.closeHost()
		}
	}()
	start := forkRequest{path: p.path, args: []string{p.path}, attr: &os.ProcAttr{
		Dir:   p.dir,
		Env:   env,
		Files: []*os.File{pipes.stdin.child, pipes.stdout.child, pipes.stderr.child},
		Sys:   processAttributes(),
	}}
	switch {
	case p.plan != nil:
		var child *os.File
		if report, child, err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("open pipes: %w", err)
		}
		defer func() { _ = child.Close() }()
		start.attr.Files = append(start.attr.Files, child, p.program.File)
		start.path, start.args, start.attr.Env, err = p.plan.Command(env)
	case p.program.File != nil && !p.program.Script:
		start.path = shim.ExecPath(p.program.File)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unwanted {
		err = cmp.Or(err, context.Canceled)
	}
	var proc *os.Process
	if err == nil {
		proc, err = p.forker.start(start)
	}
	if err != nil {
		_ = report.Close() // nil files return an error, which is fine
		return nil, err
	}
	p.os = proc
	p.platform = adopt(proc)
	p.lifeline = pipes.stdin.host
	p.onStart(proc.Pid)
	readers := new(sync.WaitGroup)
	readers.Go(func() { p.readStdout(pipes.stdout.host) })
	readers.Go(func() { p.output.read(sourceStderr, pipes.stderr.host) })
	go p.reap(proc, readers, pipes.stdout.host, pipes.stderr.host)
	return report, nil
}

// own gives the process one more directory of its own, before its start.
func (p *process) own(dir string) {
	if p.plan != nil {
		p.plan.Private = append(p.plan.Private, dir)
	}
}

// closeFile lets go of the executable, once it is executed or never will be.
func (p *process) closeFile() {
	if p.program.File != nil {
		_ = p.program.File.Close() // it was only read
	}
}

// measures returns what the shim said, nil without one.
func (p *process) measures() []shim.Measure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inForce
}

// readStdout passes the first line that has the shape of a handshake on to the
// library; every other line is the plugin's output.
func (p *process) readStdout(r io.Reader) {
	shaken := false
	readLines(r, func(line []byte, truncated bool) {
		if !shaken && !truncated && isHandshake(line) {
			shaken = true
			// The library may have given up already; then nobody reads.
			_, _ = p.handshakeWrite.Write(append(append([]byte(nil), line...), '\n'))
			return
		}
		p.output.line(sourceStdout, line, truncated)
	})
}

// reap waits for the process, kills what it left in its group and reads its output to
// the end.
func (p *process) reap(proc *os.Process, readers *sync.WaitGroup, outputs ...*os.File) {
	state, err := await(proc, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = killGroup(proc, p.platform)
		if p.group != nil {
			p.starved = p.group.OutOfMemory()
			p.group.Kill() // what went to a process group of its own
		}
		p.reaped = true
	})
	p.mu.Lock()
	if err == nil {
		p.state = state
	}
	p.platform.release()
	_ = p.lifeline.Close()
	p.mu.Unlock()
	_ = p.handshakeWrite.Close()
	close(p.exited)

	read := make(chan struct{})
	go func() { readers.Wait(); close(read) }()
	timer := time.NewTimer(outputGrace)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
		p.output.note("output is held open by a process that the plugin left behind; not read further")
	}
	for _, f := range outputs {
		_ = f.SetReadDeadline(time.Unix(1, 0)) // where it is supported, ends a blocked read
		_ = f.Close()
	}
	<-read
	p.output.close()
	close(p.done)
}

// closeLifeline tells the plugin that the host is done with it.
func (p *process) closeLifeline() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lifeline != nil {
		_ = p.lifeline.Close()
	}
}

// signal asks the group to do something; it does nothing after the end.
func (p *process) signal(how func(*os.Process, platformState) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.os != nil && !p.reaped {
		_ = how(p.os, p.platform) // it may be gone already, which is what we want
	}
}

// kill ends the whole group at once, or keeps the process from being started.
func (p *process) kill() {
	p.mu.Lock()
	p.unwanted = true
	p.killed = p.killed || p.os != nil && !p.reaped
	p.mu.Unlock()
	p.signal(func(proc *os.Process, state platformState) error {
		if p.group != nil {
			p.group.Kill()
		}
		return killGroup(proc, state)
	})
}

// dropGroup ends what is left in the cgroup of a process that has ended, and removes it.
func (p *process) dropGroup() error {
	if p.group == nil {
		return nil
	}
	return p.group.Remove(killLimit)
}

// count returns how many threads and processes it has; ok is false when it is not known. Of
// a process without a cgroup only its own threads are known.
func (p *process) count() (n int, ok bool) {
	if p.group == nil {
		used, ok := usageOf(p.pid())
		return used.Threads, ok
	}
	n, err := p.group.Count()
	return n, err == nil
}

// diedOfMemory reports whether the kernel ended it for the memory of its cgroup.
func (p *process) diedOfMemory() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starved
}

// killedByHost reports whether the process ended because we killed it.
func (p *process) killedByHost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// terminate asks the whole group to end.
func (p *process) terminate() { p.signal(terminateGroup) }

// yield has the process give way to the host and to handlers.
func (p *process) yield() { p.signal(yieldProcessor) }

// dump asks the process for its goroutines on stderr, after which a Go program exits.
func (p *process) dump() { p.signal(dumpProcess) }

// exit says how the process ended. Call it after exited.
func (p *process) exit() exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return describeExit(p.state)
}

// pid returns the process id, 0 before the start.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.os == nil {
		return 0
	}
	return p.os.Pid
}

// exit is how a process ended.
type exit struct {
	code   int    // -1 when a signal ended it
	signal string // "killed", empty = none
}

// killed reports whether SIGKILL ended it.
func (e exit) killed() bool { return e.signal == os.Kill.String() }

// String returns "exit status 2" or "signal: killed".
func (e exit) String() string {
	if e.signal != "" {
		return "signal: " + e.signal
	}
	return "exit status " + strconv.Itoa(e.code)
}

// pipes are the three pipes of a process.
type pipes struct{ stdin, stdout, stderr pipe }

type pipe struct{ host, child *os.File }

func (p *pipes) open() error {
	for _, end := range []struct {
		pipe      *pipe
		hostReads bool
	}{{&p.stdin, false}, {&p.stdout, true}, {&p.stderr, true}} {
		r, w, err := os.Pipe()
		if err != nil {
			p.closeHost()
			p.closeChild()
			return fmt.Errorf("open pipes: %w", err)
		}
		if end.hostReads {
			*end.pipe = pipe{host: r, child: w}
		} else {
			*end.pipe = pipe{host: w, child: r}
		}
	}
	return nil
}

func (p *pipes) closeHost() {
	for _, f := range []*os.File{p.stdin.host, p.stdout.host, p.stderr.host} {
		_ = f.Close() // nil files return an error, which is fine
	}
}

func (p *pipes) closeChild() {
	for _, f := range []*os.File{p.stdin.child, p.stdout.child, p.stderr.child} {
		_ = f.Close()
	}
}

// libraryRunner shows a process to go-plugin.
type libraryRunner struct {
	process *process
	env     []string
	failed  error // of the start, for the name of the phase
}

var _ runner.Runner = (*libraryRunner)(nil)

func (r *libraryRunner) Start(context.Context) error {
	r.failed = r.process.start(r.env)
	return r.failed
}

func (r *libraryRunner) Wait(context.Context) error {
	<-r.process.exited
	return nil
}

func (r *libraryRunner) Kill(context.Context) error {
	r.process.kill()
	return nil
}

func (r *libraryRunner) Stdout() io.ReadCloser { return r.process.handshake }

// Stderr is empty: the library's parser ends the host on some lines, so we read it.
func (r *libraryRunner) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

func (r *libraryRunner) Name() string { return filepath.Base(r.process.path) }

func (r *libraryRunner) ID() string {
	if pid := r.process.pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

func (r *libraryRunner) Diagnose(context.Context) string { return "" }

func (r *libraryRunner) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (r *libraryRunner) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}

// newLibraryRunner fits ClientConfig.RunnerFunc; cmd carries the library's environment.
func newLibraryRunner(p *process, cmd *exec.Cmd) *libraryRunner {
	return &libraryRunner{process: p, env: cmd.Env}
}
