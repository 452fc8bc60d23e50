package cli

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// paper is a terminal that remembers each write.
type paper struct {
	mu     sync.Mutex
	writes []string
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = append(p.writes, string(b))
	return len(b), nil
}

func (p *paper) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.writes
	p.writes = nil
	return w
}

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &paper{}
		l := newLive(&screen{w: p, size: func() (int, int) { return 80, 24 }}, time.Now)
		v := &task.View{
			Spec: task.Spec{ID: "X", CreatedAt: time.Now()}, Status: task.InProgress,
			Steps: []task.StepView{step("a", task.StepInProgress), step("b", task.StepPending, "a")},
		}
		v.Steps[0].StartedAt = time.Now()
		l.update(v)
		synctest.Wait()
		first := p.take()
		if len(first) != 1 || !strings.Contains(first[0], "> a  in_progress  0.0s") {
			t.Fatalf("first drawing %q, want one write with the step", first)
		}

		// A burst of changes is few drawings, each in one write, over the last one.
		for range 1000 {
			l.update(v)
		}
		<-time.After(frameTime)
		synctest.Wait()
		burst := p.take()
		if len(burst) != 1 || !strings.HasPrefix(burst[0], "\x1b[3A\r") {
			t.Fatalf("a burst was drawn as %q, want once, three lines up", burst)
		}

		// Nothing happens: only the clock moves, once a second.
		<-time.After(10 * time.Second)
		synctest.Wait()
		if n := len(p.take()); n < 9 || n > 11 {
			t.Errorf("%d drawings in ten idle seconds, want about ten", n)
		}

		// The log scrolls by above; a partial line waits for its end.
		for _, text := range []string{"[WARN] disk", " is full\nnext"} {
			if _, err := l.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(clockTime)
		synctest.Wait()
		logged := strings.Join(p.take(), "")
		if !strings.Contains(logged, "\r[WARN] disk is full\x1b[K\nX  ") || strings.Contains(logged, "next") {
			t.Errorf("logged as %q", logged)
		}

		v.Steps[0].Status, v.Steps[0].CompletedAt, v.Status = task.StepComplete, time.Now(), task.Complete
		l.update(v)
		l.close()
		last := strings.Join(p.take(), "")
		if !strings.Contains(last, "next\x1b[K\n") || !strings.Contains(last, "+ a  complete") {
			t.Errorf("last drawing %q, want what was left of the log and the end", last)
		}
	})
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	o := &answer{w: &out}
	p := &plain{print: func(format string, args ...any) { o.printf(format+"\n", args...) }, now: func() time.Time { return begin }}
	v := &task.View{Spec: task.Spec{ID: "X", CreatedAt: begin}, Status: task.Pending, Steps: []task.StepView{step("a", task.StepPending)}}
	p.update(v)
	p.update(v) // nothing new
	v.Status, v.Steps[0] = task.InProgress, step("a", task.StepInProgress)
	p.update(v)
	v.Status, v.Steps[0], v.CompletedAt = task.Complete, step("a", task.StepComplete), begin.Add(2*time.Second)
	p.update(v)
	want := `task X  /@  1 step
03:04:05Z  > a: in_progress  0.0s
03:04:05Z  task in_progress
03:04:05Z  + a: complete  1.5s
03:04:05Z  task complete after 2.0s
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
