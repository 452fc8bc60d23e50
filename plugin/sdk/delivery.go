package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// delivery is one event on its way through a subscriber. It is also the context that the author's code gets:
// most of that never asks for its end, so that timer and channel are made only when it does.
type delivery struct {
	envelope

	stream   *deliverStream
	seq      uint64
	number   uint32
	binding  *binding
	deadline time.Time
	spans    *traced // nil = it is not traced; set before the author's code is called

	mu      sync.Mutex
	inner   context.Context //nolint:containedctx // made when first asked for
	cancel  context.CancelFunc
	over    bool
	logger  hclog.Logger
	slogger *slog.Logger
}

var _ context.Context = (*delivery)(nil)

type deliveryKey struct{} // *delivery

func deliveryOf(ctx context.Context) *delivery {
	d, _ := ctx.Value(deliveryKey{}).(*delivery)
	return d
}

// context returns the context behind this one.
func (d *delivery) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.cancel = context.WithDeadlineCause(d.stream.ctx, d.deadline, &CancelError{Reason: ReasonTimeout})
		if d.over {
			d.cancel()
		}
	}
	return d.inner
}

// Deadline implements context.Context.
func (d *delivery) Deadline() (time.Time, bool) { return d.deadline, true }

// Done implements context.Context.
func (d *delivery) Done() <-chan struct{} { return d.context().Done() }

// Err implements context.Context. Most often it is asked before each event, and nothing has ended.
func (d *delivery) Err() error {
	d.mu.Lock()
	lazy := d.inner == nil && !d.over
	d.mu.Unlock()
	if lazy && d.stream.ctx.Err() == nil && time.Now().Before(d.deadline) {
		return nil
	}
	return d.context().Err()
}

// Value implements context.Context.
func (d *delivery) Value(key any) any {
	switch key.(type) {
	case deliveryKey:
		return d
	case attemptKey, loggerKey:
		return nil
	}
	if v, ok := d.traceValue(key); ok {
		return v
	}
	return d.context().Value(key)
}

// end ends the context.
func (d *delivery) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.cancel != nil {
		d.cancel()
	}
}

// timedOut reports whether the author's code was told that its time was up.
func (d *delivery) timedOut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		return false
	}
	cause, ok := errors.AsType[*CancelError](context.Cause(d.inner))
	return ok && cause.Reason == ReasonTimeout
}

// hclog returns the event's logger; it is made when first asked for.
func (d *delivery) hclog() hclog.Logger {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.logger == nil {
		d.logger = newHclog(d.stream.all.disp.level(), d.log)
	}
	return d.logger
}

// slog returns the event's logger in the form of the standard library.
func (d *delivery) slog() *slog.Logger {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slogger == nil {
		d.slogger = newSlog(d.stream.all.disp.level, d.log)
	}
	return d.slogger
}

// log queues one line, with the event's id.
func (d *delivery) log(level hclog.Level, msg string, pairs []any) {
	if level < d.stream.all.disp.level() {
		return
	}
	if d.id != "" {
		pairs = append([]any{"event", d.id}, pairs...)
	}
	d.stream.log(logLine(level, msg, pairs))
}

// binding is what ties a subscription to a template, or to all tasks.
type binding struct {
	sub    *subscription
	config []byte
	gone   bool // it is no more; guarded by the dispatcher's lock

	usable atomic.Bool // value is there to stay
	mu     sync.Mutex
	value  any // of the type of the option Config
}

