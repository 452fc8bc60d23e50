package boltstore

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/host/task"
)

// This file encodes the records that every transition writes: those of steps and of
// tasks. It writes the messages of proto/tasker/store/v1 field by field, without making
// them first, which takes a sixth of the time and no memory. They are read as messages;
// tests hold that what is written here is what is read there.

// encoder appends the fields of a message to a buffer. A field that is zero is left out.
type encoder struct{ buf []byte }

func (e *encoder) number(n protowire.Number, v uint64) {
	if v != 0 {
		e.buf = protowire.AppendVarint(protowire.AppendTag(e.buf, n, protowire.VarintType), v)
	}
}

// signed is number for the types int32 and int64.
func (e *encoder) signed(n protowire.Number, v int64) {
	e.number(n, uint64(v)) //nolint:gosec // the wire has the bits
}

func (e *encoder) flag(n protowire.Number, v bool) {
	if v {
		e.number(n, 1)
	}
}

func (e *encoder) double(n protowire.Number, v float64) {
	if bits := math.Float64bits(v); bits != 0 {
		e.buf = protowire.AppendFixed64(protowire.AppendTag(e.buf, n, protowire.Fixed64Type), bits)
	}
}

func (e *encoder) text(n protowire.Number, v string) {
	if v != "" {
		e.item(n, v)
	}
}

// item is text for a list, which has its empty ones too.
func (e *encoder) item(n protowire.Number, v string) {
	e.buf = protowire.AppendString(protowire.AppendTag(e.buf, n, protowire.BytesType), text(v))
}

func (e *encoder) bytes(n protowire.Number, v []byte) {
	if len(v) > 0 {
		e.buf = protowire.AppendBytes(protowire.AppendTag(e.buf, n, protowire.BytesType), v)
	}
}

// begin starts a field that is a message, or a list of numbers; it is written even when
// nothing follows. The result is for end.
func (e *encoder) begin(n protowire.Number) (start int) {
	e.buf = append(protowire.AppendTag(e.buf, n, protowire.BytesType), 0) // room for a length below 128
	return len(e.buf)
}

func (e *encoder) end(start int) {
	size := uint64(len(e.buf) - start) //nolint:gosec // it has grown since
	if more := protowire.SizeVarint(size) - 1; more > 0 {
		e.buf = append(e.buf, make([]byte, more)...)
		copy(e.buf[start+more:], e.buf[start:])
	}
	protowire.AppendVarint(e.buf[:start-1], size) // in place
}

// step appends a StepRecord. Errors: task.ErrInvalid.
func (e *encoder) step(s *task.Step, revision, seq uint64) error {
	e.text(1, string(s.Status))
	e.number(2, uint64(s.Attempts))
	e.number(3, uint64(s.Failures))
	e.number(4, uint64(s.Losses))
	e.settings(5, s.Settings)
	if err := e.attempt(6, s.Attempt); err != nil {
		return err
	}
	e.signed(7, nanos(s.StartedAt))
	e.signed(8, nanos(s.CompletedAt))
	e.signed(9, nanos(s.ReadyAt))
	e.signed(10, nanos(s.RetryAt))
	e.signed(11, nanos(s.HoldUntil))
	if err := e.value(12, s.Results); err != nil {
		return err
	}
	e.failure(13, s.Failure)
	e.text(14, s.Note)
	e.resolution(15, s.Resolution)
	if l := s.Late; l != nil {
		start := e.begin(16)
		e.number(1, uint64(l.Number))
		e.text(2, l.Outcome)
		e.signed(3, nanos(l.At))
		e.end(start)
	}
	e.number(17, uint64(s.LateCount))
	e.flag(18, s.HasCheckpoint)
	e.number(19, revision)
	e.number(20, seq)
	e.number(21, uint64(s.Round))
	return nil
}

func (e *encoder) settings(n protowire.Number, s *task.Settings) {
	if s == nil {
		return
	}
	start := e.begin(n)
	e.number(1, uint64(s.HandlerVersion))
	e.text(2, s.PluginVersion)
	e.retry(3, &s.Retry)
	e.flag(4, s.Retryable)
	e.signed(5, int64(s.Timeout))
	e.signed(6, int64(s.HeartbeatTimeout))
	e.signed(7, int64(s.ScheduleToStart))
	e.signed(8, int64(s.TotalTimeout))
	e.signed(9, int64(s.CancelGrace))
	e.text(10, string(s.OnCrash))
	e.end(start)
}

