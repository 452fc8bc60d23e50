package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tasker-engine/tasker/host/task"
)

// frameTime is the shortest time between two drawings; clockTime is how often the
// elapsed times move while nothing else does.
const (
	frameTime = 100 * time.Millisecond
	clockTime = time.Second
)

// progress shows a task while it runs. update may be called from any goroutine; close
// shows the last state and ends.
type progress interface {
	update(v *task.View)
	close()
}

// silent shows nothing.
type silent struct{}

func (silent) update(*task.View) {}
func (silent) close()            {}

// screen is a terminal that is drawn on.
type screen struct {
	w      io.Writer
	size   func() (width, height int)
	colour bool
}

// isTerminal reports whether somebody sits at a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminal returns the screen behind a stream, nil when it is none.
func (a *app) terminal(w io.Writer) *screen {
	if o, ok := w.(*answer); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return nil
	}
	kind, _ := a.lookup("TERM")
	if kind == "dumb" {
		return nil
	}
	_, plain := a.lookup("NO_COLOR")
	return &screen{w: f, colour: !plain, size: func() (int, int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}}
}

// live draws the tree of a task on a terminal, over and over in the same place. It is
// also a writer: what is written (the host's log) scrolls by above the tree.
type live struct {
	screen *screen
	now    func() time.Time
	quit   chan struct{}
	done   chan struct{}
	wake   chan struct{} // holds one

	mu    sync.Mutex
	view  *task.View // the newest
	tree  *tree
	above bytes.Buffer // whole and partial lines to print above the tree
	lines int          // drawn now
}

var (
	_ progress  = (*live)(nil)
	_ io.Writer = (*live)(nil)
)

func newLive(s *screen, now func() time.Time) *live {
	l := &live{screen: s, now: now, quit: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go l.run() // ends with close
	return l
}

func (l *live) update(v *task.View) {
	l.mu.Lock()
	if l.tree == nil {
		l.tree = newTree(v)
	}
	l.view = v
	l.mu.Unlock()
	l.ring()
}

// Write implements [io.Writer].
func (l *live) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.above.Write(p)
	l.mu.Unlock()
	l.ring()
	return len(p), nil
}

func (l *live) ring() {
	select {
	case l.wake <- struct{}{}:
	default: // a drawing is due anyway
	}
}

func (l *live) close() {
	close(l.quit)
	<-l.done
}

// run draws when something has changed, at most once per frame time, and once per clock
// time for the elapsed times.
func (l *live) run() {
	defer close(l.done)
	clock := time.NewTicker(clockTime)
	defer clock.Stop()
	for {
		select {
		case <-l.wake:
		case <-clock.C:
		case <-l.quit:
			l.draw(true)
			return
		}
		l.draw(false)
		select {
		case <-time.After(frameTime):
		case <-l.quit:
			l.draw(true)
			return
		}
	}
}

// maxLastRows is how many rows the last drawing has at least, if there are as many: it
// may scroll.
const maxLastRows = 100

// draw replaces what is drawn, in one write.
func (l *live) draw(last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	width, height := l.screen.size()
	var b bytes.Buffer
	if l.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.lines) // up to the first line
	}
	b.WriteString("\r")
	for {
		line, err := l.above.ReadString('\n')
		if err != nil && !last {
			rest := line
			l.above.Reset()
			l.above.WriteString(rest) // a partial line waits for its end
			break
		}
		if line != "" {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\x1b[K\n")
		}
		if err != nil {
			break
		}
	}
	lines := l.render(width-1, height-1, last)
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J") // what an earlier, longer drawing left
	l.lines = len(lines)
	_, _ = l.screen.w.Write(b.Bytes()) // a terminal that is gone needs no drawing
}

// render returns the lines of the drawing.
func (l *live) render(width, height int, last bool) []string {
	if l.view == nil {
		return nil
	}
	height = max(height-1, 1)
	if last {
		height = max(height, maxLastRows)
	}
	now := l.now()
	lines := []string{l.paint(taskColour(l.view.Status), cut(headline(l.view, now), width))}
	for _, d := range l.tree.draw(l.view, now, width, height) {
		lines = append(lines, l.paint(stepColour(d.status), d.text))
	}
	return lines
}

// headline is the task in one line.
func headline(v *task.View, now time.Time) string {
	done, steps := 0, make([]int, len(v.Steps))
	for i := range v.Steps {
		steps[i] = i
		if v.Steps[i].Status.Terminal() {
			done++
		}
	}
	end := now
	if !v.CompletedAt.IsZero() {
		end = v.CompletedAt
	}
	return fmt.Sprintf("%s  %s  %s of %s  %s  %s", v.ID, v.Status,
		number(done), plural(len(v.Steps), "step"), seconds(end.Sub(v.CreatedAt)), v.Template)
}

// The colours; what they say is also said in words.
const (
	plainColour = ""
	red         = "31"
	green       = "32"
	yellow      = "33"
	cyan        = "36"
	grey        = "90"
)

func stepColour(s task.StepStatus) string {
	switch s {
	case task.StepError, task.StepWaiting:
		return red
	case task.StepComplete:
		return green
	case task.StepWaitingForRetry, task.StepCancelled:
		return yellow
	case task.StepInProgress:
		return cyan
	case task.StepResolvedManually:
		return plainColour
	default:
		return grey
	}
}

func taskColour(s task.Status) string {
	switch s {
	case task.Error:
		return red
	case task.Complete:
		return green
	case task.Cancelled, task.Paused:
		return yellow
	default:
		return plainColour
	}
}

func (l *live) paint(colour, text string) string {
	if !l.screen.colour || colour == plainColour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
