package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

type plugin struct {
	pluginv1.UnimplementedPluginServiceServer
	pluginv1.UnimplementedStepServiceServer
	pluginv1.UnimplementedEventServiceServer

	breaks string

	mu        sync.Mutex
	described int
	held      map[string]context.CancelCauseFunc // attempts
	drained   bool
	draining  bool
	seen      map[uint64]bool
	opened    map[string]bool
}

const (
	textSchema   = `{"type":"object","properties":{"text":{"type":"string","examples":["hello"]}},"required":["text"]}`
	configSchema = `{"type":"object","properties":{"token":{"type":"string","writeOnly":true}},"additionalProperties":false}`
)

func (p *plugin) Describe(_ context.Context, req *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	if p.breaks == "work.unknown-fields" && len(req.ProtoReflect().GetUnknown()) > 0 {
		return nil, status.Error(codes.InvalidArgument, "what is that?")
	}
	m := &pluginv1.Manifest{
		Name: "broken", Version: "1.0.0", Sdk: &pluginv1.Sdk{Language: "go", Version: "none"},
		Features: []string{pluginv1.FeatureFetch}, ConfigSchema: []byte(configSchema),
		Subscriptions: []*pluginv1.SubscriptionSpec{{Name: "audit", Events: []string{"task.*"}}},
		Emits:         []*pluginv1.EventSpec{{Name: "broken.heard", Version: 1, Schema: []byte(textSchema), Example: []byte(`{"text":"x"}`)}},
	}
	for _, name := range []string{"echo", "slow", "panic", "flood", "large"} {
		m.Handlers = append(m.Handlers, &pluginv1.HandlerSpec{Name: name, Version: 1, InputSchema: []byte(textSchema)})
	}
	switch p.breaks {
	case "describe.stable":
		p.mu.Lock()
		p.described++
		m.Description = fmt.Sprint(p.described)
		p.mu.Unlock()
	case "describe.manifest":
		m.Name = "Bad Name"
	case "describe.schemas":
		m.Emits[0].Example = []byte(`{"text":1}`)
	}
	return &pluginv1.DescribeResponse{Manifest: m}, nil
}

func (p *plugin) Configure(_ context.Context, req *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	refused := func(pointer, message string) (*pluginv1.ConfigureResponse, error) {
		return &pluginv1.ConfigureResponse{Problems: []*pluginv1.ConfigProblem{{Pointer: pointer, Message: message}}}, nil
	}
	switch p.breaks {
	case "configure.accepts":
		return refused("", "never")
	case "configure.refuses":
		return &pluginv1.ConfigureResponse{}, nil
	case "configure.secrets":
		fmt.Fprintf(os.Stderr, "configured with %s\n", req.GetConfig())
	case "output.log":
		fmt.Fprintln(os.Stderr, `{"msg": "no field of ours"}`)
	}
	var config map[string]any
	if len(req.GetConfig()) > 0 {
		if err := json.Unmarshal(req.GetConfig(), &config); err != nil {
			return refused("", "want a JSON object")
		}
	}
	for key, v := range config {
		if _, text := v.(string); key != "token" || !text {
			return refused("/"+key, "want nothing but a token, a text")
		}
	}
	return &pluginv1.ConfigureResponse{}, nil
}

