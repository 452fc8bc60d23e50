// Plugin recorder writes down every event that it gets, and misbehaves on request. It
// goes by the name of its executable, so that several can be told apart. Its files lie in
// its working directory: what it got in SUBSCRIPTION.jsonl, what it is to do in
// behaviour.json, what it declares beside the usual in declare.json.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// received is one line of the record.
type received struct {
	Seq      uint64 `json:"seq"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Task     string `json:"task,omitempty"`
	TaskSeq  uint64 `json:"task_seq,omitempty"`
	Delivery int    `json:"delivery"`
	Label    string `json:"label,omitempty"` // of the binding
	PID      int    `json:"pid"`
}

// behaviour is what happens at an event of a type.
type behaviour struct {
	Type  string `json:"type"`
	Do    string `json:"do"`              // retry, reject, exit or hang; empty = nothing
	Times int    `json:"times,omitempty"` // deliveries that go wrong; 0 = all
	After int    `json:"after,omitempty"` // so many milliseconds later
}

// options are the config of bindings.
type options struct {
	Label string `json:"label,omitempty"`
}

// recorder is one subscription.
type recorder struct {
	sdk.BaseSubscriber

	name    string
	options sdk.SubscriberOptions

	mu   sync.Mutex
	file *os.File
}

func newRecorder(name string, options sdk.SubscriberOptions, events ...string) *recorder {
	r := &recorder{name: name, options: options}
	r.SubscribeTo(events...)
	return r
}

// SubscriberOptions says how events are delivered.
func (r *recorder) SubscriberOptions() sdk.SubscriberOptions { return r.options }

// OnEvent writes an event down and does what it is told.
func (r *recorder) OnEvent(ctx context.Context, e sdk.Event[json.RawMessage]) error {
	config, err := sdk.BindingConfig[options](ctx)
	if err != nil {
		return err
	}
	line := received{
		Seq: e.Seq, ID: e.ID, Type: e.Type, Task: e.Task, TaskSeq: e.TaskSeq, Delivery: e.Delivery, Label: config.Label, PID: os.Getpid(),
	}
	if err := r.write(line); err != nil {
		return err
	}
	return act(ctx, e.Type, e.Delivery)
}

// write appends a line, in one piece.
func (r *recorder) write(line received) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		if r.file, err = os.OpenFile(r.name+".jsonl", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return err
		}
	}
	_, err = r.file.Write(append(text, '\n'))
	return err
}

// act misbehaves at an event that it is told to misbehave at.
func act(ctx context.Context, name string, delivery int) error {
	text, err := os.ReadFile("behaviour.json")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all []behaviour
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("behaviour: %w", err)
	}
	for _, b := range all {
		if b.Type != name || b.Times > 0 && delivery > b.Times {
			continue
		}
		if err := rest(ctx, time.Duration(b.After)*time.Millisecond); err != nil {
			return err
		}
		switch b.Do {
		case "retry":
			return sdk.RetryAfter(errors.New("not now"), time.Millisecond)
		case "reject":
			return sdk.Permanent(errors.New("never"))
		case "exit":
			os.Exit(3)
		case "hang":
			<-ctx.Done()
			select {}
		}
	}
	return nil
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nap takes a while.
func nap(ctx context.Context, _ json.RawMessage) (bool, error) {
	return true, rest(ctx, 300*time.Millisecond)
}

// exit ends the process after a while.
func exit(ctx context.Context, _ json.RawMessage) (bool, error) {
	if err := rest(ctx, 50*time.Millisecond); err != nil {
		return false, err
	}
	os.Exit(3)
	return false, nil
}

// declared is what the plugin declares beside the usual.
type declared struct {
	Events []string `json:"events"` // of a further subscription "more"; none = there is none
	Filter string   `json:"filter"` // of it
	Works  bool     `json:"works"`  // it has the handlers nap and exit
	Emits  string   `json:"emits"`  // shipped or shipped_less: shapes of the event shipping.shipped
}

// shipped is a custom event, and shippedLess what became of it.
type (
	shipped struct {
		ID    string  `json:"id"`
		Total float64 `json:"total,omitempty"`
	}
	shippedLess struct {
		ID string `json:"id"`
	}
)

// EventName returns "shipping.shipped".
func (shipped) EventName() string { return "shipping.shipped" }

// EventName returns "shipping.shipped".
func (shippedLess) EventName() string { return "shipping.shipped" }

// declare adds to the plugin what it is told to.
func declare(p *sdk.Plugin) error {
	text, err := os.ReadFile("declare.json")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var d declared
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("declare: %w", err)
	}
	if len(d.Events) > 0 {
		p.Subscribers["more"] = newRecorder("more", sdk.SubscriberOptions{Filter: d.Filter, Config: options{}}, d.Events...)
	}
	if d.Works {
		p.Handlers = sdk.Handlers{"nap": sdk.Func(nap), "exit": sdk.Func(exit)}
	}
	switch d.Emits {
	case "shipped":
		p.Events = sdk.Events{sdk.Declare(shipped{ID: "s-1"}, sdk.EventOptions{})}
	case "shipped_less":
		p.Events = sdk.Events{sdk.Declare(shippedLess{ID: "s-1"}, sdk.EventOptions{})}
	}
	return nil
}

func main() {
	name := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), "tasker-plugin-")
	p := sdk.Plugin{
		Name: name, Version: "1.0.0",
		Subscribers: sdk.Subscribers{
			"all":   newRecorder("all", sdk.SubscriberOptions{Start: "beginning", Config: options{}}, "*"),
			"lanes": newRecorder("lanes", sdk.SubscriberOptions{Start: "beginning", Order: sdk.TaskOrder, Config: options{}}, "task.*", "step.*"),
			"bound": newRecorder("bound", sdk.SubscriberOptions{Start: "beginning", Bound: true, Config: options{}}, "task.*", "step.*"),
		},
	}
	if err := declare(&p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sdk.Serve(p)
}
