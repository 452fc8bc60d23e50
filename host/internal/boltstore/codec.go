package boltstore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// Conversion between the domain and the records, written out by hand. The conventions
// are those of the records: a time is nanoseconds with 0 for the zero time, a hash is its
// bytes, an empty list is nil. What every transition writes does not become a message
// first: see encode.go.

// appendRecord appends the encoding of a record to buf.
func appendRecord(buf []byte, m proto.Message) ([]byte, error) {
	out, err := proto.MarshalOptions{}.MarshalAppend(buf, m)
	if err != nil {
		return buf, fmt.Errorf("encode %s: %w: %w", m.ProtoReflect().Descriptor().Name(), task.ErrInvalid, err)
	}
	return out, nil
}

// decode reads a record; place names it in the error, which wraps store.ErrCorrupt.
func decode(b []byte, m proto.Message, place string) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %s: %w", store.ErrCorrupt, place, err)
	}
	return nil
}

// decodePrefixed reads a record behind its 8-byte prefix and returns the prefix.
func decodePrefixed(b []byte, m proto.Message, place string) (uint64, error) {
	prefix, ok := asSeq(b)
	if !ok {
		return 0, fmt.Errorf("%w: %s: %d bytes, too short", store.ErrCorrupt, place, len(b))
	}
	return prefix, decode(b[prefixLen:], m, place)
}

// nanos returns what is stored for a time. Nanoseconds reach from 1677 to 2262: a time
// beyond is stored as the end of that, so that never stays never and is not long ago.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	default:
		return t.UnixNano()
	}
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// text makes s fit a protobuf string: what plugins write need not be UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func texts(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = text(s)
	}
	return out
}

func rawJSON(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return json.RawMessage(b)
}

func hashText(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return hex.EncodeToString(b)
}

func valueFromRecord(r *storev1.Value) task.Value {
	if b := r.GetBlob(); b != nil {
		return task.Value{Ref: &task.BlobRef{N: b.GetN(), Size: b.GetSize(), SHA256: hashText(b.GetSha256())}}
	}
	return task.Value{Inline: rawJSON(r.GetInline())}
}

func failureFromRecord(r *storev1.Failure) *task.Failure {
	if r == nil {
		return nil
	}
	return &task.Failure{
		Kind: task.ErrorKind(r.GetKind()), Code: r.GetCode(), Message: r.GetMessage(), Class: r.GetClass(),
		Source: task.ErrorSource(r.GetSource()), Details: rawJSON(r.GetDetails()), Partial: rawJSON(r.GetPartial()),
		RetryAfter: task.Duration(r.GetRetryAfter()), Stack: r.GetStack(),
	}
}

func resolutionFromRecord(r *storev1.Resolution) *task.Resolution {
	if r == nil {
		return nil
	}
	return &task.Resolution{By: r.GetBy(), Reason: r.GetReason(), At: fromNanos(r.GetAt())}
}

func crashToRecord(c *store.Crash) *storev1.CrashRecord {
	return &storev1.CrashRecord{
		Plugin: text(c.Plugin), Version: text(c.Version), Instance: text(c.Instance), At: nanos(c.At),
		Phase: text(c.Phase), Cause: text(c.Cause), Signal: text(c.Signal),
		ExitCode: int32(c.ExitCode), //nolint:gosec // exit codes have 32 bits at most
		Stderr:   texts(c.Stderr), Panic: text(c.Panic), Attempts: texts(c.Attempts),
	}
}

func crashFromRecord(r *storev1.CrashRecord) store.Crash {
	return store.Crash{
		Plugin: r.GetPlugin(), Version: r.GetVersion(), Instance: r.GetInstance(), At: fromNanos(r.GetAt()),
		Phase: r.GetPhase(), Cause: r.GetCause(), ExitCode: int(r.GetExitCode()), Signal: r.GetSignal(),
		Stderr: r.GetStderr(), Panic: r.GetPanic(), Attempts: r.GetAttempts(),
	}
}

func checkpointToRecord(c *store.Checkpoint) *storev1.CheckpointRecord {
	return &storev1.CheckpointRecord{
		Attempt: c.Attempt, Checkpoint: c.Data, Progress: c.Progress, Note: text(c.Note), At: nanos(c.At),
	}
}

func checkpointFromRecord(id task.StepID, r *storev1.CheckpointRecord) store.Checkpoint {
	return store.Checkpoint{
		Step: id, Attempt: r.GetAttempt(), Data: rawJSON(r.GetCheckpoint()), Progress: r.GetProgress(),
		Note: r.GetNote(), At: fromNanos(r.GetAt()),
	}
}