func (p *plugin) Watch(_ *pluginv1.WatchRequest, stream grpc.ServerStreamingServer[pluginv1.WatchResponse]) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, at := "", time.Now()
	for first := true; ; first = false {
		p.mu.Lock()
		st := &pluginv1.Status{State: pluginv1.State_STATE_READY, InFlight: uint32(len(p.held))}
		if p.draining || p.breaks == "watch.first" {
			st.State = pluginv1.State_STATE_DRAINING
		}
		p.mu.Unlock()
		due := st.GetInFlight() > 0 && time.Since(at) > 2*time.Second && p.breaks != "watch.ticks"
		if first || due || st.GetState().String() != last {
			last, at = st.GetState().String(), time.Now()
			if err := stream.Send(&pluginv1.WatchResponse{Status: st}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (p *plugin) Drain(ctx context.Context, req *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	p.mu.Lock()
	p.draining = true
	if p.breaks == "life.drain" {
		for _, cancel := range p.held {
			cancel(errors.New("drained"))
		}
	}
	p.mu.Unlock()
	late, gone := time.After(req.GetDeadline().AsDuration()), ctx.Done()
	if p.breaks == "life.drain-deadline" {
		late, gone = nil, nil // also gone: an answer at the caller's own deadline may reach it
	}
	for {
		p.mu.Lock()
		n := len(p.held)
		p.mu.Unlock()
		select {
		case <-late:
		case <-gone:
		case <-time.After(10 * time.Millisecond):
			if n > 0 {
				continue
			}
		}
		p.mu.Lock()
		p.drained = true
		p.mu.Unlock()
		return &pluginv1.DrainResponse{Unfinished: uint32(n)}, nil
	}
}

// worker is the Work stream.
type worker struct {
	p       *plugin
	stream  grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]
	sending sync.Mutex
	running sync.WaitGroup
	fetched sync.Map // attempt -> chan *pluginv1.Chunk
}

func (p *plugin) Work(stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) error {
	w := &worker{p: p, stream: stream}
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			w.running.Wait()
			if p.breaks == "work.half-close" {
				<-stream.Context().Done()
			}
			return nil
		}
		if err != nil {
			return err
		}
		for _, c := range frame.GetChunks() {
			if ch, ok := w.fetched.Load(c.GetAttemptId()); ok {
				ch.(chan *pluginv1.Chunk) <- c
			}
		}
		for i, a := range frame.GetAttempts() {
			if i == 0 || p.breaks != "work.parallel" {
				w.begin(a)
			}
		}
		for _, c := range frame.GetCancels() {
			p.mu.Lock()
			cancel := p.held[c.GetAttemptId()]
			p.mu.Unlock()
			switch {
			case cancel != nil && p.breaks != "work.cancel":
				cancel(errors.New(c.GetReason()))
			case cancel == nil && p.breaks == "work.late-cancel":
				return status.Error(codes.InvalidArgument, "no such attempt")
			}
		}
	}
}

func (w *worker) begin(a *pluginv1.Attempt) {
	p := w.p
	ctx, cancel := context.WithCancelCause(w.stream.Context())
	if d := a.GetTimeout(); d != nil && p.breaks != "work.deadline" {
		timer := time.AfterFunc(d.AsDuration(), func() { cancel(context.DeadlineExceeded) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	}
	p.mu.Lock()
	first, twice := p.held[a.GetAttemptId()]
	p.held[a.GetAttemptId()] = func(why error) {
		if twice {
			first(why)
		}
		cancel(why)
	}
	p.mu.Unlock()
	if twice && p.breaks != "work.twice" {
		cancel(nil)
		return
	}
	ch := make(chan *pluginv1.Chunk, 16)
	w.fetched.Store(a.GetAttemptId(), ch)
	w.running.Go(func() {
		defer cancel(nil)
		result := w.run(ctx, a, ch)
		p.mu.Lock()
		delete(p.held, a.GetAttemptId())
		p.mu.Unlock()
		w.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Result{Result: result}})
		if p.breaks == "work.result" {
			w.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Result{Result: result}})
		}
	})
}

func (w *worker) send(a *pluginv1.Attempt, u *pluginv1.Update) {
	w.sending.Lock()
	defer w.sending.Unlock()
	u.AttemptId = a.GetAttemptId()
	_ = w.stream.Send(&pluginv1.WorkResponse{Updates: []*pluginv1.Update{u}})
}

func output(doc string) *pluginv1.Result {
	return &pluginv1.Result{Outcome: &pluginv1.Result_Output{Output: []byte(doc)}}
}

func failed(kind pluginv1.ErrorKind, message string) *pluginv1.Result {
	return &pluginv1.Result{Outcome: &pluginv1.Result_Error{Error: &pluginv1.Error{Kind: kind, Message: message}}}
}

