package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/cmd/tasker/cli/timeline"
	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

func TestPosition(t *testing.T) {
	now := second(0)
	tests := []struct {
		text string
		want host.Position
		bad  bool
	}{
		{text: "", want: host.Position{}},
		{text: "4711", want: host.Position{Seq: 4711}},
		{text: "4,711", want: host.Position{Seq: 4711}},
		{text: "4,7", bad: true},
		{text: "0", want: host.Position{Seq: 1}},
		{text: "beginning", want: host.Position{Seq: 1}},
		{text: "10m", want: host.Position{At: now.Add(-10 * time.Minute)}},
		{text: "10m ago", want: host.Position{At: now.Add(-10 * time.Minute)}},
		{text: "2026-01-31T08:00:00+01:00", want: host.Position{At: time.Date(2026, 1, 31, 7, 0, 0, 0, time.UTC)}},
		{text: "yesterday", bad: true},
		{text: "-3", bad: true},
		{text: "2999-01-31T08:00:00Z", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := position(tt.text, now)
			if (err != nil) != tt.bad || got.Seq != tt.want.Seq || !got.At.Equal(tt.want.At) {
				t.Errorf("got %v, %v; want %v, an error: %t", got, err, tt.want, tt.bad)
			}
		})
	}
	if end, err := position("end", now); err != nil || !end.At.After(now.AddDate(50, 0, 0)) {
		t.Errorf("end: got %v, %v; want a time that no event has", end, err)
	}
}

func TestSubscription(t *testing.T) {
	all := []host.SubscriptionStatus{{Name: "mail/failures"}, {Name: "watch/all"}, {Name: "watch/failed"}}
	tests := []struct {
		name, want string
		err        error
		says       string
	}{
		{"mail/failures", "mail/failures", nil, ""},
		{"mail", "mail/failures", nil, ""},
		{"watch", "", task.ErrAmbiguous, "watch/all, watch/failed"},
		{"mail/failure", "", task.ErrNotFound, `did you mean "mail/failures"?`},
		{"mial", "", task.ErrNotFound, `did you mean "mail"?`},
		{"unicorn", "", task.ErrNotFound, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := subscription(all, tt.name)
			if !errors.Is(err, tt.err) || (err != nil && !strings.Contains(err.Error(), tt.says)) {
				t.Fatalf("error %v, want %v that says %q", err, tt.err, tt.says)
			}
			if err == nil && got.Name != tt.want {
				t.Errorf("got %s, want %s", got.Name, tt.want)
			}
		})
	}
}

