package boltstore

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// fillValue sets every field of a domain value to something that is not zero, so that a
// field which the codec forgets shows.
func fillValue(t *testing.T, v reflect.Value, depth int) {
	t.Helper()
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(storetest.Start()))
		return
	case task.Value:
		v.Set(reflect.ValueOf(task.Value{Ref: &task.BlobRef{N: 3, Size: 5, SHA256: storetest.Hash([]byte("x"))}}))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(t, v.Elem(), depth+1)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fillValue(t, field, depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillValue(t, v.Index(0), depth+1)
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(0.25)
	case reflect.Uint8:
		v.SetUint('7')
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(depth) + 7)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(depth) + 7)
	default:
		t.Fatalf("no value for %s", v.Type())
	}
}

// TestCodecKeepsEveryField converts filled values to records and back.
func TestCodecKeepsEveryField(t *testing.T) {
	var step task.Step
	fillValue(t, reflect.ValueOf(&step).Elem(), 0)
	record := encodedStep(t, &step)
	step.Attempt.BeatAt = time.Time{} // not stored
	gotStep := task.Step{Ordinal: step.Ordinal, Name: step.Name}
	applyStepRecord(&gotStep, record)
	if diff := cmp.Diff(step, gotStep); diff != "" {
		t.Errorf("step (-want +got):\n%s", diff)
	}

	var spec task.Spec
	fillValue(t, reflect.ValueOf(&spec).Elem(), 0)
	spec.InputHash = storetest.Hash([]byte("i"))
	e := encoder{}
	if err := e.spec(&spec, bytes.Repeat([]byte{1}, hashLen), 9); err != nil {
		t.Fatal(err)
	}
	spec.Template.Hash = strings.Repeat("01", hashLen)
	if diff := cmp.Diff(spec, specFromRecord(spec.ID, decoded(t, e.buf, &storev1.SpecRecord{}))); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}

	want := task.Task{}
	fillValue(t, reflect.ValueOf(&want).Elem(), 0)
	want.Spec, want.Steps = task.Spec{}, nil
	var got task.Task
	applyTaskRecord(&got, encodedTask(t, &want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("task (-want +got):\n%s", diff)
	}

	var crash store.Crash
	fillValue(t, reflect.ValueOf(&crash).Elem(), 0)
	if diff := cmp.Diff(crash, crashFromRecord(through(t, crashToRecord(&crash)))); diff != "" {
		t.Errorf("crash report (-want +got):\n%s", diff)
	}

	var cp store.Checkpoint
	fillValue(t, reflect.ValueOf(&cp).Elem(), 0)
	if diff := cmp.Diff(cp, checkpointFromRecord(cp.Step, through(t, checkpointToRecord(&cp)))); diff != "" {
		t.Errorf("checkpoint (-want +got):\n%s", diff)
	}
}

// TestDeliveryCodecKeepsEveryField is the same for what delivery keeps.
func TestDeliveryCodecKeepsEveryField(t *testing.T) {
	var cursor store.Cursor
	fillValue(t, reflect.ValueOf(&cursor).Elem(), 0)
	if diff := cmp.Diff(cursor, cursorFromRecord(cursor.Subscription, through(t, cursorToRecord(&cursor)))); diff != "" {
		t.Errorf("cursor (-want +got):\n%s", diff)
	}
	var dead store.DeadLetter
	fillValue(t, reflect.ValueOf(&dead).Elem(), 0)
	if diff := cmp.Diff(dead, deadLetterFromRecord(dead.DeadLetterID, through(t, deadLetterToRecord(&dead)))); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
	var event store.CustomEvent
	fillValue(t, reflect.ValueOf(&event).Elem(), 0)
	if diff := cmp.Diff(event, customEventFromRecord(event.Name, through(t, customEventToRecord(&event)))); diff != "" {
		t.Errorf("custom event (-want +got):\n%s", diff)
	}
	if b := encode(t, cursorToRecord(&store.Cursor{Subscription: "a/x"})); len(b) != 0 {
		t.Errorf("a cursor at the beginning has %d bytes, want none", len(b))
	}
}

// encodedStep encodes a step and reads it as the message that it should be.
func encodedStep(t *testing.T, s *task.Step) *storev1.StepRecord {
	t.Helper()
	e := encoder{}
	if err := e.step(s, 0, 0); err != nil {
		t.Fatal(err)
	}
	return decoded(t, e.buf, &storev1.StepRecord{})
}

// encodedTask is encodedStep for a task.
func encodedTask(t *testing.T, of *task.Task) *storev1.TaskRecord {
	t.Helper()
	e := encoder{}
	e.task(of, of.Revision, of.Seq)
	return decoded(t, e.buf, &storev1.TaskRecord{})
}