// ready decodes and checks the config, once: what has failed is tried anew by the next event. Its errors are shown as
// what is wrong with the plugin.
func (b *binding) ready(s *deliverStream) (err error) {
	if b.usable.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.usable.Load() {
		return nil
	}
	returned := false
	defer func() {
		if !returned {
			err = recovered(recover())
			s.all.log.Error("the check of a binding's config panics", "subscriber", b.sub.name, "error", err, "stack", stackOf(err))
		}
		if b != s.declared && s.ctx.Err() == nil { // else it was never announced, or may have failed for that
			s.all.disp.report(b, err)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(s.all.disp.checking(s.ctx), s.timeout, &CancelError{Reason: ReasonTimeout})
	defer cancel()
	value, err := b.sub.configOf(ctx, b.config)
	if err == nil {
		b.value = value
		b.usable.Store(true)
	}
	returned = true
	return err
}

// configOf decodes a binding's config over the defaults, and checks it.
func (s *subscription) configOf(ctx context.Context, config []byte) (any, error) {
	if s.config == nil || len(config) == 0 && !s.checked {
		return s.options.Config, nil
	}
	docs := [][]byte{s.defaults} // decoded, so that bindings share nothing
	if len(config) > 0 {
		config, bad := s.config.accept(config)
		if len(bad) > 0 {
			return nil, fmt.Errorf("the binding's config does not fit: %s", problems(bad))
		}
		docs = append(docs, config)
	}
	into := reflect.New(reflect.TypeOf(s.options.Config))
	for _, doc := range docs {
		if err := decode(doc, into.Interface(), true); err != nil {
			return nil, fmt.Errorf("decode the binding's config: %w", err)
		}
	}
	if err := check(ctx, into.Interface()); err != nil {
		return nil, fmt.Errorf("the binding's config: %w", err)
	}
	return into.Elem().Interface(), nil
}

// BindingConfig returns the config of the binding through which the event came: the value of
// [SubscriberOptions.Config] with what the binding sets. C is the type of that value. What the config refers to is
// shared by all events of the binding: do not change it. Another type than that value's is an error, which is [Permanent]
// and of the code [CodeInvalidConfig]. Outside a delivery it is the zero value.
func BindingConfig[C any](ctx context.Context) (C, error) {
	var c C
	d := deliveryOf(ctx)
	if d == nil {
		return c, nil
	}
	var err error
	switch is := d.binding.value.(type) {
	case C:
		return is, nil
	case nil:
		err = fmt.Errorf("subscriber %s has no option Config; BindingConfig asks for a %T", d.stream.sub.name, c)
	default:
		err = fmt.Errorf("the option Config of subscriber %s is a %T; BindingConfig asks for a %T", d.stream.sub.name, is, c)
	}
	return c, Permanent(WithCode(err, CodeInvalidConfig))
}

// maxEventFetches is how many values the events of a stream wait for at once. It bounds what the host has to keep.
const maxEventFetches = 32

// Fetch returns a value that is too large to travel inside its event. It needs the context of the event.
func Fetch(ctx context.Context, ref event.Ref) (json.RawMessage, error) {
	d := deliveryOf(ctx)
	if d == nil {
		return nil, fmt.Errorf("fetch %s: the context is not that of an event", ref.Ref)
	}
	select {
	case d.stream.fetching <- struct{}{}:
		defer func() { <-d.stream.fetching }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f := d.stream.fetch(d.task, ref.Ref)
	defer d.stream.forget(f)
	select {
	case <-f.done:
		return f.doc, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Value decodes a value of an event that travels inside it or, where it is large, by reference:
//
//	receipt, err := sdk.Value[Receipt](ctx, e.Payload.Results, e.Payload.ResultsRef)
func Value[T any](ctx context.Context, inline json.RawMessage, ref *event.Ref) (T, error) {
	var v T
	if ref != nil {
		var err error
		if inline, err = Fetch(ctx, *ref); err != nil {
			return v, err
		}
	}
	if err := decode(inline, &v, false); err != nil {
		return v, fmt.Errorf("decode the value: %w", err)
	}
	return v, nil
}

// eventFetch is a document on its way from the host.
type eventFetch struct {
	fetch

	id  uint64
	ref string
}

// fetch asks the host for a document.
func (s *deliverStream) fetch(task, ref string) *eventFetch {
	f := &eventFetch{fetch: fetch{done: make(chan struct{})}, ref: ref}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastFetch++
	f.id = s.lastFetch
	s.fetches[f.id] = f
	s.push(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Fetch{
		Fetch: &pluginv1.EventFetch{Id: f.id, TaskId: task, Ref: ref},
	}})
	return f
}

// forget lets the rest of a document pass by.
func (s *deliverStream) forget(f *eventFetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fetches, f.id)
}

// chunk takes a part of a document.
func (s *deliverStream) chunk(c *pluginv1.EventChunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fetches[c.GetFetchId()]
	if f == nil {
		return
	}
	if f.add(f.ref, c.GetData(), c.GetLast(), c.GetError()) {
		delete(s.fetches, f.id)
	}
}
