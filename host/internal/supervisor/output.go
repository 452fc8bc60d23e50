package supervisor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/secrets"
)

// source is where a log line comes from.
type source string

// The sources of log lines.
const (
	sourceStdout  source = "stdout"
	sourceStderr  source = "stderr"
	sourceAttempt source = "attempt" // logged through the handler's logger
	sourceHost    source = "host"    // Tasker's own remarks about the plugin

	sourceSubscriber source = "subscriber" // logged through the subscriber's logger
)

// Limits of what is kept of a process's output for reports.
const (
	keptStderr  = 200      // last lines of stderr in a crash report
	keptPrinted = 20       // last lines of any output in the error of a failed start
	keptLine    = 4 << 10  // bytes of each of these lines
	keptTrace   = 64 << 10 // bytes of a panic trace or dump
)

// output takes everything that one process prints: it goes to the plugin's log, and
// its last lines are kept for reports.
type output struct {
	instance string
	log      *pluginLog

	stdout, stderr *lineWriter // what the library streams back from a Go plugin's os.Stdout and os.Stderr

	mu      sync.Mutex
	prints  limiter
	logs    limiter
	last    ring // stderr
	printed ring // everything
	trace   lastWords

	hide atomic.Pointer[secrets.Redactor] // holds nil when the plugin was given no secret
}

// redact hides secrets in everything that comes from now on.
func (o *output) redact(r *secrets.Redactor) { o.hide.Store(r) }

func newOutput(instance string, log *pluginLog) *output {
	o := &output{
		instance: instance, log: log, prints: newLimiter(printedPerSecond, printedBurst), logs: newLimiter(loggedPerSecond, loggedBurst),
		last: ring{limit: keptStderr}, printed: ring{limit: keptPrinted},
	}
	o.stdout = newLineWriter(func(line []byte, truncated bool) { o.line(sourceStdout, line, truncated) })
	o.stderr = newLineWriter(func(line []byte, truncated bool) { o.line(sourceStderr, line, truncated) })
	return o
}

// read takes lines from r until it ends.
func (o *output) read(from source, r io.Reader) {
	readLines(r, func(line []byte, truncated bool) { o.line(from, line, truncated) })
}

// line takes one line that the process printed.
func (o *output) line(from source, line []byte, truncated bool) {
	p := parseLine(line)
	hide := o.hide.Load()
	p.message, p.fields = hide.Text(p.message), hide.JSON(p.fields)
	if truncated {
		p.message += " [cut at 64 KiB]"
	}
	o.mu.Lock()
	kept := cut(p.message, keptLine)
	o.printed.add(kept)
	if from == sourceStderr {
		o.last.add(kept)
		o.trace.add(kept)
	}
	ok, suppressed := o.prints.allow(time.Now())
	o.mu.Unlock()
	o.noteSuppressed(suppressed, printedPerSecond)
	if !ok {
		return
	}
	level := p.level
	if level == "" {
		level = "info"
		if from == sourceStdout {
			level = "warn" // stdout belongs to the handshake; whoever prints there should know
		}
	}
	o.log.write(LogLine{At: time.Now().UTC(), Level: level, Source: string(from), Instance: o.instance, Message: p.message, Fields: p.fields})
}

// note adds a remark of the host to the plugin's log.
func (o *output) note(message string) {
	o.log.write(LogLine{At: time.Now().UTC(), Level: "warn", Source: string(sourceHost), Instance: o.instance, Message: message})
}

// noteSuppressed tells how many lines were held back, if any.
func (o *output) noteSuppressed(n, perSecond int) {
	if n > 0 {
		o.note(fmt.Sprintf("%d lines suppressed: more than %d per second", n, perSecond))
	}
}

// attempt adds a line that an attempt logged.
func (o *output) attempt(about logkeys.About, level, message string, fields json.RawMessage) {
	o.logged(sourceAttempt, about, level, message, fields)
}

// logged adds a line that came over a stream, without secrets.
func (o *output) logged(from source, about logkeys.About, level, message string, fields json.RawMessage) {
	o.mu.Lock()
	ok, suppressed := o.logs.allow(time.Now())
	o.mu.Unlock()
	o.noteSuppressed(suppressed, loggedPerSecond)
	if !ok {
		return
	}
	if level = knownLevel(level); level == "" {
		level = "info"
	}
	if len(fields) > maxLine || !json.Valid(fields) {
		fields = nil
	}
	o.log.write(LogLine{
		At: time.Now().UTC(), Level: level, Source: string(from), Instance: o.instance,
		About: about, Message: cut(message, maxLine), Fields: fields,
	})
}

// close emits what is unfinished; the process is dead.
func (o *output) close() {
	o.stdout.flush()
	o.stderr.flush()
	o.mu.Lock()
	prints, logs := o.prints.suppressed, o.logs.suppressed
	o.prints.suppressed, o.logs.suppressed = 0, 0
	o.mu.Unlock()
	o.noteSuppressed(prints, printedPerSecond)
	o.noteSuppressed(logs, loggedPerSecond)
}

// report returns the last lines of stderr and the panic trace or dump among them.
func (o *output) report() (stderr []string, panicTrace string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last.lines(), o.trace.String()
}

// panicked returns the first line of a panic, empty when there was none.
func (o *output) panicked() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	first, _, _ := strings.Cut(o.trace.String(), "\n")
	if strings.HasPrefix(first, "panic: ") || strings.HasPrefix(first, "fatal error: ") {
		return first
	}
	return ""
}

// said returns the last lines that the process printed anywhere.
func (o *output) said() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.printed.lines()
}

// ring keeps the last lines.
type ring struct {
	limit int
	kept  []string
	next  int
}

func (r *ring) add(line string) {
	if len(r.kept) < r.limit {
		r.kept = append(r.kept, line)
		return
	}
	r.kept[r.next] = line
	r.next = (r.next + 1) % r.limit
}

func (r *ring) lines() []string {
	return append(append([]string(nil), r.kept[r.next:]...), r.kept[:r.next]...)
}

// lastWords keeps a Go runtime's last words: everything from the last line that may start
// them.
type lastWords struct{ text strings.Builder }

func (t *lastWords) add(line string) {
	if startsTrace(line) {
		t.text.Reset() // what looked like one before was not the end of the process
	} else if t.text.Len() == 0 {
		return
	}
	if t.text.Len()+len(line) < keptTrace {
		t.text.WriteString(line)
		t.text.WriteByte('\n')
	}
}

// String returns the trace; what names no goroutine is none.
func (t *lastWords) String() string {
	if !strings.Contains(t.text.String(), "\ngoroutine ") {
		return ""
	}
	return strings.TrimSuffix(t.text.String(), "\n")
}

func startsTrace(line string) bool {
	for _, start := range []string{"panic: ", "fatal error: ", "SIGQUIT: quit", "SIGSEGV: ", "SIGABRT: ", "runtime: goroutine stack exceeds", "unexpected fault address"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}
