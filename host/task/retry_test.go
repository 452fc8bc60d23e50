package task_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/task"
)

const second = task.Duration(time.Second)

func none() *task.Jitter { return &task.Jitter{Kind: task.JitterNone} }

func TestWait(t *testing.T) {
	tests := []struct {
		name  string
		retry task.Retry
		rnd   float64
		want  []time.Duration // after the first, second, ... failure
	}{
		{
			name: "defaults: doubled from 1s up to 30s, no jitter below 5s", rnd: 0.5,
			want: []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 30e9, 30e9},
		},
		{name: "default jitter, least", rnd: 0, want: []time.Duration{1e9, 2e9, 4e9, 7200e6, 14400e6, 27e9}},
		{name: "default jitter, most, never above the cap", rnd: 0.999999999, want: []time.Duration{1e9, 2e9, 4e9}},
		{
			name:  "exponential with its own base and factor",
			retry: task.Retry{Backoff: task.BackoffExponential, Base: second / 10, Factor: 3, Jitter: none()},
			want:  []time.Duration{100e6, 300e6, 900e6, 2700e6},
		},
		{
			name:  "the sixth of ten failures waits the cap, not more",
			retry: task.Retry{Limit: 10, Cap: 10 * second, Jitter: none()},
			want:  []time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9},
		},
		{
			name:  "linear",
			retry: task.Retry{Backoff: task.BackoffLinear, Base: 2 * second, Cap: 5 * second, Jitter: none()},
			want:  []time.Duration{2e9, 4e9, 5e9, 5e9},
		},
		{
			name:  "constant means what it says, above the default cap too",
			retry: task.Retry{Backoff: task.BackoffConstant, Base: 60 * second, Jitter: none()},
			want:  []time.Duration{60e9, 60e9, 60e9},
		},
		{
			name:  "a list, its last entry for ever",
			retry: task.Retry{Backoff: task.BackoffList, List: []task.Duration{second, 0, 90 * second}},
			rnd:   0.5,
			want:  []time.Duration{1e9, 0, 90e9, 90e9},
		},
		{name: "an empty list", retry: task.Retry{Backoff: task.BackoffList}, want: []time.Duration{0, 0}},
		{
			name:  "full jitter",
			retry: task.Retry{Base: 4 * second, Jitter: &task.Jitter{Kind: task.JitterFull}},
			rnd:   0.25,
			want:  []time.Duration{1e9, 2e9, 4e9},
		},
		{
			name:  "equal jitter",
			retry: task.Retry{Base: 4 * second, Jitter: &task.Jitter{Kind: task.JitterEqual}},
			rnd:   0.5,
			want:  []time.Duration{3e9, 6e9, 12e9},
		},
		{
			name:  "percent, below 5s too",
			retry: task.Retry{Base: second, Jitter: &task.Jitter{Kind: task.JitterPercent, Percent: 50}},
			rnd:   0.75,
			want:  []time.Duration{1250e6, 2500e6},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, want := range tt.want {
				if got := tt.retry.Wait(uint32(i+1), tt.rnd); got != want {
					t.Errorf("after failure %d: waits %s, want %s", i+1, got, want)
				}
			}
		})
	}
	if got, want := (task.Retry{}).Wait(0, 0.5), time.Second; got != want {
		t.Errorf("Wait(0) = %s, want that of the first failure, %s", got, want)
	}
}

func TestNextRetry(t *testing.T) {
	at := time.Date(2026, 3, 29, 1, 59, 59, 0, time.FixedZone("CET", 3600))
	tests := []struct {
		name       string
		base       task.Duration
		retryAfter time.Duration
		want       time.Duration
	}{
		{"the backoff alone", second, 0, time.Second},
		{"RetryAfter 60s with a small backoff", second, time.Minute, time.Minute},
		{"RetryAfter 1s with a large backoff", 20 * second, time.Second, 20 * time.Second},
		{"a RetryAfter below zero is ignored", second, -time.Hour, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := task.Retry{Base: tt.base, Jitter: none()}
			got := r.NextRetry(at, 1, tt.retryAfter, 0)
			if want := at.Add(tt.want); !got.Equal(want) || got.Location() != time.UTC {
				t.Errorf("next retry at %s, want %s in UTC", got, want)
			}
		})
	}
}

// drawRetry draws a policy that a template may hold.
func drawRetry(t *rapid.T) task.Retry {
	r := task.Retry{
		Limit:   rapid.Uint32Range(0, 20).Draw(t, "limit"),
		Backoff: rapid.SampledFrom([]task.BackoffKind{"", task.BackoffExponential, task.BackoffLinear, task.BackoffConstant, task.BackoffList}).Draw(t, "backoff"),
		Base:    task.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "base")),
		Factor:  rapid.SampledFrom([]float64{0, 1, 1.5, 2, 10, 1000}).Draw(t, "factor"),
		Cap:     task.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "cap")),
	}
	if r.Backoff == task.BackoffList {
		for _, d := range rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 5).Draw(t, "list") {
			r.List = append(r.List, task.Duration(d))
		}
	}
	switch kind := rapid.SampledFrom([]task.JitterKind{"", task.JitterNone, task.JitterFull, task.JitterEqual, task.JitterPercent}).Draw(t, "jitter"); kind {
	case "":
	case task.JitterPercent:
		r.Jitter = &task.Jitter{Kind: kind, Percent: rapid.Float64Range(0, 100).Draw(t, "percent")}
	default:
		r.Jitter = &task.Jitter{Kind: kind}
	}
	return r
}

