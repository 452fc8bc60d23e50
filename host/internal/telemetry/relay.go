package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// Limits of a [Relay].
const (
	// MaxQueuedSpans is how many bytes of spans wait while the receiver is away; beyond it
	// the oldest go.
	MaxQueuedSpans = 16 << 20
	// maxBatch is with how many bytes of spans a request is full: receivers commonly take 4 MiB.
	maxBatch = 1 << 20
	// flushTimeout is how long the last requests may take when the host stops.
	flushTimeout = 3 * time.Second
)

// The pauses between attempts to reach a receiver that is away.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// RelayOptions configure a [Relay].
type RelayOptions struct {
	Settings TraceSettings
	Resource *resource.Resource // where what plugins do not say about themselves comes from
	Logger   hclog.Logger

	client otlptrace.Client // nil = the one of the settings
}

// Relay exports the spans of plugins. Everything it is given waits in one queue, which one
// goroutine, [Relay.Run], empties: what comes while a request is on its way is the next one.
type Relay struct {
	opts   RelayOptions
	client otlptrace.Client
	wake   chan struct{} // capacity 1

	sent, dropped atomic.Uint64 // frames

	mu    sync.Mutex
	queue [][]byte
	size  int  // bytes in queue
	lossy bool // something was dropped since the receiver was reached last
	over  bool // nothing is sent any more
}

// RelayStats counts frames of spans: an attempt has one, as have deliveries of events that
// were handled at about the same time.
type RelayStats struct {
	Sent, Dropped uint64
	QueuedBytes   int
}

// NewRelay returns a relay; it connects when it runs.
func NewRelay(opts RelayOptions) *Relay {
	r := &Relay{opts: opts, client: opts.client, wake: make(chan struct{}, 1)}
	if r.client == nil {
		r.client = opts.Settings.client()
	}
	return r
}

// Sampled reports whether the trace of a task is recorded. A nil relay records none.
func (r *Relay) Sampled(t trace.Task) bool { return r != nil && r.opts.Settings.Sampler.Sampled(t) }

// Share returns the share of traces that are recorded, 0 to 1.
func (r *Relay) Share() float64 {
	if r == nil {
		return 0
	}
	return r.opts.Settings.Sampler.Share()
}

