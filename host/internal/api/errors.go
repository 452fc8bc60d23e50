package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// errorKind is a row of the one table between errors and the wire.
type errorKind struct {
	sentinel error
	name     string // in ErrorInfo.codes
	code     codes.Code
}

// errorKinds is the table. An error that wraps several sentinels keeps them all; the
// first row that matches gives the gRPC code.
func errorKinds() []errorKind {
	return []errorKind{
		{ErrNoHost, "no_host", codes.Unavailable},
		{ErrEmbedded, "embedded", codes.FailedPrecondition},
		{ErrUnknownHandler, "unknown_handler", codes.FailedPrecondition},
		{ErrDenied, "denied", codes.PermissionDenied},
		{ErrNoMetrics, "no_metrics", codes.FailedPrecondition},
		{task.ErrNotFound, "not_found", codes.NotFound},
		{task.ErrAmbiguous, "ambiguous", codes.InvalidArgument},
		{task.ErrTransition, "transition", codes.FailedPrecondition},
		{task.ErrKeyConflict, "key_conflict", codes.AlreadyExists},
		{task.ErrTooLarge, "too_large", codes.OutOfRange},
		{task.ErrLocked, "locked", codes.FailedPrecondition},
		{task.ErrStopping, "stopping", codes.Unavailable},
		{task.ErrBadID, "bad_id", codes.InvalidArgument},
		{task.ErrInvalid, "invalid", codes.InvalidArgument},
		{store.ErrConflict, "conflict", codes.Aborted},
		{store.ErrClosed, "closed", codes.Unavailable},
		{store.ErrVersion, "version", codes.FailedPrecondition},
		{store.ErrCorrupt, "corrupt", codes.DataLoss},
		{store.ErrReadOnly, "read_only", codes.FailedPrecondition},
		{context.Canceled, "cancelled", codes.Canceled},
		{context.DeadlineExceeded, "deadline", codes.DeadlineExceeded},
	}
}

// toWire makes a gRPC status of an error, with its sentinels and its hint.
func toWire(err error) error {
	if err == nil {
		return nil
	}
	info := &hostv1.ErrorInfo{}
	code := codes.Unknown
	for _, k := range errorKinds() {
		if !errors.Is(err, k.sentinel) {
			continue
		}
		if len(info.GetCodes()) == 0 {
			code = k.code
		}
		info.Codes = append(info.Codes, k.name)
	}
	if h, ok := errors.AsType[Hinter](err); ok {
		info.Hint = h.Hint()
	}
	st, detailErr := status.New(code, err.Error()).WithDetails(info)
	if detailErr != nil {
		return status.Error(code, err.Error())
	}
	return st.Err()
}

// remoteError is an error that crossed the socket.
type remoteError struct {
	message string
	kinds   []error
	hint    string
}

func (e *remoteError) Error() string   { return e.message }
func (e *remoteError) Unwrap() []error { return e.kinds }
func (e *remoteError) Hint() string    { return e.hint }

// fromWire is the inverse of toWire. What gRPC itself reports becomes an error of this
// package: a broken connection is [ErrNoHost], because the host is gone.
func fromWire(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		info, ok := d.(*hostv1.ErrorInfo)
		if !ok {
			continue
		}
		e := &remoteError{message: st.Message(), hint: info.GetHint()}
		for _, k := range errorKinds() {
			for _, name := range info.GetCodes() {
				if name == k.name {
					e.kinds = append(e.kinds, k.sentinel)
				}
			}
		}
		return e
	}
	switch st.Code() {
	case codes.Canceled:
		return &remoteError{message: "cancelled", kinds: []error{context.Canceled}}
	case codes.DeadlineExceeded:
		return &remoteError{message: "the host did not answer in time", kinds: []error{context.DeadlineExceeded}}
	case codes.Unavailable:
		return &remoteError{
			message: "the host went away: " + st.Message(),
			kinds:   []error{ErrNoHost},
			hint:    "tasker health",
		}
	case codes.Unimplemented:
		return &remoteError{
			message: "the running host is of another version and does not know this request",
			hint:    "tasker version; tasker health",
		}
	default:
		return &remoteError{message: st.Message()}
	}
}
