package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// ReplayOptions say how recorded attempts are replayed.
type ReplayOptions struct {
	// Config is the plugin's configuration, JSON. Nil = {}.
	Config json.RawMessage
	// Env names environment variables that the plugin may see if its manifest asks for them.
	Env []string
	// Timeout is how long an attempt may take. 0 = 30 s.
	Timeout time.Duration
}

// Replayed is what came of a recorded attempt this time.
type Replayed struct {
	// Attempt is the recording.
	Attempt *recording.Attempt
	// Outcome is what came.
	Outcome recording.Outcome
	// Differences are what is not as recorded.
	Differences []recording.Difference
	// Lost is why nothing came: the plugin does not offer the handler, it crashed, the time was over. Empty = something did.
	Lost string
}

// Same reports whether the same came as was recorded.
func (r *Replayed) Same() bool { return r.Lost == "" && len(r.Differences) == 0 }

// replayTimeout is how long an attempt may take unless the options say otherwise.
const replayTimeout = 30 * time.Second

// ReplayAttempts starts a plugin's executable as a host does, in directories of its own, asks it the recorded attempts one
// after the other and compares what comes. What the handlers call outside of the plugin is called in earnest. The
// error is about a plugin that does not start.
func ReplayAttempts(ctx context.Context, path string, o ReplayOptions, attempts []*recording.Attempt) (_ []Replayed, err error) {
	if o.Timeout == 0 {
		o.Timeout = replayTimeout
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if o.Config == nil {
		o.Config = json.RawMessage("{}")
	}
	run, err := os.MkdirTemp("", "tsk") // short: the path of a socket is limited
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	dir, err := os.MkdirTemp("", "tasker-replay-")
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &replayer{
		ready: make(chan task.Instance, 1), failed: make(chan string, 1), told: make(chan told, len(attempts)+1), emitted: make(map[task.AttemptID][]task.Emit),
	}
	manifest, err := supervisor.Describe(ctx, path, supervisor.Options{})
	if err != nil {
		return nil, err
	}
	r.supervisor, err = supervisor.New(supervisor.Options{
		Sink: r, Paths: []string{path}, RunDir: run, DataDir: filepath.Join(dir, "data"), LogDir: filepath.Join(dir, "log"),
		HostID: "replay", HostVersion: "replay", Configs: map[string]json.RawMessage{manifest.Name: o.Config},
		GrantEnv: map[string][]string{manifest.Name: o.Env}, CancelGrace: time.Second, DefaultCapacity: 1,
		Restart: supervisor.Restart{Base: time.Millisecond},
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { ended <- r.supervisor.Run(running) }()
	out, err := r.replay(ctx, o, attempts)
	drained, cancel := context.WithTimeout(running, supervisor.DefaultStopGrace)
	r.supervisor.Drain(drained)
	cancel()
	stop()
	return out, errors.Join(err, <-ended)
}

// replayer is told what the plugin does.
type replayer struct {
	supervisor *supervisor.Supervisor
	ready      chan task.Instance
	failed     chan string // why the plugin does not start, or ended
	told       chan told

	mu      sync.Mutex
	emitted map[task.AttemptID][]task.Emit // while attempts went on
}

// told is the end of an attempt.
type told struct {
	id     task.AttemptID
	report *task.Report // nil = lost
	lost   string
}

func (r *replayer) replay(ctx context.Context, o ReplayOptions, attempts []*recording.Attempt) ([]Replayed, error) {
	var in task.Instance
	select {
	case in = <-r.ready:
	case why := <-r.failed:
		return nil, fmt.Errorf("the plugin does not start: %s", why)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	entropy := rand.NewChaCha8([32]byte{})
	out := make([]Replayed, len(attempts))
	for i, a := range attempts {
		out[i].Attempt = a
		offered := slices.ContainsFunc(in.Offers, func(o task.Offer) bool {
			return o.Handler == a.Handler && (a.Version == 0 || a.Version == o.Version)
		})
		if !offered {
			out[i].Lost = fmt.Sprintf("%s %s does not offer handler %s@%d", in.Plugin, in.Version, a.Handler, a.Version)
			continue
		}
		id, err := ulid.New(ulid.Timestamp(time.Unix(0, 0)), entropy)
		if err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		as := assignmentOf(task.ID(id.String()), a)
		if err := r.one(ctx, o.Timeout, &in, as, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// one replays one attempt. After a crash it waits for the next process.
func (r *replayer) one(ctx context.Context, timeout time.Duration, in *task.Instance, as *task.Assignment, out *Replayed) error {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	r.supervisor.Dispatch(in.ID, []*task.Assignment{as})
	for {
		select {
		case t := <-r.told:
			switch {
			case t.id != as.ID: // of one whose time was over
			case t.report == nil:
				out.Lost = t.lost
				select {
				case *in = <-r.ready:
				case why := <-r.failed:
					return fmt.Errorf("the plugin ended: %s", why)
				case <-ctx.Done():
					return ctx.Err()
				}
				return nil
			default:
				out.Outcome = r.outcomeOf(t.report)
				out.Differences = out.Attempt.Compare(out.Outcome)
				return nil
			}
		case <-limit.C:
			out.Lost = fmt.Sprintf("no result within %s", timeout)
			r.supervisor.Cancel(in.ID, as.ID, "timeout")
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func assignmentOf(id task.ID, a *recording.Attempt) *task.Assignment {
	as := &task.Assignment{
		ID: task.AttemptID{Task: id, Number: max(a.Number, 1)}, Template: task.TemplateRef{Namespace: "default", Name: "replay", Version: "1.0.0"},
		Step: task.StepName(a.Step), Handler: task.HandlerRef{Plugin: a.Plugin, Handler: a.Handler, Version: a.Version},
		Limit: max(a.Limit, a.Number, 1), IdempotencyKey: a.IdempotencyKey, Tags: a.Tags, CorrelationID: string(id),
		Input: task.Value{Inline: a.Input}, OwnInput: true, Config: a.Config, Checkpoint: a.Checkpoint,
	}
	if p := a.Previous; p != nil {
		as.Previous = &task.Failure{Kind: task.ErrorKind(p.Kind), Code: p.Code, Message: p.Message, Details: p.Details, Partial: p.Partial}
	}
	ordinal := task.Ordinal(1)
	dependency := func(step string, status task.StepStatus, result json.RawMessage) {
		as.Results = append(as.Results, task.DependencyResult{Step: task.StepName(step), Ordinal: ordinal, Status: status, Value: task.Value{Inline: result}})
		ordinal++
	}
	for step, result := range a.Results {
		dependency(step, task.StepComplete, result)
	}
	for _, step := range a.Skipped {
		dependency(step, task.StepSkipped, nil)
	}
	return as
}

func (r *replayer) outcomeOf(rep *task.Report) (o recording.Outcome) {
	if f := rep.Failure; rep.Kind == task.ReportFailed && f != nil {
		o.Error = &recording.Error{Kind: string(f.Kind), Code: f.Code, Message: f.Message, Details: f.Details, Partial: f.Partial}
	} else if o.Output = rep.Output; len(o.Output) == 0 {
		o.Output = json.RawMessage("null")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Concat(r.emitted[rep.ID], rep.Emits) {
		o.Events = append(o.Events, recording.Event{Name: e.Name, Payload: e.Payload})
	}
	return o
}

// InstanceReady implements supervisor.Sink.
func (r *replayer) InstanceReady(in task.Instance) { tell(r.ready, in) }

// InstanceGone implements supervisor.Sink.
func (r *replayer) InstanceGone(_ string, cause task.LossCause, sent []task.AttemptID) {
	for _, id := range sent {
		r.told <- told{id: id, lost: fmt.Sprintf("the plugin's process ended (%s)", cause)}
	}
}

// Reports implements supervisor.Sink.
func (r *replayer) Reports(reports []task.Report) {
	for i := range reports {
		switch rep := &reports[i]; rep.Kind {
		case task.ReportSucceeded, task.ReportFailed:
			r.told <- told{id: rep.ID, report: rep}
		case task.ReportEmitted:
			r.mu.Lock()
			r.emitted[rep.ID] = append(r.emitted[rep.ID], rep.Emits...)
			r.mu.Unlock()
			if rep.Stored != nil {
				rep.Stored()
			}
		case task.ReportHeartbeat:
		}
	}
}

// Life implements supervisor.Sink.
func (r *replayer) Life(life task.PluginLife) {
	switch life.State {
	case task.PluginRefused, task.PluginQuarantined:
		tell(r.failed, life.Cause)
	case task.PluginBackoff:
		if !life.Crashed {
			tell(r.failed, life.Cause)
		}
	default:
	}
}

// tell sends the newest of what is told; nobody may be listening.
func tell[T any](to chan T, v T) {
	select {
	case to <- v:
	default:
	}
}

// InstanceCapacity implements supervisor.Sink.
func (*replayer) InstanceCapacity(string, int) {}

// InstanceRoom implements supervisor.Sink.
func (*replayer) InstanceRoom(string) {}

// InstanceDraining implements supervisor.Sink.
func (*replayer) InstanceDraining(string) {}

// Vacate implements supervisor.Sink.
func (*replayer) Vacate(context.Context, string) {}

// InstanceShare implements supervisor.Sink.
func (*replayer) InstanceShare(task.Instance, float64) {}

// Crashed implements supervisor.Sink.
func (*replayer) Crashed(store.Crash) {}
