// Plugin steady is one plugin in several versions: the name of its executable says which
// one it is and how it fails, "steady-2.0.0" or "steady-2.0.0-crash". It writes down every
// event that it gets, as the plugin recorder does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is what tests configure it with.
type config struct {
	Greeting string `json:"greeting,omitempty"`
}

// Check refuses one greeting, as a plugin may that looks further than its schema.
func (c *config) Check(context.Context) error {
	if c.Greeting == "refused" {
		return errors.New("such a greeting is refused")
	}
	return nil
}

// answer is what a step gets: who did it.
type answer struct {
	Version  string `json:"version"`
	Greeting string `json:"greeting"`
}

// received is one line of the record.
type received struct {
	Seq      uint64 `json:"seq"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Task     string `json:"task,omitempty"`
	TaskSeq  uint64 `json:"task_seq,omitempty"`
	Delivery int    `json:"delivery"`
	PID      int    `json:"pid"`
}

// all is the subscription to everything.
type all struct {
	sdk.BaseSubscriber

	mu sync.Mutex
}

// SubscriberOptions begins with the log.
func (*all) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{Start: "beginning"}
}

// OnEvent writes an event down, in one piece.
func (a *all) OnEvent(_ context.Context, e sdk.Event[json.RawMessage]) error {
	line, err := json.Marshal(received{
		Seq: e.Seq, ID: e.ID, Type: e.Type, Task: e.Task, TaskSeq: e.TaskSeq, Delivery: e.Delivery, PID: os.Getpid(),
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile("all.jsonl", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func main() {
	name := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), "tasker-plugin-steady")
	version, fault, _ := strings.Cut(strings.TrimPrefix(name, "-"), "-")
	if version == "" {
		version = "1.0.0"
	}
	if fault == "crash" {
		os.Exit(3)
	}
	var c config
	work := func(context.Context, struct{}) (answer, error) {
		if fault == "fatal" {
			os.Exit(3) // the first attempt ends it
		}
		return answer{Version: version, Greeting: c.Greeting}, nil
	}
	everything := &all{}
	everything.SubscribeTo("*")
	p := sdk.Plugin{
		Name: "steady", Version: version, Config: &c,
		Handlers:    sdk.Handlers{"work": sdk.Func(work), "old": sdk.Func(work)},
		Subscribers: sdk.Subscribers{"all": everything},
	}
	if fault == "less" {
		delete(p.Handlers, "old")
	}
	sdk.Serve(p)
}
