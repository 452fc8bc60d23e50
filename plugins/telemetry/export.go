package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	// maxJobs is how many events' spans one request has at most.
	maxJobs = 256
	// closeTimeout is how long the end of the connection may take.
	closeTimeout = 5 * time.Second
)

// errRefused is why spans will not be taken, however often they are sent.
var errRefused = errors.New("the receiver refuses the spans")

// exporter sends spans: while a request is on its way, those of other events gather for the next one.
type exporter struct {
	client   otlptrace.Client
	resource *resourcepb.Resource
	cancel   context.CancelFunc
	wake     chan struct{}
	ended    sync.WaitGroup

	mu      sync.Mutex
	waiting []*job
}

// job is the spans of one event.
type job struct {
	spans []*tracepb.Span
	done  chan error // what became of them
}

func newExporter(ctx context.Context, client otlptrace.Client, resource *resourcepb.Resource) (*exporter, error) {
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("exporter: %w", err)
	}
	x := &exporter{client: client, resource: resource, wake: make(chan struct{}, 1)}
	ctx, x.cancel = context.WithCancel(context.WithoutCancel(ctx))
	x.ended.Go(func() { x.run(ctx) })
	return x, nil
}

// close ends the requests and the connection.
func (x *exporter) close() error {
	x.cancel()
	x.ended.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return x.client.Stop(ctx)
}

// export sends spans and waits until the receiver has them.
func (x *exporter) export(ctx context.Context, p place, spans ...*tracepb.Span) error {
	if p.muted {
		return nil
	}
	j := &job{spans: spans, done: make(chan error, 1)}
	x.mu.Lock()
	x.waiting = append(x.waiting, j)
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run sends what waits, until the context ends.
func (x *exporter) run(ctx context.Context) {
	for {
		select {
		case <-x.wake:
		case <-ctx.Done():
			return
		}
		for jobs := x.take(); len(jobs) > 0; jobs = x.take() {
			x.send(ctx, jobs)
		}
	}
}

// take takes jobs that wait.
func (x *exporter) take() []*job {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := min(len(x.waiting), maxJobs)
	jobs := slices.Clone(x.waiting[:n])
	x.waiting = slices.Delete(x.waiting, 0, n)
	return jobs
}

// send sends jobs in one request; or each in its own, to find out whose spans are refused.
func (x *exporter) send(ctx context.Context, jobs []*job) {
	var spans []*tracepb.Span
	for _, j := range jobs {
		spans = append(spans, j.spans...)
	}
	err := x.upload(ctx, spans)
	if len(jobs) > 1 && errors.Is(err, errRefused) {
		for _, j := range jobs {
			x.send(ctx, []*job{j})
		}
		return
	}
	for _, j := range jobs {
		j.done <- err
	}
}

func (x *exporter) upload(ctx context.Context, spans []*tracepb.Span) error {
	err := x.client.UploadTraces(ctx, []*tracepb.ResourceSpans{{
		Resource: x.resource,
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope: &commonpb.InstrumentationScope{Name: "tasker-plugin-telemetry", Version: version}, Spans: spans,
		}},
	}})
	switch {
	case err == nil:
		return nil
	case refused(err):
		return fmt.Errorf("%w: %w", errRefused, err)
	case away(err):
		return sdk.Unavailable(fmt.Errorf("export: %w", err))
	default:
		return fmt.Errorf("export: %w", err)
	}
}

// refused reports whether an error is about what was sent. The clients' own errors are known by their texts only.
func refused(err error) bool {
	msg := err.Error()
	return status.Code(err) == codes.InvalidArgument || strings.Contains(msg, "OTLP partial success") || strings.Contains(msg, ": 400 Bad Request ")
}

// away reports whether an error is about the receiver: it is not reached, cannot take anything now, or does not take
// anything of whom it does not know. An exhausted resource is not among them: it may be how large the request is.
func away(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Unauthenticated, codes.PermissionDenied, codes.DeadlineExceeded:
		return true
	default:
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return true
	}
	msg := err.Error()
	if strings.HasPrefix(msg, "retry-able request failure: ") { // 429, 502, 503 and 504
		return true
	}
	_, answer, _ := strings.Cut(msg, ": ")
	return strings.HasPrefix(msg, "failed to send to ") && (strings.HasPrefix(answer, "401 ") || strings.HasPrefix(answer, "403 "))
}
