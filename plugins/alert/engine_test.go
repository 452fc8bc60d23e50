package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// t0 is when tests begin.
func t0() time.Time { return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) }

func d(v time.Duration) sdk.Duration { return sdk.Duration(v) }

// newEngine makes an engine of rules and starts it, up to date with the log.
func newEngine(tb testing.TB, rules ...ruleConfig) *engine {
	tb.Helper()
	e := &engine{maxAge: 10 * time.Minute, resend: time.Minute}
	for i, c := range rules {
		if c.Name == "" {
			c.Name = fmt.Sprint("rule", i)
		}
		r, err := newRule(c)
		if err != nil {
			tb.Fatal(err)
		}
		e.rules = append(e.rules, r)
	}
	e.start(t0())
	e.late = false
	return e
}

// scene drives an engine: every step is at a time, and Alertmanager accepts what it is told.
type scene struct {
	e    *engine
	seq  uint64
	deaf bool
}

// see shows an event that is delivered when it was recorded.
func (s *scene) see(at time.Duration, w what, labels map[string]string, seconds float64) {
	s.seq++
	s.e.observe(observation{seq: s.seq, at: t0().Add(at), what: w, labels: labels, seconds: seconds}, t0().Add(at))
	s.tell(at)
}

func (s *scene) tick(at time.Duration) {
	s.e.tick(t0().Add(at))
	s.tell(at)
}

func (s *scene) tell(at time.Duration) {
	if !s.deaf {
		s.e.told(s.e.notices(t0().Add(at)))
	}
}

// lasting returns the values of a label of the alerts that last, sorted.
func (s *scene) lasting(label string) []string {
	got := []string{}
	for _, r := range s.e.rules {
		for _, g := range r.groups {
			if g.lasts() {
				got = append(got, r.notice(g, time.Time{}).Labels[label])
			}
		}
	}
	slices.Sort(got)
	return got
}

func order() map[string]string {
	return map[string]string{labelNamespace: "shop", labelTemplate: "order", labelStep: "charge"}
}

// TestConditions shows what happened minute by minute and says from when to when the alert should last.
func TestConditions(t *testing.T) {
	// moment is what happens in one minute: n times a thing that takes some seconds. Nothing = the time passes.
	type moment struct {
		n       int
		what    what
		seconds float64
	}
	silent := moment{}
	ok := func(n int) moment { return moment{n, taskCompleted, 1} }
	bad := func(n int) moment { return moment{n, taskFailed, 1} }
	took := func(s float64) moment { return moment{1, attemptCompleted, s} }
	tests := map[string]struct {
		rule    ruleConfig
		moments []moment
		want    string // per minute: "!" while the alert lasts
		text    string // of the alert
	}{
		"failure rate": {
			ruleConfig{FailureRate: &failureRate{Above: 0.5, MinEvents: 4, Window: d(5 * time.Minute)}},
			[]moment{ok(2), bad(2), bad(1), silent, silent, silent, silent, silent},
			"..!!!...", "failed tasks within 5m: 3 of 5",
		},
		"failure rate: too few": {
			ruleConfig{FailureRate: &failureRate{Above: 0, MinEvents: 3}}, []moment{bad(2), silent, bad(1)}, "..!", "",
		},
		"failure rate of steps: only what is final": {
			ruleConfig{FailureRate: &failureRate{Of: ofStep, Above: 0.4, MinEvents: 2}},
			[]moment{{1, attemptCompleted, 1}, {5, attemptFailed, 1}, {1, stepFailed, 1}},
			"..!", "failed steps within 10m: 1 of 2",
		},
		"failure rate of attempts": {
			ruleConfig{FailureRate: &failureRate{Of: ofAttempt, Above: 0.4, MinEvents: 2}},
			[]moment{{1, attemptCompleted, 1}, {1, attemptFailed, 1}},
			".!", "",
		},
		"duration": {
			ruleConfig{Duration: &slowness{Of: ofAttempt, Above: d(10 * time.Second), Window: d(2 * time.Minute)}},
			[]moment{took(10), took(10.5), silent, silent, took(1)},
			".!!..", "slow attempts within 2m: 1 of 1; the last of them took 10.5s, more than 10s",
		},
		"duration: several": {
			ruleConfig{Duration: &slowness{Above: d(time.Second), Count: 2}},
			[]moment{{1, taskCompleted, 2}, {1, taskFailed, 3}},
			".!", "",
		},
		"duration above a percentile": {
			ruleConfig{Duration: &slowness{Of: ofAttempt, Percentile: 95, Factor: 2, Samples: 20, MinSamples: 3, Window: d(time.Minute)}},
			[]moment{took(1), took(9), took(1), took(1), took(19), silent, took(20)},
			"....!..", "",
		},
		"no completion": {
			ruleConfig{NoCompletion: &silence{For: d(3 * time.Minute)}, GroupBy: &[]string{}},
			[]moment{silent, ok(1), silent, bad(9), silent, silent, ok(1), silent},
			".....!..", "no task was completed since 2026-05-04T12:01:00Z, for more than 3m",
		},
		"no completion: never one": {
			ruleConfig{NoCompletion: &silence{For: d(2 * time.Minute)}, Match: match{Namespace: "shop", Template: "order"}},
			[]moment{silent, silent, silent, silent},
			"...!", "",
		},
		"no completion: created and not completed": {
			ruleConfig{NoCompletion: &silence{For: d(2 * time.Minute)}},
			[]moment{silent, {1, taskCreated, 0}, silent, silent, silent},
			"....!", "",
		},
		"dead letters": {
			ruleConfig{DeadLetters: &deadLettered{Window: d(2 * time.Minute), Count: 2}},
			[]moment{{1, deadLetter, 0}, {1, deadLetter, 0}, silent, silent},
			".!..", "events put aside within 2m: 2",
		},
		"cooldown": {
			ruleConfig{DeadLetters: &deadLettered{Window: d(time.Minute)}, Cooldown: d(2 * time.Minute)},
			[]moment{{1, deadLetter, 0}, silent, {1, deadLetter, 0}, {1, deadLetter, 0}},
			"!..!", "",
		},
		"keep firing": {
			ruleConfig{DeadLetters: &deadLettered{Window: d(time.Minute)}, KeepFiring: d(2 * time.Minute)},
			[]moment{{1, deadLetter, 0}, silent, silent, silent},
			"!!..", "",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := &scene{e: newEngine(t, tc.rule)}
			got, text := "", ""
			for minute, m := range tc.moments {
				at := time.Duration(minute) * time.Minute
				for range m.n {
					labels := order()
					if m.what == deadLetter {
						labels = map[string]string{labelSubscription: "mail/events", labelEvent: "task.failed"}
					}
					s.see(at, m.what, labels, m.seconds)
				}
				s.tick(at)
				mark := "."
				for _, g := range s.e.rules[0].groups {
					if g.lasts() {
						mark, text = "!", g.Alert.Text
					}
				}
				got += mark
			}
			if got != tc.want {
				t.Errorf("the alert lasts %s, want %s", got, tc.want)
			}
			if tc.text != "" && text != tc.text {
				t.Errorf("text %q, want %q", text, tc.text)
			}
		})
	}
}

