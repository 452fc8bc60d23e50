package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// filler sets every exported field of a value to something that is not zero, so that a
// field which a conversion forgets shows up.
type filler struct{ n int64 }

func (f *filler) fill(t *testing.T, v reflect.Value) {
	t.Helper()
	f.n++
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, 5, int(f.n), time.UTC)
		return
	case *task.Value:
		*p = task.Value{Ref: &task.BlobRef{N: uint32(f.n), Size: f.n + 1, SHA256: fmt.Sprint(f.n)}}
		return
	case *task.HandlerRef:
		*p = task.HandlerRef{Plugin: "p", Handler: "h", Version: uint32(f.n)}
		return
	case *json.RawMessage:
		*p = json.RawMessage(fmt.Sprint(f.n))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(t, v.Elem())
	case reflect.Struct:
		for _, field := range v.Fields() {
			f.fill(t, field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			f.fill(t, v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(t, key)
		f.fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprint("text", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(f.n)
	case reflect.Uint8:
		v.SetUint(uint64('0' + f.n%10))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(f.n))
	case reflect.Float64:
		v.SetFloat(float64(f.n) / 1000)
	default:
		t.Fatalf("filler knows no %s", v.Type())
	}
}

// filled returns a T without a zero field.
func filled[T any](t *testing.T) T {
	t.Helper()
	var v T
	(&filler{}).fill(t, reflect.ValueOf(&v).Elem())
	return v
}

func roundTrip[T any](t *testing.T, want T, trip func(T) T) {
	t.Helper()
	if diff := cmp.Diff(want, trip(want)); diff != "" {
		t.Errorf("changed on the way (-sent +received):\n%s", diff)
	}
	var zero T
	if diff := cmp.Diff(zero, trip(zero)); diff != "" {
		t.Errorf("the zero value changed on the way (-sent +received):\n%s", diff)
	}
}

// TestRoundTrip: whatever a host says arrives as it was said, every field of it.
func TestRoundTrip(t *testing.T) {
	t.Run("request", func(t *testing.T) {
		roundTrip(t, filled[task.Request](t), func(v task.Request) task.Request { return requestFromWire(requestToWire(v)) })
	})
	t.Run("operation", func(t *testing.T) {
		want := filled[task.Operation](t)
		want.Task = "" // the id travels beside it
		roundTrip(t, want, func(v task.Operation) task.Operation { return operationFromWire(operationToWire("x", v)) })
	})
	t.Run("filter and page", func(t *testing.T) {
		type listing struct {
			Filter store.Filter
			Page   store.Page
		}
		roundTrip(t, filled[listing](t), func(v listing) listing {
			f, p := filterFromWire(filterToWire(v.Filter, v.Page))
			return listing{f, p}
		})
	})
	t.Run("template", func(t *testing.T) {
		roundTrip(t, filled[TemplateInfo](t), func(v TemplateInfo) TemplateInfo { return templateFromWire(templateToWire(v)) })
	})
	t.Run("plugin", func(t *testing.T) {
		roundTrip(t, filled[PluginInfo](t), func(v PluginInfo) PluginInfo { return pluginFromWire(pluginToWire(v)) })
	})
	t.Run("crash", func(t *testing.T) {
		roundTrip(t, filled[store.Crash](t), func(v store.Crash) store.Crash { return crashFromWire(crashToWire(v)) })
	})
	t.Run("event query", func(t *testing.T) {
		roundTrip(t, filled[EventQuery](t), func(v EventQuery) EventQuery { return queryFromWire(queryToWire(v)) })
	})
	t.Run("summary", func(t *testing.T) {
		roundTrip(t, filled[store.Summary](t), func(v store.Summary) store.Summary { return summaryFromWire(summaryToWire(v)) })
	})
	t.Run("health", func(t *testing.T) {
		want := filled[Health](t)
		if diff := cmp.Diff(&want, healthFromWire(healthToWire(&want))); diff != "" {
			t.Errorf("changed on the way (-sent +received):\n%s", diff)
		}
	})
	t.Run("stats", func(t *testing.T) {
		want := filled[store.Stats](t)
		if diff := cmp.Diff(&want, statsFromWire(statsToWire(&want))); diff != "" {
			t.Errorf("changed on the way (-sent +received):\n%s", diff)
		}
	})
	t.Run("sizes", func(t *testing.T) {
		roundTrip(t, filled[store.Sizes](t), func(v store.Sizes) store.Sizes { return *sizesFromWire(sizesToWire(&v)) })
	})
	t.Run("pruned", func(t *testing.T) {
		roundTrip(t, filled[Pruned](t), func(v Pruned) Pruned { return *prunedFromWire(prunedToWire(&v)) })
	})
	t.Run("backup", func(t *testing.T) {
		roundTrip(t, filled[BackupInfo](t), func(v BackupInfo) BackupInfo { return *backupFromWire(backupToWire(&v)) })
	})
}

// rawText compares documents as texts: byte by byte, large ones take for ever.
var rawText = cmp.Transformer("text", func(b json.RawMessage) string { return string(b) })

func TestViewParts(t *testing.T) {
	big := make([]byte, 600<<10)
	for i := range big {
		big[i] = '7'
	}
	whole := filled[task.View](t)
	whole.Steps[0].Settings = nil
	whole.Steps[1].Results = task.Value{Inline: json.RawMessage("null")}
	many := filled[task.View](t)
	for range 9 {
		step := filled[task.StepView](t)
		step.Output = big
		many.Steps = append(many.Steps, step)
	}
	tests := []struct {
		name  string
		view  task.View
		parts int
	}{
		{"no steps", task.View{Status: task.Pending}, 1},
		{"every field", whole, 1},
		{"large results", many, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var (
				parts viewParts
				got   *task.View
				n     int
			)
			err := sendParts(&tt.view, func(p *hostv1.TaskPart) error {
				n++
				var err error
				got, err = parts.add(p)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if n != tt.parts {
				t.Errorf("sent in %d parts, want %d", n, tt.parts)
			}
			if diff := cmp.Diff(&tt.view, got, rawText); diff != "" {
				t.Errorf("changed on the way (-sent +received):\n%.2000s", diff)
			}
		})
	}
	t.Run("first part missing", func(t *testing.T) {
		if _, err := (&viewParts{}).add(&hostv1.TaskPart{Last: true}); err == nil {
			t.Error("accepted, want an error")
		}
	})
}
