package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// attempt is one execution of a step in this process.
type attempt struct {
	wire   *pluginv1.Attempt
	work   *workStream
	spec   *spec
	ctx    context.Context
	cancel context.CancelCauseFunc

	release func() // frees the timer of the time limit
	began   time.Time

	// Guarded by the dispatcher's lock.
	beat *queued // the heartbeat that waits in the queue, which later ones are merged into
	over bool    // the result is queued: nothing may follow it
	end  ending

	mu      sync.Mutex
	last    *pluginv1.Heartbeat // progress and note as last said
	fetches map[string]*fetch
	emits   []*pluginv1.Emit // for the result
	emitted int              // bytes of their payloads
	logger  hclog.Logger
	slogger *slog.Logger
	spans   *traced // nil = nothing has asked for a span
}

// ending is the update that says how an attempt ended, with all its parts. It lies within the attempt because every
// attempt has one.
type ending struct {
	queued queued
	update pluginv1.Update
	kind   pluginv1.Update_Result
	result pluginv1.Result
	output pluginv1.Result_Output
}

// run executes the attempt and queues its one result, whatever the author's code does: return, panic, or
// end its goroutine.
func (a *attempt) run() {
	a.began = time.Now()
	var doc []byte
	var err error
	returned := false
	defer func() {
		if !returned {
			err = recovered(recover())
		}
		result := a.result(doc, err)
		result.TookNanos = int64(time.Since(a.began))
		a.sendSpans(result)
		a.work.finish(a, result)
		a.cancel(&CancelError{Reason: ReasonStopped})
		a.release()
	}()
	doc, err = a.execute()
	returned = true
}

// execute fetches what there is to fetch, calls the handler, and marshals what it returns.
func (a *attempt) execute() ([]byte, error) {
	ctx := &attemptContext{Context: a.ctx, attempt: a}
	input, err := a.value(ctx, a.wire.GetInput())
	if err != nil {
		return nil, fmt.Errorf("fetch the input: %w", err)
	}
	if input, err = a.spec.acceptInput(input); err != nil {
		return nil, err
	}
	if err := a.spec.acceptConfig(a.wire.GetConfig()); err != nil {
		return nil, err
	}
	out, err := a.spec.bound.run(ctx, input)
	if err != nil {
		return nil, err
	}
	return marshalResult(out)
}

// result makes the wire's form of how the attempt ended.
func (a *attempt) result(doc []byte, err error) *pluginv1.Result {
	if err != nil {
		return &pluginv1.Result{Outcome: &pluginv1.Result_Error{Error: failure(a.ctx, err)}}
	}
	a.mu.Lock()
	emits, size := a.emits, a.emitted+len(doc)
	a.mu.Unlock()
	if size > MaxValue {
		err := fmt.Errorf("the result and what it emits have %d bytes, the limit is %d: %w", size, MaxValue, ErrTooLarge)
		return &pluginv1.Result{Outcome: &pluginv1.Result_Error{Error: failure(a.ctx, Permanent(WithCode(err, CodeTooLarge)))}}
	}
	r := &a.end.result
	a.end.output.Output = doc
	r.Outcome, r.Emits = &a.end.output, emits
	return r
}

// marshalResult makes the JSON of a result. Its errors are permanent: another attempt would return the same.
func marshalResult(out any) ([]byte, error) {
	doc, err := encode(out)
	if err != nil {
		return nil, Permanent(WithCode(fmt.Errorf("the result, a %T, does not marshal to JSON: %w", out, err), CodeInvalidResult))
	}
	if len(doc) > MaxValue {
		return nil, Permanent(WithCode(fmt.Errorf("the result has %d bytes, the limit is %d: store it elsewhere and return where", len(doc), MaxValue), CodeTooLarge))
	}
	return doc, nil
}

// fetch is a document on its way from the host.
type fetch struct {
	done chan struct{}
	doc  []byte
	err  error
}

// value returns a document that may have to be fetched; each is fetched once per attempt.
func (a *attempt) value(ctx context.Context, v *pluginv1.Value) (json.RawMessage, error) {
	ref := v.GetRef()
	if ref == "" {
		return v.GetInline(), nil
	}
	a.mu.Lock()
	f := a.fetches[ref]
	if f == nil {
		f = &fetch{done: make(chan struct{})}
		if a.fetches == nil {
			a.fetches = make(map[string]*fetch)
		}
		a.fetches[ref] = f
		a.work.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Fetch{Fetch: &pluginv1.Fetch{Ref: ref}}})
	}
	a.mu.Unlock()
	select {
	case <-f.done:
		return f.doc, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// chunk takes a part of a document.
func (a *attempt) chunk(c *pluginv1.Chunk) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.fetches[c.GetRef()]
	if f == nil || isClosed(f.done) {
		return
	}
	f.add(c.GetRef(), c.GetData(), c.GetLast(), c.GetError())
}

// add takes a part of the document and reports whether it was the last one.
func (f *fetch) add(ref string, data []byte, last bool, failed string) bool {
	f.doc = append(f.doc, data...)
	switch {
	case failed != "":
		f.err = fmt.Errorf("the host cannot hand over %s: %s", ref, failed)
	case len(f.doc) > MaxValue:
		f.err = fmt.Errorf("%s: %w", ref, ErrTooLarge)
	case !last:
		return false
	}
	close(f.done)
	return true
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// heartbeat queues a sign of life. Nil arguments repeat what was said last; an empty checkpoint keeps the last one.
func (a *attempt) heartbeat(progress *float64, note *string, checkpoint []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = &pluginv1.Heartbeat{}
	}
	if progress != nil {
		a.last.Progress = min(max(*progress, 0), 1)
		if math.IsNaN(*progress) { // 0 of 0
			a.last.Progress = 0
		}
	}
	if note != nil {
		a.last.Note = cut(*note, maxMessage)
	}
	a.work.beat(a, &pluginv1.Heartbeat{Progress: a.last.GetProgress(), Note: a.last.GetNote(), Checkpoint: checkpoint})
}