// TestGroups gives each group an alert of its own.
func TestGroups(t *testing.T) {
	s := &scene{e: newEngine(t,
		ruleConfig{FailureRate: &failureRate{Above: 0.1, MinEvents: 1}, GroupBy: &[]string{labelTemplate}, Labels: map[string]string{"severity": "page"}},
		ruleConfig{FailureRate: &failureRate{Above: 0.9, MinEvents: 1}, GroupBy: &[]string{}, Match: match{Namespace: "s*", Template: "[ab]"}},
	)}
	see := func(w what, ns, template string) {
		s.see(0, w, map[string]string{labelNamespace: ns, labelTemplate: template}, 1)
	}
	see(taskFailed, "shop", "a")
	see(taskFailed, "shop", "b")
	see(taskCompleted, "shop", "c")
	see(taskCompleted, "mart", "a")
	if got, want := s.lasting(labelTemplate), []string{"", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("alerts of templates %q, want %q", got, want)
	}
	want := map[string]string{labelAlert: "rule0", labelTemplate: "a", "severity": "page"}
	if diff := cmp.Diff(want, s.e.notices(t0())[0].Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	for i := range maxGroups + 10 {
		see(taskCompleted, "shop", fmt.Sprint("template", i))
	}
	if n := len(s.e.rules[0].groups); n != maxGroups {
		t.Errorf("%d groups are remembered, want at most %d", n, maxGroups)
	}
	if got, want := s.lasting(labelTemplate), []string{"", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("alerts of templates %q after a flood of names, want still %q", got, want)
	}
}

// TestReplay shows old events: they fill windows and raise nothing.
func TestReplay(t *testing.T) {
	s := &scene{e: newEngine(t, ruleConfig{FailureRate: &failureRate{Above: 0.1, MinEvents: 3, Window: d(time.Hour)}})}
	now := t0().Add(30 * time.Minute)
	see := func(seq uint64, at time.Time) {
		s.e.observe(observation{seq: seq, at: at, what: taskFailed, labels: order()}, now)
		s.e.tick(now)
	}
	for seq := range uint64(5) {
		see(seq+1, t0())
	}
	if got := s.lasting(labelAlert); len(got) != 0 {
		t.Fatalf("old events raised %q", got)
	}
	see(5, now) // came before
	if got := s.lasting(labelAlert); len(got) != 0 {
		t.Fatalf("a duplicate raised %q", got)
	}
	see(6, now)
	if got := s.lasting(labelAlert); len(got) != 1 || s.e.notices(now)[0].Annotations["summary"] != "failed tasks within 1h: 6 of 6" {
		t.Errorf("a new event raised %q: %+v, want one alert that knows the old events", got, s.e.notices(now))
	}
}

// TestBehind does not take what was not told yet for what did not happen.
func TestBehind(t *testing.T) {
	s := &scene{e: newEngine(t, ruleConfig{NoCompletion: &silence{For: d(time.Minute)}, GroupBy: &[]string{}})}
	s.e.start(t0().Add(time.Hour)) // a process starts anew
	for name, tc := range []struct {
		at   time.Duration
		see  bool // an event that is an hour old
		want int
	}{{time.Second, false, 0}, {50 * time.Second, true, 0}, {100 * time.Second, false, 0}, {111 * time.Second, false, 1}} {
		now := t0().Add(time.Hour + tc.at)
		if tc.see {
			s.e.observe(observation{seq: 1, at: t0(), what: taskCompleted, labels: order()}, now)
		}
		s.e.tick(now)
		if n := len(s.lasting(labelAlert)); n != tc.want {
			t.Errorf("step %d: %d alerts %s after the start, want %d", name, n, tc.at, tc.want)
		}
	}
}

// TestEnds checks what is told of alerts, and until when.
func TestEnds(t *testing.T) {
	s := &scene{e: newEngine(t, ruleConfig{DeadLetters: &deadLettered{Window: d(time.Minute)}}), deaf: true}
	labels := map[string]string{labelSubscription: "mail/events", labelEvent: "task.failed"}
	s.see(0, deadLetter, labels, 0)
	s.tick(2 * time.Minute)
	got := s.e.notices(t0().Add(2 * time.Minute))
	if len(got) != 1 || !got[0].EndsAt.Equal(t0().Add(6*time.Minute)) {
		t.Fatalf("notices %+v, want one that lasts until nothing is heard of it for 4m: nobody has heard of it yet", got)
	}
	s.deaf = false
	s.tick(3 * time.Minute)
	s.tick(3*time.Minute + time.Second)
	if got = s.e.notices(t0().Add(4 * time.Minute)); len(got) != 1 || !got[0].EndsAt.Equal(t0().Add(3*time.Minute+time.Second)) {
		t.Fatalf("notices %+v, want one that has ended", got)
	}
	s.tick(30 * time.Minute)
	if got = s.e.notices(t0().Add(30 * time.Minute)); len(got) != 0 {
		t.Errorf("notices %+v long after the end, want none", got)
	}
	s.tick(31 * 24 * time.Hour)
	if n := len(s.e.rules[0].groups); n != 0 {
		t.Errorf("%d groups after a month of quiet, want none", n)
	}
}

// TestRestored numbers events like others before, in the log of a restored backup.
func TestRestored(t *testing.T) {
	s := &scene{e: newEngine(t, ruleConfig{FailureRate: &failureRate{Above: 0.1, MinEvents: 1}})}
	s.e.hostStarted("h1", 1, t0())
	s.seq = 100
	s.see(time.Minute, taskCompleted, order(), 1)
	s.e.hostStarted("h0", 1, t0().Add(-time.Hour)) // a replay
	s.seq = 50
	s.see(2*time.Minute, taskFailed, order(), 1)
	if got := s.lasting(labelAlert); len(got) != 0 {
		t.Fatalf("a replayed event raised %q", got)
	}
	s.e.hostStarted("h2", 49, t0().Add(3*time.Minute))
	s.seq = 50
	s.see(4*time.Minute, taskFailed, order(), 1)
	if got := s.lasting(labelAlert); len(got) != 1 {
		t.Errorf("alerts %q of the restored log, want one", got)
	}
}

// TestWindow compares a window with a list of what happened, counted by parts as the window counts them.
func TestWindow(t *testing.T) {
	const size = time.Hour
	rapid.Check(t, func(t *rapid.T) {
		var w window
		type thing struct {
			n   int64
			bad bool
		}
		var all []thing
		now := t0()
		for range rapid.IntRange(1, 60).Draw(t, "things") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "later")))
			bad := rapid.Bool().Draw(t, "bad")
			w.add(size, now, bad)
			all = append(all, thing{now.UnixNano() / int64(part(size)), bad})
			at := now.Add(time.Duration(rapid.Int64Range(0, int64(size)).Draw(t, "asked")))
			last := at.UnixNano() / int64(part(size))
			wantAll, wantBad := 0, 0
			for _, x := range all {
				if x.n > last-slots {
					wantAll++
					if x.bad {
						wantBad++
					}
				}
			}
			if gotAll, gotBad := w.count(size, at); gotAll != wantAll || gotBad != wantBad {
				t.Fatalf("count %d, %d bad; want %d, %d", gotAll, gotBad, wantAll, wantBad)
			}
			if len(w) > slots {
				t.Fatalf("%d slots", len(w))
			}
		}
	})
}

