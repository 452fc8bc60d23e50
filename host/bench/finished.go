package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// FinishedResult is what a home with many finished tasks costs.
type FinishedResult struct {
	Tasks     int     `json:"tasks"`      // finished ones, of one step each
	FileBytes int64   `json:"file_bytes"` // of the store, with them
	Open      float64 `json:"open_ms"`    // from opening the home, after a clean stop, to a host that runs
	List      float64 `json:"list_ms"`    // the slowest first page of several listings
}

// fillInFlight is how many tasks run at once while a store is filled.
const fillInFlight = 1024

// fill runs tasks of one step in a home and stops its host.
func fill(ctx context.Context, cfg Config) error {
	small, err := Find(dagPrefix + "1")
	if err != nil {
		return err
	}
	n := cfg.Finished
	cfg.Workload, cfg.Subscribers = small, 0
	h, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	err = h.finish(ctx, n)
	err = errors.Join(err, h.end())
	debug.FreeOSMemory() // what filling took is not the next host's
	return err
}

// finish runs tasks in portions, so that their time stamps need little memory.
func (r *running) finish(ctx context.Context, n int) error {
	const chunk = 50_000
	for n > 0 {
		load := Load{
			Request: task.Request{Template: "default/" + r.cfg.Workload.Name, Input: document(r.cfg.Payload)},
			Tasks:   min(n, chunk), InFlight: fillInFlight,
		}
		if _, err := Drive(ctx, r.Host, load); err != nil {
			return fmt.Errorf("fill the store: %w", err)
		}
		n -= load.Tasks
	}
	return nil
}

// list measures the first pages of listings.
func (r *running) list(ctx context.Context) (slowest time.Duration, err error) {
	for _, f := range []host.Filter{
		{},
		{OldestFirst: true},
		{Statuses: []task.Status{task.Complete}},
		{Statuses: []task.Status{task.Error}},
		{Namespace: "default", Template: r.cfg.Workload.Name},
		{Namespace: "default", Template: dagPrefix + "1", Statuses: []task.Status{task.Error}},
		{CorrelationID: "nobody"},
		{Tag: "none"},
		{CreatedFrom: time.Now()},
	} {
		began := time.Now()
		if _, _, err := r.ListTasks(ctx, f, host.Page{}); err != nil {
			return 0, err
		}
		slowest = max(slowest, time.Since(began))
	}
	return slowest, nil
}