// TestWaitLaws: a wait is never negative, never above what the policy allows, the same
// for the same arguments and, without jitter, never shorter after one more failure.
func TestWaitLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRetry(t)
		n := rapid.Uint32().Draw(t, "n")
		rnd := rapid.Float64Range(0, 0.9999999999).Draw(t, "rnd")
		got := r.Wait(n, rnd)
		full := r.WithDefaults()
		most := full.Cap
		switch full.Backoff {
		case task.BackoffConstant:
			most = max(most, full.Base)
		case task.BackoffList:
			for _, d := range full.List {
				most = max(most, d)
			}
		default:
		}
		if got < 0 || got > most.Std() {
			t.Fatalf("Wait(%d, %g) = %s, want 0 to %s", n, rnd, got, most)
		}
		if again := r.Wait(n, rnd); again != got {
			t.Fatalf("Wait(%d, %g) = %s, then %s", n, rnd, got, again)
		}
		r.Jitter = none()
		if a, b := r.Wait(n/2, rnd), r.Wait(n, rnd); full.Backoff != task.BackoffList && a > b {
			t.Fatalf("without jitter: %s after failure %d, %s after failure %d", a, n/2, b, n)
		}
	})
}

// TestJitterBounds: each kind of jitter stays in its band around the plain wait.
func TestJitterBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRetry(t)
		n := rapid.Uint32Range(1, 50).Draw(t, "n")
		rnd := rapid.Float64Range(0, 0.9999999999).Draw(t, "rnd")
		got := float64(r.Wait(n, rnd))
		plainRetry := r
		plainRetry.Jitter = none()
		plain := float64(plainRetry.Wait(n, rnd))
		least, most := plain, plain
		switch j := r.Jitter; {
		case j == nil && plain >= float64(task.JitterFloor):
			least, most = plain*(1-task.DefaultJitter), plain*(1+task.DefaultJitter)
		case j == nil || j.Kind == task.JitterNone:
		case j.Kind == task.JitterFull:
			least = 0
		case j.Kind == task.JitterEqual:
			least = plain / 2
		default:
			least, most = plain*(1-j.Percent/100), plain*(1+j.Percent/100)
		}
		const slack = 2000 // nanoseconds: the waits are computed as floating-point numbers
		if got < least-slack || got > most+slack {
			t.Fatalf("%+v: wait %s, want %s to %s", r, time.Duration(got), time.Duration(least), time.Duration(most))
		}
	})
}

// TestAbsurdWaitsAreCut: whatever is asked for, the time of the next attempt is near
// enough to be stored.
func TestAbsurdWaitsAreCut(t *testing.T) {
	const endless = task.Duration(math.MaxInt64)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name       string
		retry      task.Retry
		retryAfter time.Duration
		want       time.Duration
	}{
		{"RetryAfter", task.Retry{}, math.MaxInt64, task.MaxRetryAfter},
		{"constant", task.Retry{Backoff: task.BackoffConstant, Base: endless}, 0, task.MaxDuration},
		{"exponential", task.Retry{Base: endless, Cap: endless}, 0, task.MaxDuration},
		{"linear", task.Retry{Backoff: task.BackoffLinear, Base: endless, Cap: endless}, 0, task.MaxDuration},
		{"list", task.Retry{Backoff: task.BackoffList, List: []task.Duration{endless}}, 0, task.MaxDuration},
		{"infinite factor", task.Retry{Factor: math.Inf(1), Cap: endless}, 0, task.MaxDuration},
		{"a factor that is no number", task.Retry{Factor: math.NaN()}, 0, 0},
		{"negative", task.Retry{Backoff: task.BackoffConstant, Base: -endless}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.retry.Jitter = none()
			if got := tt.retry.NextRetry(at, 2, tt.retryAfter, 0.5); !got.Equal(at.Add(tt.want)) {
				t.Errorf("next retry after %s, want after %s", got.Sub(at), tt.want)
			}
		})
	}
}

func TestDurationText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]task.Duration{"d": task.Duration(rapid.Int64().Draw(t, "d"))}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]task.Duration
		if err := json.Unmarshal(text, &got); err != nil || got["d"] != want["d"] {
			t.Fatalf("%s decodes to %v, %v; want %v", text, got, err, want)
		}
	})
	var d task.Duration
	for _, text := range []string{"", "5", "soon", "5 m"} {
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("duration %q is accepted as %s", text, d)
		}
	}
}

func TestRetryDefaults(t *testing.T) {
	got := task.Retry{}.WithDefaults()
	want := task.Retry{Limit: 3, Backoff: task.BackoffExponential, Base: second, Factor: 2, Cap: 30 * second}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("defaults (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(want.WithDefaults(), want); diff != "" {
		t.Errorf("what is set stays (-got +want):\n%s", diff)
	}
}