func TestPercentile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		all := rapid.SliceOfN(rapid.Float64Range(0, 10), 1, 60).Draw(t, "samples")
		p := rapid.Float64Range(1, 100).Draw(t, "percentile")
		var s samples
		for _, v := range all {
			s.add(limit, v)
		}
		last := all[max(0, len(all)-limit):]
		if diff := cmp.Diff(last, s.values()); diff != "" {
			t.Fatalf("samples (-want +got):\n%s", diff)
		}
		sorted := slices.Sorted(slices.Values(last))
		got := s.percentile(p)
		i := slices.Index(sorted, got)
		for i+1 < len(sorted) && sorted[i+1] == got {
			i++
		}
		if below := float64(i+1) / float64(len(sorted)) * 100; below < p-1e-9 {
			t.Fatalf("only %v %% of %v do not exceed %v, want %v %%", below, sorted, got, p)
		}
		if j := slices.Index(sorted, got); j > 0 && float64(j)/float64(len(sorted))*100 >= p+1e-9 {
			t.Fatalf("%v is more than the percentile %v of %v", got, p, sorted)
		}
	})
}

// TestProperties lets anything happen, some of it twice, and in between has the process start anew: alerts are the same
// as without that, and pauses between alerts are kept.
func TestProperties(t *testing.T) {
	rules := []ruleConfig{
		{Name: "a", FailureRate: &failureRate{Above: 0.3, MinEvents: 3, Window: d(5 * time.Minute)}, Cooldown: d(7 * time.Minute)},
		{Name: "b", Duration: &slowness{Percentile: 80, Samples: 10, MinSamples: 4, Window: d(3 * time.Minute)}, KeepFiring: d(time.Minute)},
		{Name: "c", NoCompletion: &silence{For: d(6 * time.Minute)}},
	}
	rapid.Check(t, func(rt *rapid.T) {
		calm, rough := &scene{e: newEngine(t, rules...)}, &scene{e: newEngine(t, rules...)}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		var all []observation
		ended := make(map[string]time.Time)
		at := t0()
		for i := range rapid.IntRange(0, 80).Draw(rt, "events") {
			at = at.Add(time.Duration(rapid.IntRange(1, 120).Draw(rt, "seconds")) * time.Second)
			labels := map[string]string{labelNamespace: "n", labelTemplate: rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "template")}
			o := observation{seq: uint64(i + 1), at: at, labels: labels, seconds: float64(rapid.IntRange(1, 9).Draw(rt, "took"))}
			o.what = rapid.SampledFrom([]what{taskCreated, taskCompleted, taskFailed}).Draw(rt, "what")
			all = append(all, o)
			calm.e.observe(o, at)
			rough.e.observe(o, at)
			for range random.IntN(3) {
				rough.e.observe(all[random.IntN(len(all))], at)
			}
			if random.IntN(5) == 0 {
				doc, err := rough.e.encode()
				if err != nil {
					rt.Fatal(err)
				}
				rough.e = newEngine(t, rules...)
				if err := rough.e.decode(doc); err != nil {
					rt.Fatal(err)
				}
			}
			rough.e.late, calm.e.late = false, false // which duplicates may set, for a minute
			for _, s := range []*scene{calm, rough} {
				s.tell(at.Sub(t0()))
				s.e.tick(at)
			}
			if diff := cmp.Diff(told(calm.e, at), told(rough.e, at)); diff != "" {
				rt.Fatalf("event %d: duplicates and restarts make a difference (-without +with):\n%s", i, diff)
			}
			for _, g := range calm.e.rules[0].groups {
				key := g.Labels[labelTemplate]
				if g.lasts() && g.Alert.StartsAt.Before(ended[key].Add(7*time.Minute)) {
					rt.Fatalf("an alert began at %s, within the cooldown after %s", g.Alert.StartsAt, ended[key])
				}
				if g.Alert != nil && !g.lasts() {
					if ended[key] = g.Alert.EndsAt; g.Alert.EndsAt.Before(g.Alert.StartsAt) {
						rt.Fatalf("an alert ended before it began: %+v", g.Alert)
					}
				}
			}
		}
	})
}

// told returns what is told, in a form that can be compared.
func told(e *engine, at time.Time) []string {
	var all []string
	for _, n := range e.notices(at) {
		all = append(all, fmt.Sprint(n.Labels, n.Annotations, n.StartsAt.UnixNano(), n.EndsAt.UnixNano()))
	}
	return all
}
