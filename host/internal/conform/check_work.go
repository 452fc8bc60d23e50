package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// working starts a plugin up to its Work stream.
func (t *trial) working(ctx context.Context, l launch) (*session, *workStream, error) {
	s, err := t.ready(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	w, err := s.work(ctx)
	return s, w, err
}

// settle ends the stream and adds what broke the order of updates.
func (t *trial) settle(w *workStream) error {
	err := w.finish()
	for _, p := range w.misorder() {
		t.failf("%s", p)
	}
	return err
}

// checkResult calls each handler once.
func checkResult(ctx context.Context, t *trial) error {
	if len(t.manifest.GetHandlers()) == 0 {
		return skipf("the plugin has no handlers")
	}
	calls, skipped := t.calls()
	if len(calls) == 0 {
		return skipf("no handler can be called: %v", skipped)
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	failed := 0
	for _, c := range calls {
		a, err := w.start(c)
		if err != nil {
			return err
		}
		r, err := w.result(ctx, a)
		if err != nil {
			t.failf("%v", err)
			continue
		}
		if r.GetError() != nil {
			failed++
		}
		if c.expected != nil && !sameJSON(c.expected, r.GetOutput()) {
			t.failf("handler %s: got %s, want output %s", c.handler, outcome(r), cut(string(c.expected)))
		}
	}
	t.sawf("%d handlers called, %d of them failed, %d not called", len(calls), failed, len(skipped))
	return t.settle(w)
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	if json.Compact(&x, canonical(a)) != nil || json.Compact(&y, canonical(b)) != nil {
		return false
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

// canonical sorts the keys of a document; numbers stay as they are written.
func canonical(doc []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return doc
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		return doc
	}
	return sorted
}

// checkForm calls each handler, and some that are not there, and judges every update.
func checkForm(ctx context.Context, t *trial) error {
	if len(t.manifest.GetHandlers()) == 0 {
		return skipf("the plugin has no handlers")
	}
	_, w, err := t.working(ctx, launch{level: "trace"})
	if err != nil {
		return err
	}
	calls, _ := t.calls()
	calls = append(calls, call{handler: "conform-unknown", version: 1, input: []byte("{}")})
	updates := 0
	for _, c := range calls {
		a, err := w.start(c)
		if err != nil {
			return err
		}
		if _, err := w.result(ctx, a); err != nil {
			return err
		}
	}
	err = w.finish()
	for _, p := range w.misform() {
		t.failf("%s", p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts {
		updates += a.updates
	}
	t.sawf("%d updates", updates)
	return err
}

// atOnce is how many attempts are run at the same time.
const atOnce = 100

// checkParallel runs attempts side by side, as many as the plugin allows.
func checkParallel(ctx context.Context, t *trial) error {
	c, err := t.quick()
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	width := t.width(c.handler, atOnce)
	kinds := make(map[string]int)
	for sent := 0; sent < atOnce; sent += width {
		n := min(width, atOnce-sent)
		var wave []*attempt
		frame := &pluginv1.WorkRequest{}
		for range n {
			a, wire := w.new(*c)
			wave, frame.Attempts = append(wave, a), append(frame.Attempts, wire)
		}
		for part := range slices.Chunk(frame.GetAttempts(), pluginv1.MaxFrameItems) {
			if err := w.send(&pluginv1.WorkRequest{Attempts: part}); err != nil {
				return err
			}
		}
		for _, a := range wave {
			r, err := w.result(ctx, a)
			if err != nil {
				return err
			}
			kinds[outcome(r)]++
			if c.expected != nil && !sameJSON(c.expected, r.GetOutput()) {
				t.failf("one of many: got %s, want output %s", outcome(r), cut(string(c.expected)))
			}
		}
	}
	t.sawf("%d attempts of %s, %d at once, %d kinds of results", atOnce, c.handler, width, len(kinds))
	return t.settle(w)
}

// width is how many attempts of a handler may run at once, at most n.
func (t *trial) width(handler string, n int) int {
	limits := []uint32{t.manifest.GetLimits().GetMaxConcurrency()}
	for _, h := range t.manifest.GetHandlers() {
		if h.GetName() == handler {
			limits = append(limits, h.GetMaxConcurrency())
		}
	}
	for _, l := range limits {
		if l > 0 {
			n = min(n, int(l))
		}
	}
	return n
}

// checkUnknownHandler calls what the plugin does not have.
func checkUnknownHandler(ctx context.Context, t *trial) error {
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	calls := []call{{handler: "conform-unknown", version: 1, input: []byte("{}")}}
	if hs := t.manifest.GetHandlers(); len(hs) > 0 {
		calls = append(calls, call{handler: hs[0].GetName(), version: 9999, input: []byte("{}")})
	}
	for _, c := range calls {
		a, err := w.start(c)
		if err != nil {
			return err
		}
		r, err := w.await(ctx, a, t.opts.Patience)
		if err != nil {
			return err
		}
		if r.GetError() == nil {
			t.failf("%s@%d, which it does not have: %s, want an error", c.handler, c.version, outcome(r))
		} else if k := r.GetError().GetKind(); k != pluginv1.ErrorKind_ERROR_KIND_PERMANENT {
			t.failf("%s@%d, which it does not have: the error is %s, want ERROR_KIND_PERMANENT: trying again is of no use", c.handler, c.version, k)
		}
		t.sawf("%s@%d: %s", c.handler, c.version, outcome(r))
	}
	return t.settle(w)
}

// later is a field that a later version of the wire may have.
func later() []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 500, protowire.BytesType), "later")
}

// checkUnknownFields sends what a later version may.
func checkUnknownFields(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	describe := &pluginv1.DescribeRequest{HostVersion: hostVersion, Features: []string{"unheard.of.v9"}}
	describe.ProtoReflect().SetUnknown(later())
	if _, err := s.plugin.Describe(ctx, describe); err != nil {
		return s.callError("Describe", err)
	}
	configure := &pluginv1.ConfigureRequest{Config: t.config, DataDir: s.dataDir(), LogLevel: "unheard-of"}
	configure.ProtoReflect().SetUnknown(later())
	if _, err := s.plugin.Configure(ctx, configure); err != nil {
		return s.callError("Configure", err)
	}
	w, err := s.work(ctx)
	if err != nil {
		return err
	}
	frame := &pluginv1.WorkRequest{}
	frame.ProtoReflect().SetUnknown(later())
	if err := w.send(frame); err != nil {
		return err
	}
	c, err := t.quick()
	if err != nil { // a subscriber has got everything that there is
		return w.finish()
	}
	a, wire := w.new(*c)
	wire.ProtoReflect().SetUnknown(later())
	if err := w.send(&pluginv1.WorkRequest{
		Attempts: []*pluginv1.Attempt{wire},
		Chunks:   []*pluginv1.Chunk{{AttemptId: taskID + "/9999/1", Ref: "unheard-of", Last: true}},
	}); err != nil {
		return err
	}
	r, err := w.result(ctx, a)
	if err != nil {
		return err
	}
	t.sawf("%s", outcome(r))
	return t.settle(w)
}

// checkBadInput calls a handler with what breaks its schema.
func checkBadInput(ctx context.Context, t *trial) error {
	calls, _ := t.calls()
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	tried := 0
	for _, c := range calls {
		var schema []byte
		for _, h := range t.manifest.GetHandlers() {
			if h.GetName() == c.handler && h.GetVersion() == c.version {
				schema = h.GetInputSchema()
			}
		}
		bad := violation(schema, c.input)
		if bad == nil {
			continue
		}
		tried++
		c.input = bad
		a, err := w.start(c)
		if err != nil {
			return err
		}
		r, err := w.result(ctx, a)
		if err != nil {
			return err
		}
		if r.GetError() == nil {
			t.failf("handler %s took %s, which breaks its input_schema: %s", c.handler, cut(string(bad)), outcome(r))
		}
	}
	if err := t.settle(w); err != nil {
		return err
	}
	if tried == 0 {
		return skipf("no handler has an input_schema that something breaks")
	}
	t.sawf("%d handlers refused what breaks their schema", tried)
	return nil
}

// checkCancel cancels what runs.
func checkCancel(ctx context.Context, t *trial) error {
	c, err := t.slow()
	if err != nil {
		return err
	}
	s, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	a, err := w.start(*c)
	if err != nil {
		return err
	}
	if err := s.awaitInFlight(ctx); err != nil {
		return err
	}
	if err := w.stop(a); err != nil {
		return err
	}
	r, err := w.await(ctx, a, t.opts.Patience)
	if err != nil {
		return fmt.Errorf("after its Cancel: %w", err)
	}
	if r.GetError().GetKind() != pluginv1.ErrorKind_ERROR_KIND_CANCELLED {
		t.failf("after its Cancel: %s, want an error ERROR_KIND_CANCELLED", outcome(r))
	}
	t.sawf("%s", outcome(r))
	return t.settle(w)
}

// checkLateCancel cancels what is over, and what never was.
func checkLateCancel(ctx context.Context, t *trial) error {
	c, err := t.quick()
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	for range 2 {
		a, err := w.start(*c)
		if err != nil {
			return err
		}
		if _, err := w.result(ctx, a); err != nil {
			return err
		}
		if err := w.send(&pluginv1.WorkRequest{Cancels: []*pluginv1.Cancel{{AttemptId: a.id}, {AttemptId: taskID + "/9999/1"}, {}}}); err != nil {
			return err
		}
	}
	return t.settle(w)
}

// checkDeadline gives an attempt less time than it takes.
func checkDeadline(ctx context.Context, t *trial) error {
	c, err := t.slow()
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	const limit = 300 * time.Millisecond
	a, wire := w.new(*c)
	wire.Timeout = durationpb.New(limit)
	if err := w.send(&pluginv1.WorkRequest{Attempts: []*pluginv1.Attempt{wire}}); err != nil {
		return err
	}
	r, err := w.await(ctx, a, t.opts.Patience)
	if err != nil {
		return fmt.Errorf("with a timeout of %s: %w", limit, err)
	}
	if r.GetError() == nil {
		t.failf("after its timeout of %s: %s, want an error", limit, outcome(r))
	}
	t.sawf("%s", outcome(r))
	return t.settle(w)
}

// checkTwice sends an attempt again while it runs.
func checkTwice(ctx context.Context, t *trial) error {
	c, err := t.slow()
	if err != nil {
		return err
	}
	s, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	a, wire := w.new(*c)
	for range 2 {
		if err := w.send(&pluginv1.WorkRequest{Attempts: []*pluginv1.Attempt{wire}}); err != nil {
			return err
		}
		if err := s.awaitInFlight(ctx); err != nil {
			return err
		}
	}
	if err := w.stop(a); err != nil {
		return err
	}
	if _, err := w.await(ctx, a, t.opts.Patience); err != nil {
		return err
	}
	return t.settle(w)
}

// checkPanic has one attempt panic beside another.
func checkPanic(ctx context.Context, t *trial) error {
	bad, err := t.needed("panic", t.opts.Fixtures.Roles.Panic, "a handler that panics")
	if err != nil {
		return err
	}
	s, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	var beside *attempt
	if c, err := t.slow(); err == nil {
		if beside, err = w.start(*c); err != nil {
			return err
		}
		if err := s.awaitInFlight(ctx); err != nil {
			return err
		}
	}
	a, err := w.start(*bad)
	if err != nil {
		return err
	}
	r, err := w.await(ctx, a, t.opts.Patience)
	if err != nil {
		return fmt.Errorf("after its panic: %w", err)
	}
	if r.GetError() == nil {
		t.failf("after its panic: %s, want an error", outcome(r))
	}
	t.sawf("%s", outcome(r))
	if err := s.alive(ctx); err != nil {
		return fmt.Errorf("after the panic of an attempt: %w", err)
	}
	if beside != nil {
		select {
		case <-beside.done:
			t.failf("the attempt beside it ended, too: %s", outcome(beside.result))
		default:
		}
		if err := w.stop(beside); err != nil {
			return err
		}
		if _, err := w.await(ctx, beside, t.opts.Patience); err != nil {
			return fmt.Errorf("the attempt beside it: %w", err)
		}
	}
	return t.settle(w)
}

// checkFetch hands the input over by reference.
func checkFetch(ctx context.Context, t *trial) error {
	c, err := t.quick()
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	const ref = "conform-input"
	a, wire := w.new(*c)
	wire.Input = &pluginv1.Value{Ref: ref, Size: uint64(len(c.input))}
	if err := w.send(&pluginv1.WorkRequest{Attempts: []*pluginv1.Attempt{wire}}); err != nil {
		return err
	}
	select {
	case f := <-a.fetches:
		if f.GetRef() != ref {
			return fmt.Errorf("it fetches %q, which nobody named: want %q", f.GetRef(), ref)
		}
	case <-a.done:
		return fmt.Errorf("it ended without a Fetch of its input, which came by reference: %s", outcome(a.result))
	case <-time.After(t.opts.Patience):
		return fmt.Errorf("no Fetch of its input, which came by reference, within %s", t.opts.Patience)
	}
	half := len(c.input) / 2
	for i, part := range [][]byte{c.input[:half], c.input[half:]} {
		chunk := &pluginv1.Chunk{AttemptId: a.id, Ref: ref, Data: part, Last: i == 1}
		if err := w.send(&pluginv1.WorkRequest{Chunks: []*pluginv1.Chunk{chunk}}); err != nil {
			return err
		}
	}
	r, err := w.result(ctx, a)
	if err != nil {
		return err
	}
	if c.expected != nil && !sameJSON(c.expected, r.GetOutput()) {
		t.failf("with its input in two chunks: got %s, want output %s", outcome(r), cut(string(c.expected)))
	}
	t.sawf("%s of %d bytes in two chunks: %s", c.handler, len(c.input), outcome(r))
	return t.settle(w)
}

// largeInput is beyond the 4 MiB that gRPC servers take by default.
const largeInput = 6 << 20

// checkLargeInput sends a message of several MiB.
func checkLargeInput(ctx context.Context, t *trial) error {
	c, err := t.quick()
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	large := *c
	large.input = append(bytes.Repeat([]byte(" "), largeInput), c.input...) // blanks change no JSON
	a, err := w.start(large)
	if err != nil {
		return err
	}
	r, err := w.result(ctx, a)
	if err != nil {
		return fmt.Errorf("an input of %d MiB: %w", largeInput>>20, err)
	}
	if c.expected != nil && !sameJSON(c.expected, r.GetOutput()) {
		t.failf("an input of %d MiB: got %s, want output %s", largeInput>>20, outcome(r), cut(string(c.expected)))
	}
	t.sawf("an input of %d MiB: %s", largeInput>>20, outcome(r))
	return t.settle(w)
}

// checkLargeResult has a handler return several MiB.
func checkLargeResult(ctx context.Context, t *trial) error {
	c, err := t.needed("large", t.opts.Fixtures.Roles.Large, "a handler that returns more than 4 MiB")
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	a, err := w.start(*c)
	if err != nil {
		return err
	}
	r, err := w.await(ctx, a, t.opts.Patience)
	if err != nil {
		return err
	}
	const least = 4 << 20
	if n := len(r.GetOutput()); n <= least {
		t.failf("the output has %d bytes: want more than %d, for the check to mean something; got %s", n, least, outcome(r))
	}
	t.sawf("%d bytes, a frame of %d", len(r.GetOutput()), proto.Size(r))
	return t.settle(w)
}

// checkHalfClose sends attempts and at once that no more come.
func checkHalfClose(ctx context.Context, t *trial) error {
	c, err := t.quick()
	if err != nil {
		return err
	}
	_, w, err := t.working(ctx, launch{})
	if err != nil {
		return err
	}
	var sent []*attempt
	for range t.width(c.handler, 5) {
		a, err := w.start(*c)
		if err != nil {
			return err
		}
		sent = append(sent, a)
	}
	if err := t.settle(w); err != nil {
		return err
	}
	for _, a := range sent {
		if _, err := w.await(ctx, a, t.opts.Patience); err != nil {
			return err
		}
	}
	t.sawf("%d results, then the end of the stream", len(sent))
	return nil
}
