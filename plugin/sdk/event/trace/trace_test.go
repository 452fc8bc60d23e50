package trace_test

import (
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

const (
	taskID = "01JB0000000000000000000000"
	caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// TestIDs pins the ids: plugins in other languages and traces of yesterday count on them.
func TestIDs(t *testing.T) {
	p := trace.Of(taskID, "")
	got := map[string]string{
		"trace": p.Trace.String(), "task": p.Span().String(), "again": p.AgainSpan(7).String(),
		"step": p.StepSpan("charge", 0).String(), "step in its next round": p.StepSpan("charge", 1).String(),
		"attempt": p.AttemptSpan("charge", 1).String(), "next attempt": p.AttemptSpan("charge", 2).String(),
	}
	want := map[string]string{
		"trace": "8a9c82fcd1e6d9af10a79b355df3e4ee", "task": "67f6182823ff9f2b", "again": "557f3cb552232a8c",
		"step": "b69a4237fa40106f", "step in its next round": "cb19cf126e1bab16",
		"attempt": "5ffdc33cb2280455", "next attempt": "c17ab11d5ab7342d",
	}
	seen := make(map[string]string)
	for name, id := range got {
		if id != want[name] {
			t.Errorf("%s: %s, want %s", name, id, want[name])
		}
		if other := seen[id]; other != "" {
			t.Errorf("%s and %s have one id", name, other)
		}
		seen[id] = name
	}
	if within := trace.Of(taskID, caller); within.Span() != p.Span() || within.Trace == p.Trace {
		t.Errorf("below a caller: span %s in trace %s, want %s in the caller's", within.Span(), within.Trace, p.Span())
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in    string
		ok, sampled bool
	}{
		{"sampled", caller, true, true},
		{"not sampled", caller[:len(caller)-1] + "0", true, false},
		{"a later version may have more", "01" + caller[2:] + "-more", true, true},
		{"this one may not", caller + "-more", false, false},
		{"empty", "", false, false},
		{"no version", "ff" + caller[2:], false, false},
		{"capitals", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false, false},
		{"no digits", "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01", false, false},
		{"no trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", false, false},
		{"no span", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false, false},
		{"short", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, span, sampled, ok := trace.Parse(tt.in)
			if ok != tt.ok || sampled != tt.sampled {
				t.Errorf("sampled %t, valid %t; want %t, %t", sampled, ok, tt.sampled, tt.ok)
			}
			if ok && (id.String() != "4bf92f3577b34da6a3ce929d0e0e4736" || span.String() != "00f067aa0ba902b7") {
				t.Errorf("trace %s, span %s", id, span)
			}
			p := trace.Of(taskID, tt.in)
			if (p.Caller != trace.SpanID{}) != tt.ok || p.Sampled != (!tt.ok || tt.sampled) {
				t.Errorf("place %+v", p)
			}
		})
	}
}

// TestTraceparent: what is written is read.
func TestTraceparent(t *testing.T) {
	for _, sampled := range []bool{true, false} {
		p := trace.Of(taskID, "")
		p.Sampled = sampled
		id, span, got, ok := trace.Parse(p.Traceparent(p.Span()))
		if !ok || id != p.Trace || span != p.Span() || got != sampled {
			t.Errorf("%s: trace %s, span %s, sampled %t, valid %t", p.Traceparent(p.Span()), id, span, got, ok)
		}
	}
}

func TestWithin(t *testing.T) {
	const of = 4000
	n := 0
	for i := range of {
		id := trace.Of(taskID+string(rune('a'+i%26))+string(rune('a'+i/26)), "").Trace
		if id.Within(0) || !id.Within(1) {
			t.Fatalf("%s is within 0, or not within 1", id)
		}
		if id.Within(0.25) {
			n++
		}
	}
	if n < of/5 || n > of*3/10 {
		t.Errorf("%d of %d are within a quarter", n, of)
	}
}