// Stats returns what became of spans so far.
func (r *Relay) Stats() RelayStats {
	if r == nil {
		return RelayStats{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return RelayStats{Sent: r.sent.Load(), Dropped: r.dropped.Load(), QueuedBytes: r.size}
}

// Put queues spans, an encoded ExportTraceServiceRequest, and keeps the bytes. It never
// blocks. A nil relay forgets them.
func (r *Relay) Put(otlp []byte) {
	if r == nil || len(otlp) == 0 {
		return
	}
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		r.dropped.Add(1)
		return
	}
	r.queue, r.size = append(r.queue, otlp), r.size+len(otlp)
	gone := 0
	for r.size > MaxQueuedSpans {
		r.size -= len(r.queue[gone])
		r.queue[gone] = nil
		gone++
	}
	r.queue = r.queue[gone:]
	first := gone > 0 && !r.lossy
	r.lossy = r.lossy || gone > 0
	r.mu.Unlock()
	r.dropped.Add(uint64(gone))
	if first {
		r.opts.Logger.Warn("spans are dropped, the oldest first: their receiver is away, or slower than they come",
			logkeys.Limit, fmt.Sprintf("%d MiB", MaxQueuedSpans>>20))
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take removes spans for one request from the queue; none when it is empty.
func (r *Relay) take() (frames [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for n < len(r.queue) && (n == 0 || size+len(r.queue[n]) <= maxBatch) {
		size += len(r.queue[n])
		n++
	}
	frames = append(frames, r.queue[:n]...)
	clear(r.queue[:n])
	r.queue, r.size = r.queue[n:], r.size-size
	if len(r.queue) == 0 {
		r.queue = nil
	}
	return frames
}

// Run exports what is queued until ctx ends, and then what is left, if the receiver takes
// it. It returns nil: spans that are lost are no reason to stop a host.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.client.Start(ctx); err != nil {
		r.giveUp()
		r.opts.Logger.Error("no spans are exported", logkeys.Error, err)
		return nil
	}
	for ctx.Err() == nil {
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
		for frames := r.take(); len(frames) > 0 && r.deliver(ctx, frames); frames = r.take() {
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	r.flush(last)
	_ = r.client.Stop(last) // nothing waits any more
	return nil
}

// giveUp drops what is queued, and what comes: nobody will send it.
func (r *Relay) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped.Add(uint64(len(r.queue)))
	r.queue, r.size, r.over = nil, 0, true
}

// flush sends what is queued, once.
func (r *Relay) flush(ctx context.Context) {
	for frames := r.take(); len(frames) > 0; frames = r.take() {
		if err := r.upload(ctx, frames); err != nil {
			r.mu.Lock()
			left := len(r.queue)
			r.queue, r.size = nil, 0
			r.mu.Unlock()
			r.drop(len(frames)+left, err)
			return
		}
	}
}

// deliver sends frames until they are taken or refused. It returns false when ctx has ended
// before that; the frames are queued again.
func (r *Relay) deliver(ctx context.Context, frames [][]byte) bool {
	for pause, told := firstPause, false; ; pause = min(2*pause, maxPause) {
		err := r.upload(ctx, frames)
		switch {
		case err == nil:
			r.reached(told)
			return true
		case ctx.Err() != nil:
			r.putBack(frames)
			return false
		case !away(err):
			r.drop(len(frames), err)
			return true
		case !told:
			told = true
			r.opts.Logger.Warn("spans wait: their receiver is away", logkeys.Error, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			r.putBack(frames)
			return false
		}
	}
}

// putBack queues frames before everything else.
func (r *Relay) putBack(frames [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range frames {
		r.size += len(f)
	}
	r.queue = append(frames, r.queue...)
}

// reached notes that the receiver took spans.
func (r *Relay) reached(wasAway bool) {
	r.mu.Lock()
	lossy := r.lossy
	r.lossy = false
	r.mu.Unlock()
	if wasAway || lossy {
		r.opts.Logger.Info("the receiver takes spans again", logkeys.DroppedSoFar, r.dropped.Load())
	}
}

// drop tells of frames that nobody will take.
func (r *Relay) drop(frames int, why error) {
	r.dropped.Add(uint64(frames)) //nolint:gosec // a count
	r.opts.Logger.Warn("spans were dropped", logkeys.Frames, frames, logkeys.Error, why)
}

// upload sends frames in one request. Some of them may be no OTLP: those are dropped.
func (r *Relay) upload(ctx context.Context, frames [][]byte) error {
	spans, bad := merge(frames, r.opts.Resource)
	if len(spans) > 0 {
		if err := r.client.UploadTraces(ctx, spans); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	r.sent.Add(uint64(len(frames) - bad)) //nolint:gosec // a count
	if bad > 0 {
		r.drop(bad, errNoSpans)
	}
	return nil
}

// errNoSpans is why a frame is dropped that a plugin sent.
var errNoSpans = errors.New("a plugin sent what is no OTLP")

// away reports whether an error is about the receiver and not about what was sent: it is not
// reached, cannot take anything now, or does not know us. The clients' own errors are known
// by their texts only.
func away(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Unauthenticated, codes.PermissionDenied, codes.DeadlineExceeded, codes.Aborted, codes.Canceled:
		return true
	default:
	}
	if _, ok := errors.AsType[*url.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	msg := err.Error()
	return strings.Contains(msg, "retry-able request failure: ") || // 429, 502, 503 and 504
		strings.Contains(msg, ": 401 ") || strings.Contains(msg, ": 403 ")
}