func TestRemedy(t *testing.T) {
	tests := []struct {
		home, text, want string
	}{
		{"", "tasker task retry 01", "tasker task retry 01"},
		{"x", "tasker task retry 01", "tasker --home x task retry 01"},
		{"a b", "tasker plugin crashes p && tasker plugin resume p", "tasker --home 'a b' plugin crashes p && tasker --home 'a b' plugin resume p"},
		{"$1", "start a host: tasker serve", "start a host: tasker --home '$1' serve"},
		{"x", "start one: tasker serve --home y", "start one: tasker serve --home y"},
		{"x", "put tasker-plugin-p into a plugin directory", "put tasker-plugin-p into a plugin directory"},
	}
	for _, tt := range tests {
		t.Run(tt.home+" "+tt.text, func(t *testing.T) {
			if got := (&app{home: tt.home}).remedy(tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	shared := &task.Reason{Remedy: "tasker task retry 01"}
	v := &task.View{Action: "tasker task why 01", Steps: []task.StepView{{Reason: shared}, {Reason: shared}, {}}}
	(&app{home: "x"}).address(v)
	if v.Action != "tasker --home x task why 01" || v.Steps[1].Reason.Remedy != "tasker --home x task retry 01" {
		t.Errorf("got %q and %q, want both with the home once", v.Action, v.Steps[1].Reason.Remedy)
	}
}

// fakeLog is a service that has a log and knows one filter.
type fakeLog struct {
	host.Service

	log     []*eventv1.Event
	queries []host.EventQuery
}

func (f *fakeLog) Events(_ context.Context, q host.EventQuery, fn func(host.LogEntry) error) error {
	f.queries = append(f.queries, q)
	for i, e := range f.log {
		seq := uint64(i) + 1
		if seq < q.From || (q.Filter == "late" && seq < 4) {
			continue
		}
		b, err := proto.Marshal(e)
		if err != nil {
			return err
		}
		if err := fn(host.LogEntry{Seq: seq, Encoded: b}); err != nil {
			return err
		}
	}
	return nil
}

// TestAttribute: an event goes through the first binding that is about it and whose filter
// it passes.
func TestAttribute(t *testing.T) {
	order := &task.TemplateRef{Namespace: "shop", Name: "order", Version: "1.0.0"}
	failed := func(template string) *eventv1.Event {
		return &eventv1.Event{Type: "step.failed", Namespace: "shop", Template: template, Version: "1.0.0"}
	}
	f := &fakeLog{log: []*eventv1.Event{
		failed("order"), failed("other"), {Type: "host.started"}, failed("order"), failed("order"),
	}}
	sub := &host.SubscriptionStatus{Name: "mail/failures", Bindings: []host.BindingInfo{
		{Source: "off", Template: order},
		{Source: "broken", Template: order, Enabled: true, Problem: "config"},
		{Source: "late", Template: order, Events: []string{"step.*"}, Filter: "late", Enabled: true},
		{Source: "order", Template: order, Enabled: true},
		{Source: "tasker.yaml", Events: []string{"step.failed"}, Enabled: true},
	}}
	q := host.EventQuery{Last: 20, Subscription: "mail/failures"}
	past, err := pastEvents(t.Context(), f, q)
	if err != nil {
		t.Fatal(err)
	}
	if err := attribute(t.Context(), f, q, sub, past); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range past {
		got = append(got, p.binding)
	}
	if diff := cmp.Diff([]string{"order", "tasker.yaml", "", "late", "late"}, got); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if len(f.queries) != 2 {
		t.Errorf("the log was read %d times, want once and once more for the one filter", len(f.queries))
	}
}

func TestBeginAt(t *testing.T) {
	now := second(0)
	tests := []struct {
		name, from string
		query      host.EventQuery
		want       host.EventQuery
		bad        bool
	}{
		{name: "nothing said", want: host.EventQuery{Last: defaultTail}},
		{name: "a task", query: host.EventQuery{Task: "01"}, want: host.EventQuery{Task: "01"}},
		{name: "a number", from: "7", want: host.EventQuery{From: 7}},
		{name: "a time", from: "1h", want: host.EventQuery{Since: now.Add(-time.Hour)}},
		{name: "the end", from: "end", want: host.EventQuery{Since: now}},
		{name: "both", from: "7", query: host.EventQuery{Last: 3}, bad: true},
		{name: "negative", query: host.EventQuery{Last: -3}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.query
			if err := beginAt(&got, tt.from, now); (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %t", err, tt.bad)
			}
			if diff := cmp.Diff(tt.want, got); !tt.bad && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSubscriptionHint(t *testing.T) {
	tests := []struct{ text, want string }{
		{"cannot pause a task that is cancelled", ""},
		{"subscription p/a is not paused", "tasker subscriber list"},
		{"subscription p/a is declared by a plugin that is ready", "restart the host"},
		{"subscription p/a is not being served", "tasker plugin list"},
	}
	for _, tt := range tests {
		if got := hintFor(fmt.Errorf("%s: %w", tt.text, task.ErrTransition)); !strings.HasSuffix(got, tt.want) || (tt.want == "" && got != "") {
			t.Errorf("%s: hint %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestPrintTimeline(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &answer{w: &out}}
	v := &task.View{Spec: task.Spec{ID: "T"}, Status: task.Complete}
	cut := &timeline.Timeline{
		From: second(0), To: second(9), Missing: 12, Rows: []timeline.Row{{Step: "a", Status: task.StepComplete}},
	}
	a.printTimeline(v, cut, true)
	if want := "\nthe log has lost the first 12 events of the task: what was before them is not drawn\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is missing in:\n%s", want, &out)
	}
	out.Reset()
	a.printTimeline(v, &timeline.Timeline{}, true)
	if want := "\nits events are no longer in the log: tasker task show T tells how it stands\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is missing in:\n%s", want, &out)
	}
}

func TestPrintSubscriber(t *testing.T) {
	var out, notes bytes.Buffer
	a := &app{out: &answer{w: &out}, stderr: &notes, now: func() time.Time { return second(0) }, home: "here"}
	s := host.SubscriptionStatus{
		Name: "mail/failures", Description: "mails what failed", State: "retrying", Events: []string{"step.failed", "task.failed"},
		Filter: "payload.final", Order: "task", Bound: true, Window: 4, MaxAttempts: 5, Timeout: time.Minute, Instance: "mail#2",
		Through: 4710, LastSeq: 5914, Behind: 1204, BehindFor: 125 * time.Second, Unacked: 3, Delivered: 900, DeadLetters: 2,
		Failing: []host.Failing{{Seq: 4711, Failures: 2, Kills: 1, Reason: "451 try later", RetryAt: second(4)}},
		Replays: []host.ReplayPart{{Next: 7, To: 9, Types: []string{"step.*"}}},
		Bindings: []host.BindingInfo{
			{Source: "template shop/order@1.0.0", Config: []byte(`{"to":"ops"}`), Enabled: true},
			{Source: "tasker.yaml", Events: []string{"step.failed"}, Problem: "config: /to: missing"},
		},
		AckedAt: second(1), CreatedAt: second(0),
		Unavailable: []host.Outage{
			{Since: second(-9), Reason: "no server", NextTry: second(6), Tries: 3, Binding: "tasker.yaml"}, {Since: second(-3), Reason: "no disk", NextTry: second(0)},
		},
	}
	a.printSubscriber(&s, nextOfSubscriber(&s, true, nil))
	a.printSubscribers([]host.SubscriptionStatus{s})
	for _, want := range []string{
		"subscriber    mail/failures\n", "state         retrying\n", "order         task\n", "through       4,710 of 5,914\n",
		"behind        1,204 (2m05s)\n", "replay        from 7 to 9 of step.*\n", "bound by template shop/order@1.0.0\n",
		`  config   {"to":"ops"}`, "bound by tasker.yaml (not enabled)\n", "  problem  config: /to: missing\n",
		"4711  2         1      in 4.0s   451 try later\n", "do: tasker --home here plugin logs mail\n",
		"mail/failures  retrying  1,204 (2m05s)  3        900        2     mail#2",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &out)
		}
	}
	for _, want := range []string{
		"unavailable   since " + clock(second(-9)) + " for tasker.yaml, next try in 6.0s: no server\n",
		"unavailable   since " + clock(second(-3)) + ", an event tries now: no disk\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &out)
		}
	}
	want := "mail/failures: unavailable since " + clock(second(-9)) + " for tasker.yaml, next try in 6.0s: no server\n" +
		"mail/failures: unavailable since " + clock(second(-3)) + ", an event tries now: no disk\n" +
		"2 dead letters: tasker --home here subscriber dead-letters list\n"
	if notes.String() != want {
		t.Errorf("note %q, want %q", &notes, want)
	}
}

// TestNextOfAbsent: only what nothing declares any more is worth forgetting.
func TestNextOfAbsent(t *testing.T) {
	tests := []struct {
		name    string
		stopped bool // no host runs
		plugins []host.PluginInfo
		want    string
	}{
		{"no host", true, nil, "tasker serve"},
		{"not installed", false, nil, "put plugin mail back and start the host again; when it is gone for good: tasker subscriber forget mail/failures"},
		{"quarantined", false, []host.PluginInfo{{Name: "mail", State: task.PluginQuarantined}}, "tasker plugin crashes mail; when the cause is mended: tasker plugin resume mail"},
		{"in backoff", false, []host.PluginInfo{{Name: "mail", State: task.PluginBackoff}}, "tasker plugin crashes mail"},
		{"refused", false, []host.PluginInfo{{Name: "mail", State: task.PluginRefused}}, "tasker plugin describe mail"},
		{"declared no more", false, []host.PluginInfo{{Name: "mail", State: task.PluginReady}}, "plugin mail declares it no more; when that is for good: tasker subscriber forget mail/failures"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &host.SubscriptionStatus{Name: "mail/failures", State: subscriptionAbsent}
			if got := nextOfSubscriber(s, !tt.stopped, tt.plugins); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnknownTypes(t *testing.T) {
	for name, says := range map[string]string{
		"": "", "step.failed": "", "step.*": "", "*": "", "orders.shiped": "", "step.faild": `did you mean "step.failed"?`, "step": "no event",
	} {
		if err := unknownTypes(name); (err != nil) != (says != "") || (err != nil && !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: got %v, want an error that says %q", name, err, says)
		}
	}
}

func TestFewer(t *testing.T) {
	const list = "on step.failed+task.failed, emits mail.sent"
	tests := []struct {
		width int
		want  string
	}{
		{80, list}, {40, "on step.failed+task.failed, +1"}, {20, "on step.failed, +2"}, {3, "on step.failed, +2"},
	}
	for _, tt := range tests {
		if got := fewer(list, tt.width); got != tt.want {
			t.Errorf("%d columns: got %q, want %q", tt.width, got, tt.want)
		}
	}
	table := table{head: []string{"NAME", "VERSION", "STATE", "BUSY", "HANDLERS", "EVENTS", "CAUSE"}}
	table.add("mail", "1.0.0", "ready", "0/8", "-", list, "")
	if fitEvents(&table, 80); table.rows[0][columnEvents] != "on step.failed+task.failed, +1" {
		t.Errorf("got %q, want what fits beside the other columns", table.rows[0][columnEvents])
	}
}

// TestPrintTrial: an answer that is no ack is not told as if it were a promise.
func TestPrintTrial(t *testing.T) {
	var out, notes bytes.Buffer
	a := &app{out: &answer{w: &out}, stderr: &notes}
	sub := &host.SubscriptionStatus{Name: "mail/failures", Bound: true}
	for _, r := range []host.TryResult{{Verdict: "retry", Reason: "no server", Took: 5 * time.Millisecond, Binding: "tasker.yaml"}, {Verdict: "acked", Took: time.Millisecond}} {
		if err := a.printTrial(&r, sub, []string{"mail", "step.failed"}, false); err != nil {
			t.Fatal(err)
		}
	}
	if want := "mail  step.failed  answered retry, in 5.00 ms, bound by tasker.yaml: no server\nmail  step.failed  acked after 1.00 ms\n"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
	if want := "next: tasker plugin logs mail\nsent without a binding, so without what the config of one says: no binding is about this event\n"; notes.String() != want {
		t.Errorf("notes %q, want %q", &notes, want)
	}
}

func TestPrintTroubled(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &answer{w: &out}}
	a.printTroubled(t.Context(), fakeSubscriptions{all: []host.SubscriptionStatus{
		{Name: "well/all"}, {Name: "late/all", State: "paused", Behind: 1204, BehindFor: 2 * time.Minute}, {Name: "mail/failures", DeadLetters: 2},
	}})
	want := "events    late/all: paused, behind 1,204 (2m00s); tasker subscriber show late/all\n" +
		"events    mail/failures: 2 dead letters; tasker subscriber show mail/failures\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
}

type fakeSubscriptions struct {
	host.Service

	all []host.SubscriptionStatus
}

func (f fakeSubscriptions) Subscriptions(context.Context) ([]host.SubscriptionStatus, error) {
	return f.all, nil
}
