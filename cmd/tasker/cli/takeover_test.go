//go:build unix

package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// chainOfThree is what runs while hosts take over from one another.
const chainOfThree = `
name: chain
version: 1.0.0
steps:
  - {name: a, handler: steady/work}
  - {name: b, handler: steady/work, depends_on: [a]}
  - {name: c, handler: steady/work, depends_on: [b]}
`

// longSleep keeps a host from ending.
const longSleep = `
name: long
version: 1.0.0
steps:
  - {name: work, handler: mock/sleep, config: {for: 1h}}
`

// shop is a home in which one host after the other serves.
type shop struct {
	t    *testing.T
	home string
	env  []string
}

func newShop(t *testing.T, template string, plugins ...string) *shop {
	t.Helper()
	dir, err := os.MkdirTemp("", "tasker-test") //nolint:usetesting // t.TempDir is too deep for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &shop{t: t, home: filepath.Join(dir, "home")}
	templates := filepath.Join(dir, "templates")
	if err := os.Mkdir(templates, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(templates, "template.yaml"), []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir) // where clients of this process look for sockets, too
	s.env = append(os.Environ(), "TMPDIR="+dir, "TASKER_HOME="+s.home, "TASKER_TEMPLATE_DIRS="+templates,
		"TASKER_PLUGIN_DIRS="+buildPlugins(t, plugins...))
	return s
}

// serving is a process of `tasker serve`.
type serving struct {
	cmd   *exec.Cmd
	lines chan string // of its log, until it ends
}

// serve starts a host. What it logs is told when the test fails.
func (s *shop) serve(args ...string) *serving {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "tasker", append([]string{"serve"}, args...)...)
	cmd.Env, cmd.Dir = s.env, s.t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	p := &serving{cmd: cmd, lines: make(chan string, 1<<14)}
	var all bytes.Buffer
	read := make(chan struct{})
	go func() { // ends with the process
		defer close(read)
		defer close(p.lines)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			all.WriteString(lines.Text() + "\n")
			p.lines <- lines.Text()
		}
	}()
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			<-read
			_ = cmd.Wait()
		}
		if s.t.Failed() {
			s.t.Logf("process %d:\n%s", cmd.Process.Pid, all.String())
		}
	})
	return p
}

// says waits for a line of the log.
func (s *shop) says(p *serving, text string) {
	s.t.Helper()
	late := time.After(patience)
	for { // lines before it are passed over
		select {
		case line, open := <-p.lines:
			if !open {
				s.t.Fatalf("process %d ended and did not say %q", p.cmd.Process.Pid, text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			s.t.Fatalf("process %d did not say %q within %s", p.cmd.Process.Pid, text, patience)
		}
	}
}

// ended waits for the end of a process.
func (s *shop) ended(p *serving) error {
	for range p.lines {
	}
	return p.cmd.Wait()
}

// call asks the host that is there, until f does not find it gone.
func (s *shop) call(f func(context.Context, *host.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		client, err := host.Dial(ctx, s.home)
		if err == nil {
			err = f(ctx, client)
			_ = client.Close() // it was answered
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return err
		}
	}
}

// load creates tasks until stop is called, which returns how many there are. Each creation
// has a key, so that one whose answer was lost with a host is not a second task.
func (s *shop) load() (stop func() int) {
	var wg sync.WaitGroup
	over := make(chan struct{})
	counts := make([]int, 4)
	for i := range counts {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				err := s.call(func(ctx context.Context, c *host.Client) error {
					_, err := c.CreateTask(ctx, task.Request{Template: "chain", IdempotencyKey: fmt.Sprintf("%d-%d", i, counts[i])})
					return err
				})
				if err != nil {
					s.t.Errorf("create: %v", err)
					return
				}
				counts[i]++
			}
		})
	}
	return func() (sum int) {
		close(over)
		wg.Wait()
		for _, n := range counts {
			sum += n
		}
		return sum
	}
}