// decoded reads what the encoder wrote: nothing that the message does not have, and the
// same bytes as the message makes.
func decoded[M proto.Message](t *testing.T, b []byte, m M) M {
	t.Helper()
	if err := decode(b, m, "test"); err != nil {
		t.Fatal(err)
	}
	if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		t.Errorf("fields that the message does not have: %x", unknown)
	}
	if want := encode(t, m); !bytes.Equal(b, want) {
		t.Errorf("encoded by hand: %x, want %x", b, want)
	}
	return m
}

// through encodes a record and decodes it.
func through[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	b, err := appendRecord(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	out, ok := m.ProtoReflect().New().Interface().(M)
	if !ok {
		t.Fatalf("%T makes another type", m)
	}
	if err := decode(b, out, "test"); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFarTimes stores times that nanoseconds cannot say: they keep their side.
func TestFarTimes(t *testing.T) {
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name     string
		in       time.Time
		from, to time.Time
	}{
		{"zero", time.Time{}, time.Time{}, time.Time{}},
		{"now", at(2026), at(2026), at(2026)},
		{"never", at(9000), at(2262), at(2263)},
		{"just beyond", at(2263), at(2262), at(2263)},
		{"long ago", at(1000), at(1677), at(1678)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fromNanos(nanos(tt.in)); got.Before(tt.from) || got.After(tt.to) {
				t.Errorf("%s is read as %s, want %s to %s", tt.in, got, tt.from, tt.to)
			}
		})
	}
}

// TestZeroValuesStayZero is the other end: nothing is invented for what is unset.
func TestZeroValuesStayZero(t *testing.T) {
	record := encodedStep(t, &task.Step{})
	if b := encode(t, record); len(b) != 0 {
		t.Errorf("an untouched step has %d bytes, want none", len(b))
	}
	var got task.Step
	applyStepRecord(&got, record)
	if diff := cmp.Diff(task.Step{}, got); diff != "" {
		t.Errorf("step (-want +got):\n%s", diff)
	}
}

// TestKeyOrder holds that keys sort as what they stand for.
func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		id := func(name string) task.ID {
			at := storetest.Start().Add(time.Duration(rapid.Int64Range(0, 1<<50).Draw(r, name+" at")))
			return storetest.ID(at, rapid.Uint64().Draw(r, name))
		}
		a, b := id("a"), id("b")
		ka, errA := parseTaskKey(a)
		kb, errB := parseTaskKey(b)
		if errA != nil || errB != nil || ka.id() != a || kb.id() != b {
			r.Fatalf("keys of %s and %s: %v, %v, back to %s and %s", a, b, errA, errB, ka.id(), kb.id())
		}
		if got, want := bytes.Compare(ka[:], kb[:]), cmpString(string(a), string(b)); got != want {
			r.Fatalf("order of %s and %s: got %d, want %d", a, b, got, want)
		}
		next := (order{}).behind(ka)
		if bytes.Compare(next[:], ka[:]) <= 0 || (order{desc: true}).behind(next) != ka {
			r.Fatalf("the key after %s is %s", a, next.id())
		}
		one, other := rapid.Uint64().Draw(r, "seq"), rapid.Uint64().Draw(r, "other seq")
		name := rapid.StringMatching(`[a-z]{1,4}/[a-z0-9_-]{1,4}`).Draw(r, "subscription")
		k1, k2 := deadLetterKey(name, one), deadLetterKey(name, other)
		if back, seq, ok := asDeadLetterKey(k1); !ok || back != name || seq != one || (bytes.Compare(k1, k2) < 0) != (one < other) {
			r.Fatalf("dead letter key of %s %d: back to %s %d, %t, or out of order with %d", name, one, back, seq, ok, other)
		}
		m, n := rapid.Uint32().Draw(r, "m"), rapid.Uint32().Draw(r, "n")
		sm, sn := ka.step(m), ka.step(n)
		if k, back, ok := asStepKey(sm[:]); !ok || k != ka || back != m {
			r.Fatalf("step key of %s/%d: back to %s/%d, %t", a, m, k.id(), back, ok)
		}
		if (bytes.Compare(sm[:], sn[:]) < 0) != (m < n) {
			r.Fatalf("order of ordinals %d and %d", m, n)
		}
	})
}

func cmpString(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) }

func FuzzKeys(f *testing.F) {
	f.Add([]byte("shop/order\x00aaaaaaaaaaaaaaaa"))
	f.Add([]byte("mock\x00\x18\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, key []byte) {
		if k, ok := asTaskKey(key); ok {
			if back, err := parseTaskKey(k.id()); err == nil && back != k {
				t.Errorf("task key %x: back to %x", key, back)
			}
		}
		if k, n, ok := asStepKey(key); ok {
			if back := k.step(n); !bytes.Equal(back[:], key) {
				t.Errorf("step key %x: back to %x", key, back)
			}
		}
		if name, k, ok := asIndexKey(key); ok && !bytes.Equal(indexKey(name, k), key) {
			t.Errorf("index key %x: back to %x", key, indexKey(name, k))
		}
		if plugin, at, ok := asCrashKey(key); ok && !bytes.Equal(crashKey(plugin, at), key) {
			t.Errorf("crash key %x: back to %x", key, crashKey(plugin, at))
		}
		if subscription, seq, ok := asDeadLetterKey(key); ok && !bytes.Equal(deadLetterKey(subscription, seq), key) {
			t.Errorf("dead letter key %x: back to %x", key, deadLetterKey(subscription, seq))
		}
		if seq, ok := asSeq(key); ok {
			if back := seqKey(seq); !bytes.Equal(back[:], key[:seqLen]) {
				t.Errorf("sequence %x: back to %x", key, back)
			}
		}
		if lo, hi, ok := prefixRange(string(key)); ok && bytes.Compare(lo[:], hi[:]) > 0 {
			t.Errorf("range of prefix %q: %x to %x", key, lo, hi)
		}
	})
}

