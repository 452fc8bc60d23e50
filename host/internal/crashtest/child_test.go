package crashtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/internal/killpoint"
	"github.com/tasker-engine/tasker/host/task"
)

// childEnv holds the orders of a child host, JSON.
const childEnv = "TASKER_CRASH_CHILD"

func TestMain(m *testing.M) {
	orders := os.Getenv(childEnv)
	if orders == "" {
		hosttest.Main(m)
		return
	}
	if err := child([]byte(orders)); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1) //nolint:forbidigo // a host, not a test
	}
}

// orders tell a child what to do and when to die.
type orders struct {
	Home    string          `json:"home"`
	Plugins []string        `json:"plugins"` // directories
	Ledger  string          `json:"ledger"`
	Seed    uint64          `json:"seed"`
	Round   int             `json:"round"`
	Tasks   int             `json:"tasks"` // to create
	Point   killpoint.Point `json:"point"` // where to die; empty = the parent decides
	Nth     int64           `json:"nth"`   // at which passing of the point
}

// child is a host that dies where it is told to, or once it has nothing left to do. On
// standard output it says what the world outside knows for sure.
func child(text []byte) error {
	var o orders
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	var passed atomic.Int64
	ctx := context.WithValue(context.Background(), killpoint.Key{}, func(p killpoint.Point) {
		if p == o.Point && passed.Add(1) == o.Nth {
			die()
		}
	})
	h, err := host.Open(ctx, host.Options{
		Home: o.Home, PluginDirs: o.Plugins, CancelGrace: cancelGrace,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr}),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	<-h.Ready()
	say := &speaker{w: os.Stdout}
	go tellPlugins(ctx, h, say)
	go func() {
		if err := o.load(ctx, h, say); err != nil {
			ended <- err
			return
		}
		ended <- awaitAll(ctx, h)
		die()
	}()
	if err := <-ended; err != nil {
		return err
	}
	select {} // die was called
}

// cancelGrace is short, so that what ignores a cancel holds nothing up.
const cancelGrace = 100 * time.Millisecond

// die ends this process as `kill -9` does.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

// speaker writes whole lines.
type speaker struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *speaker) say(what string, about any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Fprintln(s.w, what, about); err != nil {
		die() // nobody listens any more
	}
}

// tellPlugins says the process of every plugin that becomes ready.
func tellPlugins(ctx context.Context, h *host.Host, say *speaker) {
	_ = h.Events(ctx, host.EventQuery{Type: "plugin.ready", Follow: true}, func(host.LogEntry) error {
		plugins, err := h.Plugins(ctx)
		for _, p := range plugins {
			if p.PID != 0 {
				say.say("plugin", p.PID)
			}
		}
		return err
	})
}

// load asks for the tasks of this round, and again for those of the last one, as a
// client does that did not get its answer; it cancels some.
func (o *orders) load(ctx context.Context, h *host.Host, say *speaker) error {
	rnd := rand.New(rand.NewPCG(o.Seed, uint64(o.Round)))
	for _, r := range requests(o.Ledger, o.Seed, o.Round, o.Tasks) {
		created, err := h.CreateTask(ctx, r)
		if err != nil {
			return fmt.Errorf("create task: %w", err)
		}
		say.say("created", created.ID)
		if rnd.IntN(8) > 0 {
			continue
		}
		err = h.CancelTask(ctx, string(created.ID), task.Operation{Reason: "crash test"})
		switch {
		case err == nil:
			say.say("cancelled", created.ID)
		case !errors.Is(err, task.ErrTransition):
			return fmt.Errorf("cancel task: %w", err)
		}
	}
	return nil
}

// awaitAll waits until every task has ended.
func awaitAll(ctx context.Context, h *host.Host) error {
	f := host.Filter{Statuses: []task.Status{task.Pending, task.InProgress, task.Paused}}
	for {
		open, _, err := h.ListTasks(ctx, f, host.Page{Limit: 1})
		if err != nil || len(open) == 0 {
			return err
		}
		if err := h.WatchTask(ctx, string(open[0].Spec.ID), func(*task.View) error { return nil }); err != nil {
			return err
		}
	}
}
