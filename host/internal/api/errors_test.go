package api

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tasker-engine/tasker/host/task"
)

type hinted struct{ error }

func (hinted) Hint() string    { return "tasker serve" }
func (h hinted) Unwrap() error { return h.error }

// TestErrorsCross: errors.Is says on the client's side what it said on the host's.
func TestErrorsCross(t *testing.T) {
	for _, k := range errorKinds() {
		t.Run(k.name, func(t *testing.T) {
			sent := fmt.Errorf("outer: %w", hinted{fmt.Errorf("inner: %w", k.sentinel)})
			got := fromWire(toWire(sent))
			for _, other := range errorKinds() {
				if is, want := errors.Is(got, other.sentinel), errors.Is(sent, other.sentinel); is != want {
					t.Errorf("errors.Is(%v) = %t, want %t", other.sentinel, is, want)
				}
			}
			if got.Error() != sent.Error() {
				t.Errorf("message %q, want %q", got, sent)
			}
			h, ok := errors.AsType[Hinter](got)
			if !ok || h.Hint() != "tasker serve" {
				t.Errorf("hint lost: %#v", got)
			}
			if code := status.Code(toWire(sent)); code != k.code {
				t.Errorf("code %s, want %s", code, k.code)
			}
		})
	}
	t.Run("several kinds", func(t *testing.T) {
		got := fromWire(toWire(errors.Join(ErrUnknownHandler, task.ErrInvalid)))
		if !errors.Is(got, ErrUnknownHandler) || !errors.Is(got, task.ErrInvalid) {
			t.Errorf("%v lost a kind", got)
		}
	})
	t.Run("no kind", func(t *testing.T) {
		if got := fromWire(toWire(io.ErrUnexpectedEOF)); got.Error() != io.ErrUnexpectedEOF.Error() {
			t.Errorf("message %q, want %q", got, io.ErrUnexpectedEOF)
		}
	})
	t.Run("nil", func(t *testing.T) {
		if err := fromWire(toWire(nil)); err != nil {
			t.Errorf("nil became %v", err)
		}
	})
	t.Run("connection lost", func(t *testing.T) {
		if got := fromWire(status.Error(codes.Unavailable, "connection reset")); !errors.Is(got, ErrNoHost) {
			t.Errorf("%v is no ErrNoHost", got)
		}
	})
}
