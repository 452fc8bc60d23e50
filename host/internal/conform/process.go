package conform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is the plugin's program, as the host sees it: three pipes and an end.
type process struct {
	cmd      *exec.Cmd
	mark     string // in the environment of the process and of whatever it starts
	lifeline *os.File
	stdout   *capture
	stderr   *capture
	exited   chan struct{} // closed when it was waited for
	ended    chan struct{} // closed when its output was read, too
	waitErr  error
}

// spawn starts the program with exactly this environment.
func spawn(command []string, dir, mark string, env []string) (*process, error) {
	stdin, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdin.Close() }()
	p := &process{mark: mark, lifeline: lifeline, stdout: newCapture(), stderr: newCapture(), exited: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = &exec.Cmd{Path: command[0], Args: command, Dir: dir, Env: append(env, markKey+"="+mark), Stdin: stdin, SysProcAttr: ownGroup()}
	outputs := new(sync.WaitGroup)
	for _, out := range []struct {
		target  *io.Writer
		capture *capture
	}{{&p.cmd.Stdout, p.stdout}, {&p.cmd.Stderr, p.stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			p.closePipes()
			return nil, err
		}
		defer func() { _ = w.Close() }()
		*out.target = w
		out.capture.pipe = r
	}
	if err := p.cmd.Start(); err != nil {
		p.closePipes()
		return nil, err
	}
	outputs.Go(p.stdout.read)
	outputs.Go(p.stderr.read)
	go p.wait(outputs)
	return p, nil
}

// markKey is the environment variable by which children are found.
const markKey = "TASKER_VERIFY"

// outputGrace is how long the output of a process that has ended is read: a child may
// hold it open.
const outputGrace = 2 * time.Second

func (p *process) wait(outputs *sync.WaitGroup) {
	p.waitErr = p.cmd.Wait()
	close(p.exited)
	read := make(chan struct{})
	go func() { outputs.Wait(); close(read) }()
	timer := time.NewTimer(outputGrace)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
		p.stdout.close()
		p.stderr.close()
		<-read
	}
	p.closePipes()
	close(p.ended)
}

func (p *process) closePipes() {
	_ = p.lifeline.Close()
	p.stdout.close()
	p.stderr.close()
}

// cutLifeline tells the plugin that the host is gone, by standard input alone.
func (p *process) cutLifeline() { _ = p.lifeline.Close() }

// vanish closes all pipes at once, as the death of a host does.
func (p *process) vanish() { p.closePipes() }

// kill ends the process, and what is left of its group.
func (p *process) kill() {
	_ = killGroup(p.cmd.Process)
	<-p.ended
}

// awaitExit reports whether the process has ended within d.
func (p *process) awaitExit(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-timer.C:
		return false
	}
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// exit says how the process ended. Call it after exited.
func (p *process) exit() string { return p.cmd.ProcessState.String() }

// exitCode is that of a process that has ended, -1 after a signal.
func (p *process) exitCode() int { return p.cmd.ProcessState.ExitCode() }

// Output that is kept of each pipe.
const (
	keptOutput = 16 << 20
	longLine   = 64 << 10 // where hosts cut lines
)

// capture reads a pipe to its end and keeps the first part.
type capture struct {
	pipe *os.File

	mu    sync.Mutex
	buf   bytes.Buffer
	total int
	first chan string // the first line, once
	told  bool
}

func newCapture() *capture { return &capture{first: make(chan string, 1)} }

func (c *capture) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.pipe.Read(buf)
		c.add(buf[:n])
		if err != nil {
			return
		}
	}
}

func (c *capture) add(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += len(b)
	c.buf.Write(b[:min(len(b), max(keptOutput-c.buf.Len(), 0))])
	if c.told {
		return
	}
	if line, _, ok := bytes.Cut(c.buf.Bytes(), []byte("\n")); ok {
		c.told = true
		c.first <- string(bytes.TrimSuffix(line, []byte("\r")))
	}
}

func (c *capture) close() {
	if c.pipe != nil {
		_ = c.pipe.Close()
	}
}

// String returns what was kept.
func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// lines returns what was kept, by lines, without empty ones.
func (c *capture) lines() (lines []string) {
	for line := range bytes.Lines([]byte(c.String())) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	return lines
}

// tail is the end of what a process printed, for an error.
func (c *capture) tail() string {
	const most = 5
	lines := c.lines()
	var text bytes.Buffer
	for i, line := range lines[max(len(lines)-most, 0):] {
		if i > 0 {
			text.WriteString(" | ")
		}
		text.WriteString(line)
	}
	return cut(text.String())
}

// errNoProgram says that there is no program to start.
var errNoProgram = errors.New("the program cannot be started")

func spawnError(path string, err error) error {
	return fmt.Errorf("%w: %s: %w", errNoProgram, path, err)
}
