package sdk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

const (
	maxMessage = 8 << 10 // bytes of an error's message
	maxFrames  = 10      // frames of a stack
)

// panicError is what a handler's panic becomes.
type panicError struct {
	value any
	stack []string
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func (p *panicError) Unwrap() error {
	err, _ := p.value.(error) // nil when it is none
	return err
}

// recovered makes an error of what a deferred recover returned. Nil means that the handler ended its
// goroutine, as testing.T.FailNow does.
func recovered(value any) error {
	if value == nil {
		value = "the handler ended its goroutine with runtime.Goexit"
	}
	return &Error{Err: &panicError{value: value, stack: stack()}, Code: CodePanic}
}

// stack returns the innermost frames of the author's code that panicked, or ended its goroutine. It is called
// from a deferred function.
func stack() []string {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var out []string
	unwinding := true // the frames of the deferred function come first
	for more := true; more && len(out) < maxFrames; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case unwinding:
			unwinding = f.Function != "runtime.gopanic" && f.Function != "runtime.Goexit"
		case calls(f.Function): // what called the author's code
			return out
		case !strings.HasPrefix(f.Function, "runtime."):
			out = append(out, f.Function+" "+f.File+":"+strconv.Itoa(f.Line))
		}
	}
	return out
}

// calls reports whether a function is one of those that call the author's code.
func calls(function string) bool {
	for _, name := range []string{"sdk.(*attempt).execute", "sdk.(*delivery).handle", "sdk.(*deliverStream).handle", "sdk.(*subscription).configOf", "sdk.check"} {
		if strings.HasSuffix(function, name) {
			return true
		}
	}
	return strings.Contains(function, "/sdk.routeOf[") || function == "reflect.callMethod"
}

// failure translates an error into the wire's form. The attempt's context tells a cancelled attempt from a failed one.
func failure(ctx context.Context, err error) *pluginv1.Error {
	e := Explain(err)
	out := &pluginv1.Error{
		Kind:    pluginv1.ErrorKind_ERROR_KIND_RETRYABLE,
		Code:    e.Code,
		Message: cut(textOf(err), maxMessage),
		Class:   class(err),
		Source:  pluginv1.ErrorSource_ERROR_SOURCE_PLUGIN,
		Details: document(e.Details, MaxDetails),
		Partial: document(e.Partial, MaxPartial),
	}
	switch e.Verdict {
	case Final:
		out.Kind = pluginv1.ErrorKind_ERROR_KIND_PERMANENT
	case Cancelled:
		out.Kind = pluginv1.ErrorKind_ERROR_KIND_CANCELLED
	case Undecided:
		inferred(ctx, err, out)
	case Retryable: // what it is already
	}
	if e.Source == FromDownstream {
		out.Source = pluginv1.ErrorSource_ERROR_SOURCE_DOWNSTREAM
	}
	if e.RetryAfter > 0 {
		out.RetryAfter = durationpb.New(e.RetryAfter)
	}
	out.Stack = stackOf(err)
	return out
}

// inferred sets the kind of an error that has no verdict of its own: after its context has ended, an attempt
// fails because of that end.
func inferred(ctx context.Context, err error, out *pluginv1.Error) {
	cause, ended := errors.AsType[*CancelError](context.Cause(ctx))
	if _, panicked := errors.AsType[*panicError](err); !ended || panicked {
		return
	}
	if cause.Reason != ReasonTimeout {
		out.Kind = pluginv1.ErrorKind_ERROR_KIND_CANCELLED
	}
	if out.GetCode() == "" {
		out.Code = cause.Reason
	}
}

// textOf returns an error's message, even when asking for it panics.
func textOf(err error) (msg string) {
	defer func() {
		if p := recover(); p != nil {
			msg = fmt.Sprintf("%T, whose Error method panics: %v", err, p)
		}
	}()
	return err.Error()
}

// class names the type of the innermost error that says more than a text, else the innermost one's.
func class(err error) string {
	var name string
	var special bool
	walk(err, func(err error) {
		t := fmt.Sprintf("%T", err)
		switch {
		case !plain(err, t):
			name, special = t, true
		case !special:
			name = t
		}
	})
	if p, ok := errors.AsType[*panicError](err); ok && p.Unwrap() == nil {
		return fmt.Sprintf("%T", p.value)
	}
	return name
}

// plain reports whether an error's type only carries text or other errors.
func plain(err error, name string) bool {
	switch err.(type) { //nolint:errorlint // about this very link of the chain
	case *Error, *panicError:
		return true
	}
	return strings.HasPrefix(name, "*fmt.") || strings.HasPrefix(name, "*errors.")
}

// document marshals what comes with an error. What cannot be marshalled or is too large is replaced by a
// document that says so.
func document(v any, limit int) []byte {
	if v == nil {
		return nil
	}
	doc, err := encodeSafely(v)
	if err == nil && len(doc) <= limit {
		return doc
	}
	why := fmt.Sprintf("%d bytes are more than %d", len(doc), limit)
	if err != nil {
		why = cut(fmt.Sprintf("%s does not marshal: %v", reflect.TypeOf(v), err), 1<<10)
	}
	doc, _ = encode(map[string]string{"omitted": why}) // strings always marshal
	return doc
}

// encodeSafely marshals where a panic would end the process.
func encodeSafely(v any) (doc []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			doc, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	return encode(v)
}

// cut shortens a text to at most limit bytes of valid UTF-8.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	const mark = " ..."
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// stackOf returns the frames of the panic that an error is, nil when it is none.
func stackOf(err error) []string {
	if p, ok := errors.AsType[*panicError](err); ok {
		return p.stack
	}
	return nil
}
