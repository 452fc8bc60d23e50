package publish

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// drawInto fills every field of a struct, however deep, so that a field that is added
// to an event is drawn here without anybody thinking of it.
func drawInto(t *rapid.T, v reflect.Value, name string) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z/@.-]{0,8}`),
		rapid.SampledFrom([]string{"", "<a> & \"b\"\\", "é\u2028\u2029\x7f", "tab\tnew\nline\x00", "\xff\xfe"}))
	switch v.Interface().(type) {
	case json.RawMessage:
		if rapid.Bool().Draw(t, name+" set") {
			v.SetBytes(drawJSON(t, name, text))
		}
		return
	case time.Time:
		if rapid.IntRange(0, 3).Draw(t, name+" unset") == 0 {
			return
		}
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, name), rapid.Int64Range(0, 999_999_999).Draw(t, name+" ns")).UTC()))
		return
	case event.Seconds:
		v.Set(reflect.ValueOf(event.SecondsOf(time.Duration(rapid.Int64Range(0, int64(1e17)).Draw(t, name)))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, name+" set") {
			v.Set(reflect.New(v.Type().Elem()))
			drawInto(t, v.Elem(), name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(t, name+" length"), 3))
		for i := range v.Len() {
			drawInto(t, v.Index(i), name)
		}
	case reflect.String:
		v.SetString(text.Draw(t, name))
	case reflect.Uint32:
		v.SetUint(uint64(rapid.Uint32().Draw(t, name)))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, name))
	case reflect.Int32:
		v.SetInt(int64(rapid.Int32().Draw(t, name)))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, name))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Map:
		if rapid.Bool().Draw(t, name+" set") {
			v.Set(reflect.ValueOf(rapid.MapOf(text, rapid.Int()).Draw(t, name)).Convert(v.Type()))
		}
	default:
		t.Fatalf("%s: no idea how to draw a %s", name, v.Type())
	}
}

// drawJSON draws a valid document, with white space and without.
func drawJSON(t *rapid.T, name string, text *rapid.Generator[string]) []byte {
	doc, err := json.Marshal(map[string]any{
		text.Draw(t, name+" key"): text.Draw(t, name+" text"), "n": rapid.Int64().Draw(t, name+" number"), "l": []bool{true, false},
	})
	if err != nil {
		t.Fatal(err)
	}
	switch rapid.IntRange(0, 3).Draw(t, name+" form") {
	case 0:
		return append(append([]byte(" \n"), doc...), '\t')
	case 1:
		return bytes.ReplaceAll(doc, []byte(`\u003c`), []byte("<"))
	case 2:
		return bytes.ReplaceAll(doc, []byte(`\u2028`), []byte("\u2028"))
	default:
		return doc
	}
}

// TestPayloadEncoders: what is written by hand is what encoding/json writes.
func TestPayloadEncoders(t *testing.T) {
	for _, payload := range event.Payloads() {
		t.Run(payload.EventName(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				v := reflect.New(reflect.TypeOf(payload))
				drawInto(t, v.Elem(), "payload")
				e, ok := reflect.TypeAssert[event.Payload](v)
				if !ok {
					t.Fatalf("%s is no payload", v.Type())
				}
				want, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				got, err := encodePayload([]byte("before "), e)
				if err != nil || string(got) != "before "+string(want) {
					t.Fatalf("%v\ngot  %s\nwant before %s", err, got, want)
				}
			})
		})
	}
}

// TestEnvelopeEncoder: so is the envelope, field by field, and nothing is missing.
func TestEnvelopeEncoder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &eventv1.Event{}
		fields := e.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			var v protoreflect.Value
			switch f.Kind() {
			case protoreflect.StringKind:
				v = protoreflect.ValueOfString(rapid.String().Draw(t, string(f.Name())))
			case protoreflect.Int64Kind:
				v = protoreflect.ValueOfInt64(rapid.Int64().Draw(t, string(f.Name())))
			case protoreflect.Uint64Kind:
				v = protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, string(f.Name())))
			case protoreflect.BytesKind:
				v = protoreflect.ValueOfBytes(rapid.SliceOf(rapid.Byte()).Draw(t, string(f.Name())))
			default:
				t.Fatalf("no idea how to draw field %s", f.Name())
			}
			e.ProtoReflect().Set(f, v)
		}
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		id := []byte(e.GetId())
		e.Id = "" // it is given apart
		want := append([]byte("before "), encoded...)
		if got := appendEnvelope([]byte("before "), id, e); !bytes.Equal(got, want) {
			t.Fatalf("got  %x\nwant %x", got, want)
		}
	})
}