// settled waits until so many tasks are complete and the subscriber has their events.
func (s *shop) settled(tasks int) {
	s.t.Helper()
	var found map[task.Status]uint64
	err := s.call(func(ctx context.Context, c *host.Client) error {
		h, err := c.Health(ctx)
		if err != nil {
			return err
		}
		if found = h.Tasks; found[task.Complete] != uint64(tasks) {
			return errors.New("there are others")
		}
		subscriptions, err := c.Subscriptions(ctx)
		if err != nil {
			return err
		}
		for i := range subscriptions {
			if state := subscriptions[i].State; state != "current" {
				return fmt.Errorf("subscription %s is %s", subscriptions[i].Name, state)
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("%d tasks are not complete: %v: %v", tasks, found, err)
	}
}

// delivered is what plugin steady wrote down of an event.
type delivered struct {
	Seq  uint64 `json:"seq"`
	ID   string `json:"id"`
	Type string `json:"type"`
	Task string `json:"task"`
}

// wantOnce checks that the subscriber got the events of so many tasks in order and once,
// and that each of their steps was started and completed once.
func (s *shop) wantOnce(tasks int, once bool) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.home, "data", "steady", "all.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	counts, seen, last := make(map[string]int), make(map[string]bool), uint64(0)
	for line := range strings.Lines(string(text)) {
		var d delivered
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		if seen[d.ID] {
			if once {
				s.t.Errorf("event %d %s was delivered twice", d.Seq, d.Type)
			}
			continue
		}
		if d.Seq <= last {
			s.t.Errorf("event %d came after %d", d.Seq, last)
		}
		seen[d.ID], last = true, d.Seq
		counts[d.Type]++
	}
	for name, want := range map[string]int{event.NameTaskCompleted: tasks, event.NameStepCompleted: 3 * tasks, event.NameStepStarted: 3 * tasks} {
		if got := counts[name]; got != want && (once || got < want || name != event.NameStepStarted) {
			s.t.Errorf("the subscriber got %d of %s, want %d", got, name, want)
		}
	}
}

// pauses are the longest times in which no step was started, by the log of events.
func (s *shop) pauses(n int) (longest []time.Duration) {
	s.t.Helper()
	err := s.call(func(ctx context.Context, c *host.Client) error {
		longest = nil
		var before int64
		return c.Events(ctx, host.EventQuery{Type: event.NameStepStarted}, func(entry host.LogEntry) error {
			var e eventv1.Event
			if err := proto.Unmarshal(entry.Encoded, &e); err != nil {
				return err
			}
			if before != 0 {
				longest = append(longest, time.Duration(e.GetAt()-before))
			}
			before = e.GetAt()
			return nil
		})
	})
	if err != nil {
		s.t.Fatal(err)
	}
	slices.SortFunc(longest, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	return longest[:min(n, len(longest))]
}

// wantNothingLeft checks that no socket is left.
func (s *shop) wantNothingLeft() {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Dir(s.home), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			s.t.Errorf("socket %s is left", path)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// TestTakeover: under load, hosts take the home over from one another. Nothing is lost,
// no step is done twice, every event is delivered once and in order.
func TestTakeover(t *testing.T) {
	s := newShop(t, chainOfThree, "host/testdata/steady")
	first := s.serve()
	s.says(first, `"serving"`)
	stop := s.load()
	hosts := []*serving{first}
	for range 2 {
		next := s.serve("--takeover")
		s.says(next, "taking over from the host")
		s.says(next, `"serving"`)
		if err := s.ended(hosts[len(hosts)-1]); err != nil {
			t.Errorf("the host that was asked to end: %v", err)
		}
		hosts = append(hosts, next)
	}
	n := stop()
	s.settled(n)
	t.Logf("%d tasks, %d hosts; no attempt was started for %v", n, len(hosts), s.pauses(len(hosts)-1))
	last := hosts[len(hosts)-1]
	if err := last.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := s.ended(last); err != nil {
		t.Errorf("the last host: %v", err)
	}
	if n == 0 {
		t.Error("no task was created")
	}
	s.wantOnce(n, true)
	s.wantNothingLeft()
}

// TestWaitsForAHostThatEnds: who is started while the host drains goes on as soon as that
// one has let go, even if it is killed meanwhile; a host that works is not waited for.
func TestWaitsForAHostThatEnds(t *testing.T) {
	s := newShop(t, longSleep, "plugins/mock")
	first := s.serve("--grace", "10m")
	s.says(first, `"serving"`)
	var id string
	err := s.call(func(ctx context.Context, c *host.Client) error {
		created, err := c.CreateTask(ctx, task.Request{Template: "long"})
		if err == nil {
			id = string(created.ID)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.call(func(ctx context.Context, c *host.Client) error {
		v, err := c.Task(ctx, id)
		if err == nil && v.Steps[0].Status != task.StepInProgress {
			err = errors.New("not started yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	refused := s.serve()
	if err := s.ended(refused); err == nil {
		t.Error("a second host was not refused while the first worked")
	}
	if err := first.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.says(first, "stopping: no new attempts are started")
	next := s.serve()
	s.says(next, "waiting for the host that is ending")
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.ended(first); err == nil {
		t.Error("the first host ended well, although it was killed")
	}
	s.says(next, `"serving"`)
}