// FuzzRecords decodes anything as every record. What can be decoded can be encoded
// again and is then the same.
func FuzzRecords(f *testing.F) {
	fl := storetest.NewFlow(1, 2)
	for _, ws := range []*store.WriteSet{fl.Create(0), fl.Fail(0)} {
		j := &setJob{}
		if err := j.encode(ws); err != nil {
			f.Fatal(err)
		}
		for _, sp := range j.spans {
			f.Add(j.buf[sp.value:sp.end])
		}
		f.Add(j.buf[j.logValue[0]:j.logValue[1]])
	}
	for _, m := range []proto.Message{
		cursorToRecord(storetest.Cursor("a/x", 3)), deadLetterToRecord(storetest.DeadLetter("a/x", 3)),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, value []byte) {
		fuzzDelivery(t, value)
		key := seqKey(1)
		if r, err := parseLog(key[:], value); err == nil && (len(r.events) == 0 || r.end() <= r.seq) {
			t.Errorf("log record without events: %+v", r)
		}
		step := &storev1.StepRecord{}
		if _, err := decodePrefixed(value, step, "step"); err == nil {
			var once, twice task.Step
			applyStepRecord(&once, step)
			if e := (encoder{}); e.step(&once, 0, 0) == nil { // a digest may be none
				applyStepRecord(&twice, decoded(t, e.buf, &storev1.StepRecord{}))
				if diff := cmp.Diff(once, twice); diff != "" {
					t.Errorf("step (-once +twice):\n%s", diff)
				}
			}
		}
		record := &storev1.TaskRecord{}
		if _, err := decodePrefixed(value, record, "task"); err == nil {
			var once, twice task.Task
			applyTaskRecord(&once, record)
			applyTaskRecord(&twice, encodedTask(t, &once))
			if diff := cmp.Diff(once, twice); diff != "" {
				t.Errorf("task (-once +twice):\n%s", diff)
			}
		}
		spec := &storev1.SpecRecord{}
		if err := decode(value, spec, "spec"); err == nil {
			_ = specFromRecord("x", spec)
		}
	})
}

// fuzzDelivery is FuzzRecords for what delivery keeps.
func fuzzDelivery(t *testing.T, value []byte) {
	t.Helper()
	cursor := &storev1.CursorRecord{}
	if err := decode(value, cursor, "cursor"); err == nil {
		once := cursorFromRecord("a/x", cursor)
		twice := cursorFromRecord("a/x", through(t, cursorToRecord(&once)))
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Errorf("cursor (-once +twice):\n%s", diff)
		}
	}
	if once, err := readDeadLetter(deadLetterKey("a/x", 1), value); err == nil {
		twice := deadLetterFromRecord(once.DeadLetterID, through(t, deadLetterToRecord(&once)))
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Errorf("dead letter (-once +twice):\n%s", diff)
		}
	}
	event := &storev1.CustomEventRecord{}
	if err := decode(value, event, "custom event"); err == nil {
		once := customEventFromRecord("a.b", event)
		twice := customEventFromRecord("a.b", through(t, customEventToRecord(&once)))
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Errorf("custom event (-once +twice):\n%s", diff)
		}
	}
}

// FuzzRecordedAt compares the short way to an event's time with decoding the event.
func FuzzRecordedAt(f *testing.F) {
	f.Add(storetest.Event("", 1, "x", storetest.Start()).Encoded)
	f.Add(storetest.Event(storetest.ID(storetest.Start(), 1), 7, "task.started", time.Time{}).Encoded)
	f.Add([]byte{})
	f.Add([]byte{0x18, 1, 0x18, 2}) // the field twice
	f.Fuzz(func(t *testing.T, encoded []byte) {
		e := &eventv1.Event{}
		_, err := recordedAt(encoded)
		if proto.Unmarshal(encoded, e) != nil {
			return // it may be one up to its time
		}
		if err != nil {
			t.Errorf("time of %x: %v", encoded, err)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := recordedAt(again); got != e.GetAt() || err != nil {
			t.Errorf("time of %x: got %d, error %v; want %d", again, got, err, e.GetAt())
		}
	})
}