// run is an attempt.
func (w *worker) run(ctx context.Context, a *pluginv1.Attempt, chunks <-chan *pluginv1.Chunk) (result *pluginv1.Result) {
	if w.p.breaks != "work.panic" {
		defer func() {
			if r := recover(); r != nil {
				result = failed(pluginv1.ErrorKind_ERROR_KIND_RETRYABLE, fmt.Sprint(r))
			}
		}()
	}
	input := a.GetInput().GetInline()
	if ref := a.GetInput().GetRef(); ref != "" && w.p.breaks != "work.fetch" {
		w.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Fetch{Fetch: &pluginv1.Fetch{Ref: ref}}})
		for c := range chunks {
			input = append(input, c.GetData()...)
			if c.GetLast() {
				break
			}
		}
	}
	if w.p.breaks == "output.stdout" {
		fmt.Println("hello from a handler")
	}
	var in struct {
		Text *string `json:"text"`
	}
	unknown := a.GetHandlerVersion() != 1 || !strings.Contains(" echo slow panic flood large ", " "+a.GetHandler()+" ")
	switch {
	case unknown && w.p.breaks == "work.unknown-handler":
		return output(`{}`)
	case unknown:
		return failed(pluginv1.ErrorKind_ERROR_KIND_PERMANENT, "there is no such handler")
	case (json.Unmarshal(input, &in) != nil || in.Text == nil) && w.p.breaks != "work.bad-input":
		return failed(pluginv1.ErrorKind_ERROR_KIND_PERMANENT, "want an object with a text")
	case w.p.breaks == "work.form":
		return output(`{"`)
	}
	return w.handle(ctx, a.GetHandler(), input)
}

func (w *worker) handle(ctx context.Context, handler string, input []byte) *pluginv1.Result {
	switch handler {
	case "slow":
		<-ctx.Done()
		return failed(pluginv1.ErrorKind_ERROR_KIND_CANCELLED, context.Cause(ctx).Error())
	case "panic":
		panic("as asked")
	case "flood":
		if w.p.breaks == "output.flood" {
			return failed(pluginv1.ErrorKind_ERROR_KIND_RETRYABLE, "standard error is full")
		}
		_, _ = os.Stderr.Write(append(bytes.Repeat([]byte("x"), 10<<20), '\n'))
		return output(`{}`)
	case "large":
		return output(`"` + strings.Repeat("x", 5<<20) + `"`)
	default:
		return output(string(bytes.TrimSpace(input)))
	}
}

func (p *plugin) Deliver(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch k := frame.GetKind().(type) {
		case *pluginv1.DeliverRequest_Open:
			name := k.Open.GetSubscription()
			p.mu.Lock()
			again := p.opened[name]
			p.opened[name] = true
			p.mu.Unlock()
			if again && p.breaks == "deliver.reopen" {
				return status.Error(codes.AlreadyExists, "it is open")
			}
			if name != "audit" && p.breaks != "deliver.unknown-subscription" {
				return status.Error(codes.NotFound, "there is no such subscription")
			}
		case *pluginv1.DeliverRequest_Ping:
			if p.breaks != "deliver.ping" {
				err = stream.Send(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Pong{Pong: &pluginv1.Pong{Nonce: k.Ping.GetNonce()}}})
			}
		case *pluginv1.DeliverRequest_Batch:
			err = p.batch(stream, k.Batch.GetEvents())
		}
		if err != nil {
			return err
		}
	}
}

func (p *plugin) batch(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse], events []*pluginv1.SequencedEvent) error {
	for i, e := range events {
		var event eventv1.Event
		unreadable := proto.Unmarshal(e.GetEvent(), &event) != nil || !json.Valid(event.GetPayload())
		p.mu.Lock()
		seen := p.seen[e.GetSeq()]
		p.seen[e.GetSeq()] = true
		p.mu.Unlock()
		switch {
		case p.breaks == "deliver.answers" && i > 0,
			p.breaks == "deliver.duplicates" && seen,
			p.breaks == "deliver.gaps" && e.GetSeq() >= 1<<63:
			continue
		case p.breaks == "deliver.unknown" && !strings.HasPrefix(event.GetType(), "task."):
			return status.Error(codes.InvalidArgument, "unknown event")
		}
		answer := &pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{Ack: &pluginv1.Ack{Seqs: []uint64{e.GetSeq()}}}}
		if unreadable && p.breaks != "deliver.unreadable" {
			answer.Kind = &pluginv1.DeliverResponse_Reject{Reject: &pluginv1.Reject{Seq: e.GetSeq(), Reason: "it cannot be read"}}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}
