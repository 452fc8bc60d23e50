package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

type (
	attemptKey struct{} // *attempt
	loggerKey  struct{} // hclog.Logger, where there is no attempt
	dataDirKey struct{} // string, where there is no attempt and no event
)

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// AttemptInfo says which attempt of which step this is.
type AttemptInfo struct {
	// ID identifies the attempt: "task/ordinal/number".
	ID string
	// Task is the id of the task.
	Task string
	// Namespace, Template and TemplateVersion name the template that the task runs.
	Namespace, Template, TemplateVersion string
	// Step is the step's name.
	Step string
	// Handler and HandlerVersion name the handler.
	Handler        string
	HandlerVersion int
	// Number is the attempt's number, from 1. Lost attempts count.
	Number int
	// Limit is the number of failures that the step is allowed.
	Limit int
	// Timeout and HeartbeatTimeout are the attempt's limits. 0 = none.
	Timeout, HeartbeatTimeout time.Duration
	// Tags are the task's tags.
	Tags []string
	// CorrelationID belongs with every call that the handler makes.
	CorrelationID string
	// Traceparent and Tracestate are the W3C trace context of the step. May be empty.
	Traceparent, Tracestate string
	// Previous is why the attempt before failed. Nil = this is the first one, or the last one was lost.
	Previous *Previous
}

// Previous is the failure of an earlier attempt.
type Previous struct {
	// Verdict, Code, Message and Class are as that attempt reported them.
	Verdict              Verdict
	Code, Message, Class string
	// Details and Partial are JSON. Nil = none.
	Details, Partial json.RawMessage
}

// Attempt returns what is known about the attempt. Outside an attempt it is the zero value.
func Attempt(ctx context.Context) AttemptInfo {
	a := attemptOf(ctx)
	if a == nil {
		return AttemptInfo{}
	}
	w := a.wire
	return AttemptInfo{
		ID:               w.GetAttemptId(),
		Task:             w.GetTaskId(),
		Namespace:        w.GetTemplate().GetNamespace(),
		Template:         w.GetTemplate().GetName(),
		TemplateVersion:  w.GetTemplate().GetVersion(),
		Step:             w.GetStep(),
		Handler:          w.GetHandler(),
		HandlerVersion:   int(w.GetHandlerVersion()),
		Number:           int(w.GetNumber()),
		Limit:            int(w.GetLimit()),
		Timeout:          w.GetTimeout().AsDuration(),
		HeartbeatTimeout: w.GetHeartbeatTimeout().AsDuration(),
		Tags:             w.GetTags(),
		CorrelationID:    w.GetCorrelationId(),
		Traceparent:      w.GetTraceparent(),
		Tracestate:       w.GetTracestate(),
		Previous:         previous(w.GetPreviousError()),
	}
}

func previous(e *pluginv1.Error) *Previous {
	if e == nil {
		return nil
	}
	return &Previous{
		Verdict: verdict(e.GetKind()), Code: e.GetCode(), Message: e.GetMessage(), Class: e.GetClass(),
		Details: e.GetDetails(), Partial: e.GetPartial(),
	}
}

func verdict(k pluginv1.ErrorKind) Verdict {
	switch k {
	case pluginv1.ErrorKind_ERROR_KIND_PERMANENT:
		return Final
	case pluginv1.ErrorKind_ERROR_KIND_CANCELLED:
		return Cancelled
	default:
		return Retryable
	}
}

// IdempotencyKey returns a key that is the same for all attempts of the step and of no other step. Hand it
// to whatever must not happen twice. Outside an attempt it is empty.
func IdempotencyKey(ctx context.Context) string {
	if a := attemptOf(ctx); a != nil {
		return a.wire.GetIdempotencyKey()
	}
	return ""
}

// Heartbeat says that the attempt is alive: progress from 0 to 1, and a note for people. It never blocks;
// what the host has not yet read is overwritten.
func Heartbeat(ctx context.Context, progress float64, note string) {
	if a := attemptOf(ctx); a != nil {
		a.heartbeat(&progress, &note, nil)
	}
}

// Checkpoint hands over how far the attempt is, for the next one to continue from, should there be one. It
// is also a heartbeat. V marshals to at most [MaxCheckpoint] bytes of JSON, else the error is an
// [ErrTooLarge] or that of [json.Marshal]. It never blocks; of checkpoints in quick succession the last one counts.
func Checkpoint(ctx context.Context, v any) error {
	a := attemptOf(ctx)
	if a == nil {
		return nil
	}
	doc, err := encode(v)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if len(doc) > MaxCheckpoint {
		return fmt.Errorf("checkpoint of %d bytes, the limit is %d: %w", len(doc), MaxCheckpoint, ErrTooLarge)
	}
	a.heartbeat(nil, nil, doc)
	return nil
}

