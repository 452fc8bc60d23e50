package trace_test

import (
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

func TestSampler(t *testing.T) {
	own := trace.Of(taskID, "")
	yes := trace.Of(taskID, caller)
	no := trace.Of(taskID, caller[:len(caller)-1]+"0")
	for _, tt := range []struct {
		name, sampler, arg string
		own, yes, no       bool
		wrong              bool
	}{
		{name: "nothing is said", own: true, yes: true},
		{name: "all", sampler: "always_on", own: true, yes: true, no: true},
		{name: "none", sampler: "always_off"},
		{name: "a share of all", sampler: "traceidratio", arg: "1", own: true, yes: true, no: true},
		{name: "a share of nothing", sampler: "traceidratio", arg: "0"},
		{name: "all without a number", sampler: "traceidratio", own: true, yes: true, no: true},
		{name: "the caller, else none", sampler: "parentbased_always_off", yes: true},
		{name: "the caller, else a share", sampler: "parentbased_traceidratio", arg: "0", yes: true},
		{name: "no number", sampler: "traceidratio", arg: "many", own: true, yes: true, no: true, wrong: true},
		{name: "not a number", sampler: "traceidratio", arg: "NaN", own: true, yes: true, no: true, wrong: true},
		{name: "too large", sampler: "parentbased_traceidratio", arg: "2", own: true, yes: true, wrong: true},
		{name: "unknown", sampler: "sometimes", own: true, yes: true, wrong: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := trace.ParseSampler(tt.sampler, tt.arg)
			if (err != nil) != tt.wrong {
				t.Errorf("error %v, want one: %t", err, tt.wrong)
			}
			if s.Sampled(own) != tt.own || s.Sampled(yes) != tt.yes || s.Sampled(no) != tt.no {
				t.Errorf("own %t, sampled caller %t, unsampled %t; want %t, %t, %t",
					s.Sampled(own), s.Sampled(yes), s.Sampled(no), tt.own, tt.yes, tt.no)
			}
		})
	}
	if (trace.Sampler{}).Sampled(own) || (trace.Sampler{}).Share() != 0 {
		t.Error("the zero sampler records something")
	}
}

// BenchmarkAttempt is what the place of an attempt costs on the path of a step.
func BenchmarkAttempt(b *testing.B) {
	for name, parent := range map[string]string{"own": "", "caller": caller} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := trace.Of(taskID, parent)
				_ = p.Traceparent(p.StepSpan("charge", 0))
			}
		})
	}
}