func (e *encoder) retry(n protowire.Number, r *task.Retry) {
	start := e.begin(n)
	e.number(1, uint64(r.Limit))
	e.text(2, string(r.Backoff))
	e.signed(3, int64(r.Base))
	e.double(4, r.Factor)
	e.signed(5, int64(r.Cap))
	if len(r.List) > 0 {
		list := e.begin(6)
		for _, d := range r.List {
			e.buf = protowire.AppendVarint(e.buf, uint64(d)) //nolint:gosec // the wire has the bits
		}
		e.end(list)
	}
	if j := r.Jitter; j != nil {
		jitter := e.begin(7)
		e.text(1, string(j.Kind))
		e.double(2, j.Percent)
		e.end(jitter)
	}
	e.end(start)
}

func (e *encoder) attempt(n protowire.Number, a *task.Attempt) error {
	if a == nil {
		return nil
	}
	start := e.begin(n)
	e.number(1, uint64(a.Number))
	e.text(2, string(a.Status))
	e.number(3, a.Epoch)
	e.text(4, a.Instance)
	e.signed(5, nanos(a.StartedAt))
	e.signed(6, nanos(a.EndedAt))
	e.failure(7, a.Failure)
	if err := e.value(8, a.Input); err != nil {
		return err
	}
	e.end(start)
	return nil
}

// value appends a Value. Errors: task.ErrInvalid for a digest that is none.
func (e *encoder) value(n protowire.Number, v task.Value) error {
	if v.Ref == nil && len(v.Inline) == 0 {
		return nil
	}
	start := e.begin(n)
	if ref := v.Ref; ref == nil {
		e.bytes(1, v.Inline)
	} else {
		sum, err := parseHash("digest of a blob", ref.SHA256)
		if err != nil {
			return err
		}
		blob := e.begin(2)
		e.number(1, uint64(ref.N))
		e.signed(2, ref.Size)
		e.bytes(3, sum)
		e.end(blob)
	}
	e.end(start)
	return nil
}

func (e *encoder) failure(n protowire.Number, f *task.Failure) {
	if f == nil {
		return
	}
	start := e.begin(n)
	e.text(1, string(f.Kind))
	e.text(2, f.Code)
	e.text(3, f.Message)
	e.text(4, f.Class)
	e.text(5, string(f.Source))
	e.bytes(6, f.Details)
	e.bytes(7, f.Partial)
	e.signed(8, int64(f.RetryAfter))
	for _, frame := range f.Stack {
		e.item(9, frame)
	}
	e.end(start)
}

func (e *encoder) resolution(n protowire.Number, r *task.Resolution) {
	if r == nil {
		return
	}
	start := e.begin(n)
	e.text(1, r.By)
	e.text(2, r.Reason)
	e.signed(3, nanos(r.At))
	e.end(start)
}

// task appends a TaskRecord.
func (e *encoder) task(t *task.Task, revision, seq uint64) {
	e.text(1, string(t.Status))
	if s := t.Stop; s != nil {
		start := e.begin(2)
		e.text(1, string(s.Kind))
		e.signed(2, nanos(s.At))
		e.text(3, s.By)
		e.text(4, s.Reason)
		e.end(start)
	}
	e.failure(3, t.Failure)
	e.signed(4, nanos(t.StartedAt))
	e.signed(5, nanos(t.CompletedAt))
	e.signed(6, nanos(t.UpdatedAt))
	e.resolution(7, t.Resolution)
	e.number(8, revision)
	e.number(9, seq)
	e.flag(10, t.DeadlineSpent)
}

// spec appends the SpecRecord of a task of so many steps, whose template has the hash.
// Errors: task.ErrInvalid.
func (e *encoder) spec(s *task.Spec, hash []byte, steps uint32) error {
	e.text(1, s.Template.Namespace)
	e.text(2, s.Template.Name)
	e.text(3, s.Template.Version)
	e.bytes(4, hash)
	if err := e.value(5, s.Input); err != nil {
		return err
	}
	if s.InputHash != "" {
		sum, err := parseHash("input hash", s.InputHash)
		if err != nil {
			return err
		}
		e.bytes(6, sum)
	}
	if s.CorrelationID != string(s.ID) {
		e.text(7, s.CorrelationID)
	}
	e.text(8, s.Initiator)
	e.text(9, s.SourceSystem)
	e.text(10, s.Reason)
	for _, tag := range s.Tags {
		e.item(11, tag)
	}
	e.signed(12, int64(s.Priority))
	for _, name := range s.Bypass {
		e.item(13, string(name))
	}
	e.signed(14, nanos(s.Deadline))
	e.signed(15, nanos(s.CreatedAt))
	e.text(16, s.IdempotencyKey)
	e.signed(17, int64(s.KeyTTL))
	e.number(18, uint64(steps))
	e.flag(19, s.CorrelationSet)
	e.text(20, s.Traceparent)
	e.text(21, s.Tracestate)
	return nil
}
