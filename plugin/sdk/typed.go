package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Func makes a handler from a function. Input and results are its types; I or O may be any,
// [json.RawMessage] or struct{} where there is nothing to say.
func Func[I, O any](fn func(ctx context.Context, in I) (O, error), opts ...Options) Handler {
	return &function[I, O]{fn: fn, opts: opts}
}

// TypedHandler is a handler whose input and results have types; see [Typed].
type TypedHandler[I, O any] interface {
	Process(ctx context.Context, in I) (O, error)
}

// Typed makes a handler from a value with typed methods, and infers the types:
//
//	type Charge struct{ client *http.Client }
//
//	func (c *Charge) Process(ctx context.Context, in Order) (Payment, error)
//	func (c *Charge) ProcessResults(ctx context.Context, p Payment) (Receipt, error) // optional
//
//	sdk.Handlers{"charge": sdk.Typed(&Charge{client: http.DefaultClient})}
//
// ProcessResults takes what Process returned and returns what is stored instead: any type and an
// error, or an error alone to change nothing. A nil result changes nothing either. A ProcessResults of
// another shape is an error of the declaration, never ignored.
func Typed[I, O any](h TypedHandler[I, O], opts ...Options) Handler {
	return &typed[I, O]{h: h, opts: opts}
}

// function is a handler made by Func.
type function[I, O any] struct {
	fn   func(context.Context, I) (O, error)
	opts []Options
}

// Process implements Handler.
func (f *function[I, O]) Process(ctx context.Context, input json.RawMessage) (any, error) {
	return processTyped(ctx, input, f.fn)
}

func (f *function[I, O]) bind() (*bound, error) {
	if f.fn == nil {
		return nil, errors.New("the function is nil")
	}
	b := &bound{process: f.Process, in: reflect.TypeFor[I](), out: reflect.TypeFor[O]()}
	return b.with(f.opts)
}

// typed is a handler made by Typed.
type typed[I, O any] struct {
	h    TypedHandler[I, O]
	opts []Options
}

// Process implements Handler.
func (t *typed[I, O]) Process(ctx context.Context, input json.RawMessage) (any, error) {
	return processTyped(ctx, input, t.h.Process)
}

func (t *typed[I, O]) bind() (*bound, error) {
	if isNil(t.h) {
		return nil, errors.New("the handler is nil")
	}
	b := &bound{process: t.Process, in: reflect.TypeFor[I](), out: reflect.TypeFor[O](), powers: t.h}
	if m := reflect.ValueOf(t.h).MethodByName("ProcessResults"); m.IsValid() {
		results, out, err := bindResults[O](m)
		if err != nil {
			return nil, fmt.Errorf("%T: %w", t.h, err)
		}
		b.results = results
		if out != nil {
			b.out = out
		}
	}
	return b.with(t.opts)
}

// bindResults makes a typed ProcessResults callable. The type is that of its result, nil when it has none.
func bindResults[O any](m reflect.Value) (func(context.Context, any) (any, error), reflect.Type, error) {
	ctxType, errType, outType := reflect.TypeFor[context.Context](), reflect.TypeFor[error](), reflect.TypeFor[O]()
	t := m.Type()
	last := t.NumOut() - 1
	if t.NumIn() != 2 || t.IsVariadic() || t.In(0) != ctxType || !outType.AssignableTo(t.In(1)) || last < 0 || last > 1 || t.Out(last) != errType {
		return nil, nil, fmt.Errorf("ProcessResults is %s; want func(context.Context, %s) (R, error) with any R, or without R", t, outType)
	}
	call := func(ctx context.Context, output any) (any, error) {
		arg := reflect.New(t.In(1)).Elem()
		if output != nil {
			arg.Set(reflect.ValueOf(output))
		}
		out := m.Call([]reflect.Value{reflect.ValueOf(ctx), arg})
		err, _ := reflect.TypeAssert[error](out[last]) // nil when it is no error
		if last == 0 {
			return nil, err
		}
		return out[0].Interface(), err
	}
	if last == 0 {
		return call, nil, nil
	}
	return call, t.Out(0), nil
}

// processTyped decodes the input and calls.
func processTyped[I, O any](ctx context.Context, input json.RawMessage, fn func(context.Context, I) (O, error)) (any, error) {
	var in I
	if err := decode(input, &in, false); err != nil {
		return nil, Permanent(WithCode(fmt.Errorf("decode the input: %w", err), CodeInvalidInput))
	}
	return fn(ctx, in)
}

// decode unmarshals a document; an empty one leaves v as it is. Strict refuses keys that v does not have.
func decode(doc []byte, v any, strict bool) error {
	if len(doc) == 0 {
		return nil
	}
	if !strict {
		return json.Unmarshal(doc, v)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// encode marshals a document without escaping what only HTML needs escaped.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