// LastCheckpoint returns the last checkpoint of an earlier attempt of the step. False = there is none.
func LastCheckpoint[T any](ctx context.Context) (T, bool, error) {
	var v T
	a := attemptOf(ctx)
	if a == nil || len(a.wire.GetCheckpoint()) == 0 {
		return v, false, nil
	}
	if err := decode(a.wire.GetCheckpoint(), &v, false); err != nil {
		return v, false, fmt.Errorf("decode the last checkpoint: %w", err)
	}
	return v, true, nil
}

// Config returns the step's config. Keys that C does not have are an error, which is [Permanent] and of the
// code [CodeInvalidConfig]. Without a config, and outside an attempt, it is the zero value.
func Config[C any](ctx context.Context) (C, error) {
	var c C
	a := attemptOf(ctx)
	if a == nil {
		return c, nil
	}
	if err := decode(a.wire.GetConfig(), &c, true); err != nil {
		return c, Permanent(WithCode(fmt.Errorf("decode the step's config: %w", err), CodeInvalidConfig))
	}
	return c, nil
}

// Dependency is a step that the attempt's step depends on.
type Dependency struct {
	// Step is its name.
	Step string
	// Status is "complete", "resolved_manually" or "skipped".
	Status string
	// Size is the size of its results in bytes of JSON.
	Size int64
}

// Results lists the dependencies whose results the attempt was given, in the order of the template.
func Results(ctx context.Context) []Dependency {
	a := attemptOf(ctx)
	if a == nil {
		return nil
	}
	deps := make([]Dependency, 0, len(a.wire.GetResults()))
	for _, r := range a.wire.GetResults() {
		deps = append(deps, Dependency{
			Step: r.GetStep(), Status: r.GetStatus(),
			Size: max(int64(r.GetValue().GetSize()), int64(len(r.GetValue().GetInline()))), //nolint:gosec // far below 2^63
		})
	}
	return deps
}

// Result returns the results of a dependency; large ones are fetched from the host, once per attempt. The
// results of a skipped step are null and leave T at its zero value. The error is an [ErrNoResult] if the
// step depends on no step of that name.
func Result[T any](ctx context.Context, step string) (T, error) {
	var v T
	a := attemptOf(ctx)
	if a == nil {
		return v, fmt.Errorf("step %q: %w: not in an attempt", step, ErrNoResult)
	}
	var names []string
	for _, r := range a.wire.GetResults() {
		if r.GetStep() != step {
			names = append(names, r.GetStep())
			continue
		}
		doc, err := a.value(ctx, r.GetValue())
		if err != nil {
			return v, fmt.Errorf("results of step %q: %w", step, err)
		}
		if err := decode(doc, &v, false); err != nil {
			return v, fmt.Errorf("decode the results of step %q: %w", step, err)
		}
		return v, nil
	}
	return v, fmt.Errorf("step %q: %w: there are results of [%s]", step, ErrNoResult, strings.Join(names, " "))
}

// Logger returns a logger whose lines the host keeps with the attempt, or with the event. Outside of both it
// discards, but in [Checker] it writes to the plugin's log.
func Logger(ctx context.Context) hclog.Logger {
	if a := attemptOf(ctx); a != nil {
		return a.hclog()
	}
	if d := deliveryOf(ctx); d != nil {
		return d.hclog()
	}
	if l, ok := ctx.Value(loggerKey{}).(hclog.Logger); ok {
		return l
	}
	return hclog.NewNullLogger()
}

// Slog returns what [Logger] returns, as a [slog.Logger].
func Slog(ctx context.Context) *slog.Logger {
	if a := attemptOf(ctx); a != nil {
		return a.slog()
	}
	if d := deliveryOf(ctx); d != nil {
		return d.slog()
	}
	if l, ok := ctx.Value(loggerKey{}).(hclog.Logger); ok {
		return slog.New(&slogHandler{write: func(level hclog.Level, msg string, fields []any) { l.Log(level, msg, fields...) }, enabled: enabledIn(l)})
	}
	return slog.New(slog.DiscardHandler)
}

// DataDir returns the plugin's own directory, where it may keep files: the same one for all its processes, over restarts
// and versions. The contexts of attempts, of events and of [Checker] know it; elsewhere it is empty.
func DataDir(ctx context.Context) string {
	d := (*dispatcher)(nil)
	if a := attemptOf(ctx); a != nil {
		d = a.work.d
	} else if e := deliveryOf(ctx); e != nil {
		d = e.stream.all.disp
	}
	if d == nil {
		dir, _ := ctx.Value(dataDirKey{}).(string)
		return dir
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dataDir
}
