package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) {
	if sdktest.Launched() {
		sdk.Serve(plugin(&alerts{}))
	}
	goleak.VerifyTestMain(m)
}

// posted is a request to Alertmanager.
type posted struct {
	at     time.Time
	header http.Header
	alerts []notice
}

// receiver is an Alertmanager: it refuses what does not fit the schema, and keeps the rest.
type receiver struct {
	tb     testing.TB
	schema *jsonschema.Schema
	posts  chan posted

	mu   sync.Mutex
	down bool
	last string // the body that was accepted last
}

func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("testdata/postableAlerts.schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	return &receiver{tb: tb, schema: schema, posts: make(chan posted, 1000)}
}

func (r *receiver) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil || req.Method != http.MethodPost || req.URL.Path != "/am/api/v2/alerts" || req.Header.Get("Content-Type") != "application/json" {
		r.tb.Errorf("request %s %s %v, %v", req.Method, req.URL, req.Header, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = r.schema.Validate(doc)
	}
	p := posted{at: time.Now(), header: req.Header}
	if err = errors.Join(err, json.Unmarshal(body, &p.alerts)); err != nil {
		r.tb.Errorf("the body does not fit: %v\n%s", err, body)
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	r.last = string(body)
	r.posts <- p
}

// RoundTrip implements http.RoundTripper, without a network.
func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Result(), nil
}

// next waits for the next request that ok accepts.
func (r *receiver) next(t *testing.T, ok func(posted) bool) posted {
	t.Helper()
	for {
		select {
		case p := <-r.posts:
			if ok(p) {
				return p
			}
		case <-time.After(30 * time.Second):
			t.Fatal("Alertmanager was not told")
		}
	}
}

// firing and ended say whether a request tells of one alert that lasts, or ended.
func firing(p posted) bool { return len(p.alerts) == 1 && p.alerts[0].EndsAt.After(p.at) }
func ended(p posted) bool  { return len(p.alerts) == 1 && !p.alerts[0].EndsAt.After(p.at) }

// deadLetters is a rule that tests can do with.
func deadLetters(window time.Duration) ruleConfig {
	return ruleConfig{
		Name: "DeadLetters", DeadLetters: &deadLettered{Window: d(window)}, Labels: map[string]string{"severity": "page"},
		Annotations: map[string]string{"description": "{{.Labels.subscription}}: {{.Text}} ({{.Value}})"},
	}
}

// recent is an event of now.
func recent(p event.Payload) sdktest.Event { return sdktest.Event{Payload: p, At: time.Now()} }

func aDeadLetter() event.SubscriberDeadLettered {
	return event.SubscriberDeadLettered{Subscriber: event.Subscriber{Subscription: "mail/events"}, EventType: "task.failed", Seq: 3}
}

func deliver(t *testing.T, sub *sdktest.Subscription, e sdktest.Event) {
	t.Helper()
	if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
		t.Fatalf("answer %+v, want acked", got)
	}
}

// TestWire has events come over the wire and alerts go to an HTTP server: one begins and ends, and goes on in the next
// process.
func TestWire(t *testing.T) {
	r := newReceiver(t)
	server := httptest.NewServer(r)
	defer server.Close()
	t.Chdir(t.TempDir())
	c := config{
		Alertmanagers: []alertmanager{{URL: server.URL + "/am/", Headers: map[string]string{"Authorization": "Bearer x"}}},
		Rules:         []ruleConfig{deadLetters(time.Second)}, GeneratorURL: "https://example.com/dashboard",
	}
	start := func(t *testing.T) *sdktest.Subscription {
		t.Helper()
		return sdktest.Start(t, plugin(&alerts{every: 10 * time.Millisecond}), sdktest.Options{Config: c}).Subscribe(t, "events")
	}
	t.Run("begins and ends", func(t *testing.T) {
		sub := start(t)
		deliver(t, sub, recent(aDeadLetter()))
		p := r.next(t, firing)
		want := notice{
			Labels:       map[string]string{"alertname": "DeadLetters", "severity": "page", "subscription": "mail/events", "event": "task.failed"},
			Annotations:  map[string]string{"summary": "events put aside within 1s: 1", "description": "mail/events: events put aside within 1s: 1 (1)"},
			GeneratorURL: c.GeneratorURL, StartsAt: p.alerts[0].StartsAt, EndsAt: p.alerts[0].EndsAt,
		}
		if diff := cmp.Diff(want, p.alerts[0], cmp.AllowUnexported(notice{})); diff != "" {
			t.Errorf("alert (-want +got):\n%s", diff)
		}
		if got := p.header.Get("Authorization"); got != "Bearer x" {
			t.Errorf("authorization %q", got)
		}
		r.next(t, ended)
	})
	c.Rules[0] = deadLetters(time.Hour)
	t.Run("another process", func(t *testing.T) { deliver(t, start(t), recent(aDeadLetter())); r.next(t, firing) })
	t.Run("goes on in the next", func(t *testing.T) { start(t); r.next(t, firing) })
	t.Run("a trial", func(t *testing.T) {
		sub := start(t)
		e := recent(aDeadLetter())
		e.Trial = true
		deliver(t, sub, e)
		if line := sub.Log(t); !strings.Contains(string(line.Fields), `"would":"DeadLetters"`) {
			t.Errorf("log %+v %s", line, line.Fields)
		}
	})
}

// TestEvents shows every event that rules are about, over the wire.
func TestEvents(t *testing.T) {
	r := newReceiver(t)
	server := httptest.NewServer(r)
	defer server.Close()
	t.Chdir(t.TempDir())
	all := []string{}
	one := &failureRate{Above: 0, MinEvents: 1}
	c := config{Alertmanagers: []alertmanager{{URL: server.URL + "/am"}}, Rules: []ruleConfig{
		{Name: "tasks", FailureRate: one, GroupBy: &all},
		{Name: "steps", FailureRate: &failureRate{Of: ofStep, MinEvents: 1}, GroupBy: &all},
		{Name: "attempts", FailureRate: &failureRate{Of: ofAttempt, Above: 0.6, MinEvents: 3}, GroupBy: &all},
		{Name: "slow tasks", Duration: &slowness{Above: d(4 * time.Second)}, GroupBy: &all},
		{Name: "slow attempts", Duration: &slowness{Of: ofAttempt, Above: d(time.Second)}, GroupBy: &all},
	}}
	sub := sdktest.Start(t, plugin(&alerts{}), sdktest.Options{Config: c}).Subscribe(t, "events")
	step := event.Step{Task: event.Task{TaskID: "t"}, StepName: "s"}
	for _, p := range []event.Payload{
		event.HostStarted{HostID: "h"},
		event.TaskInitialized{},
		event.StepCompleted{Step: step, ExecutionDuration: 0.5},
		event.StepFailed{Step: step, ExecutionDuration: 2},
		event.StepFailed{Step: step, Final: true},
		event.TaskFailed{TaskEnded: event.TaskEnded{TotalDuration: 9}},
		event.TaskCompleted{TaskEnded: event.TaskEnded{TotalDuration: 1}},
	} {
		deliver(t, sub, recent(p))
	}
	got := r.next(t, func(p posted) bool { return len(p.alerts) == len(c.Rules) })
	names := make(map[string]bool)
	for _, a := range got.alerts {
		names[a.Labels[labelAlert]] = true
	}
	if len(names) != len(c.Rules) {
		t.Errorf("alerts of %v, want one of each rule", names)
	}
}

// bubble runs the plugin's timers and senders in virtual time.
func bubble(t *testing.T, r *receiver, log io.Writer, c config) *alerts {
	t.Helper()
	c.Alertmanagers = []alertmanager{{URL: "http://alertmanager/am"}}
	a := &alerts{config: c}
	e, err := a.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range a.senders {
		s.client.Transport = r
		s.log = slog.New(slog.NewTextHandler(log, nil))
	}
	a.start(context.WithoutCancel(t.Context()), e)
	synctest.Wait()
	return a
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// observe shows a dead letter of now.
func (a *alerts) observe(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	labels := map[string]string{labelSubscription: "mail/events", labelEvent: "task.failed"}
	a.engine.observe(observation{seq: seq, at: time.Now(), what: deadLetter, labels: labels}, time.Now())
	a.keep(context.Background(), false)
}

// TestResend sends an alert again and again while it lasts, and its end for a while.
func TestResend(t *testing.T) {
	r := newReceiver(t)
	t.Chdir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := bubble(t, r, &log, config{Rules: []ruleConfig{deadLetters(10 * time.Minute)}})
		begin := time.Now()
		a.observe(1)
		pass(9*time.Minute + time.Second)
		if n := len(r.posts); n != 10 {
			t.Errorf("told %d times within 9m, want at once and then every minute", n)
		}
		for range len(r.posts) {
			if p := <-r.posts; !firing(p) || !p.alerts[0].StartsAt.Equal(begin) || !p.alerts[0].EndsAt.Equal(p.at.Add(4*time.Minute)) {
				t.Errorf("told at %s: %+v", p.at, p.alerts)
			}
		}
		pass(time.Hour)
		posts := make([]posted, len(r.posts))
		for i := range posts {
			posts[i] = <-r.posts
		}
		last := posts[len(posts)-1]
		if !ended(last) || last.at.Sub(last.alerts[0].EndsAt) > keepEnded+time.Minute || last.alerts[0].EndsAt.Sub(begin) > 10*time.Minute+evaluateEvery {
			t.Errorf("told last at %s: %+v", last.at, last.alerts)
		}
		if err := a.Close(); err != nil || log.Len() > 0 {
			t.Errorf("close: %v; log %s", err, &log)
		}
	})
}

// TestDown raises an alert while Alertmanager is away: events go on, the alert waits, also in the next process.
func TestDown(t *testing.T) {
	r := newReceiver(t)
	t.Chdir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := config{Rules: []ruleConfig{deadLetters(time.Minute)}}
		r.setDown(true)
		a := bubble(t, r, &log, c)
		a.observe(1)
		pass(time.Hour)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		a = bubble(t, r, &log, c)
		pass(time.Hour)
		if n := strings.Count(log.String(), "does not accept alerts"); n != 2 || !strings.Contains(log.String(), "503 Service Unavailable: not now") {
			t.Errorf("%d warnings, want one for each process:\n%s", n, &log)
		}
		r.setDown(false)
		pass(maxBackoff)
		if p := <-r.posts; !firing(p) {
			t.Errorf("told %+v, want the alert, although the cause is over: nobody has heard of it", p)
		}
		pass(time.Minute)
		if p := <-r.posts; !ended(p) {
			t.Errorf("told %+v, want its end", p)
		}
		if !strings.Contains(log.String(), "accepts alerts again") {
			t.Errorf("log %s", &log)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSilence notices by itself that nothing happens.
func TestSilence(t *testing.T) {
	r := newReceiver(t)
	t.Chdir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		a := bubble(t, r, io.Discard, config{Rules: []ruleConfig{
			{Name: "Nightly", NoCompletion: &silence{For: d(25 * time.Hour)}, Match: match{Namespace: "shop", Template: "report"}},
		}})
		begin := time.Now()
		pass(25*time.Hour + evaluateEvery)
		if len(r.posts) == 0 {
			t.Fatal("Alertmanager was not told")
		}
		p := <-r.posts
		if !firing(p) || p.at.Sub(begin) > 25*time.Hour+evaluateEvery || p.alerts[0].Labels[labelTemplate] != "report" {
			t.Errorf("told after %s: %+v", p.at.Sub(begin), p)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBinary runs the plugin as a process of its own.
func TestBinary(t *testing.T) {
	r := newReceiver(t)
	server := httptest.NewServer(r)
	defer server.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := config{Alertmanagers: []alertmanager{{URL: server.URL + "/am"}}, Rules: []ruleConfig{deadLetters(time.Hour)}}
	sub := sdktest.Launch(t, self, sdktest.Options{DataDir: dir, Config: c}).Subscribe(t, "events")
	deliver(t, sub, recent(aDeadLetter()))
	r.next(t, firing)
	if _, err := os.Stat(dir + "/" + stateFile); err != nil {
		t.Errorf("the state is not in the data directory: %v", err)
	}
}

func TestConfig(t *testing.T) {
	type values = map[string]any
	const url = "http://127.0.0.1:9093"
	rule := func(change values) values {
		r := values{"name": "r", "dead_letters": values{}}
		maps.Copy(r, change)
		return values{"alertmanagers": []any{values{"url": url}}, "rules": []any{r}}
	}
	with := func(key string, value any) values {
		c := rule(nil)
		c[key] = value
		return c
	}
	same := values{"name": "r", "dead_letters": values{}}
	tests := map[string]struct {
		config values
		want   string
	}{
		"no rules":         {values{"alertmanagers": []any{values{"url": url}}}, "/rules: want one"},
		"nobody to tell":   {values{"rules": []any{same}}, "/alertmanagers: want one"},
		"no alertmanager":  {with("alertmanagers", []any{}), "/alertmanagers"},
		"no url":           {with("alertmanagers", []any{values{"url": "alertmanager:9093"}}), "/alertmanagers/0/url: want http://"},
		"bad header":       {with("alertmanagers", []any{values{"url": url, "headers": values{"a": "b\nc"}}}), "/alertmanagers/0/headers"},
		"no certificates":  {with("alertmanagers", []any{values{"url": url, "ca_file": "missing.pem"}}), "/alertmanagers/0/ca_file"},
		"resend too often": {with("resend_every", "1ms"), "/resend_every"},
		"relative link":    {with("generator_url", "/dashboard"), "/generator_url"},
		"two of a name":    {with("rules", []any{same, same}), `/rules/1/name: there is another rule "r"`},
		"no condition":     {with("rules", []any{values{"name": "r"}}), "/rules/0: there are 0 conditions"},
		"two conditions":   {rule(values{"no_completion": values{"for": "1h"}}), "/rules/0: there are 2 conditions"},
		"no window":        {rule(values{"dead_letters": values{"window": "-1s"}}), "/rules/0/dead_letters/window"},
		"wrong group":      {rule(values{"group_by": []string{"template"}}), `/rules/0/group_by/0: the events of this condition have no "template"`},
		"wrong match":      {rule(values{"match": values{"step": "x"}}), "/rules/0/match/step"},
		"bad pattern":      {rule(values{"match": values{"event": "[x"}}), "/rules/0/match/event"},
		"label taken":      {rule(values{"labels": values{"alertname": "x"}}), "/rules/0/labels/alertname"},
		"bad annotation":   {rule(values{"annotations": values{"summary": "{{.Labels.template}}"}}), "/rules/0/annotations/summary"},
		"rate of all":      {with("rules", []any{values{"name": "r", "failure_rate": values{"above": 1}}}), "/rules/0/failure_rate/above"},
		"duration of what": {with("rules", []any{values{"name": "r", "duration": values{}}}), "/rules/0/duration: want either"},
		"too few samples":  {with("rules", []any{values{"name": "r", "duration": values{"percentile": 95, "samples": 5, "min_samples": 6}}}), "/rules/0/duration/min_samples"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(&alerts{}), sdktest.Options{Config: tc.config})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestIdle runs the plugin without a configuration: it takes all events, says once that it does nothing, and touches
// nothing that one with rules has left.
func TestIdle(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const left = "what was left"
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(left), 0o600); err != nil {
		t.Fatal(err)
	}
	p := sdktest.Launch(t, self, sdktest.Options{DataDir: dir})
	sub := p.Subscribe(t, "events")
	for _, e := range []sdktest.Event{
		{Payload: event.HostStarted{HostID: "h"}},
		{Payload: event.TaskFailed{}},
		{Payload: event.TaskFailed{}, Trial: true},
	} {
		if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
			t.Errorf("%T: %s: %s", e.Payload, got.Verdict, got.Reason)
		}
	}
	if got := p.Stderr(); strings.Count(got, "no rules are set") != 1 || strings.Contains(got, "ERROR") {
		t.Errorf("want it told once that there are no rules:\n%s", got)
	}
	if doc, err := os.ReadFile(filepath.Join(dir, stateFile)); err != nil || string(doc) != left {
		t.Errorf("the state file has %q, %v", doc, err)
	}
}

// TestState refuses a state file that is damaged, and forgets what rules were that are no more.
func TestState(t *testing.T) {
	t.Chdir(t.TempDir())
	e := newEngine(t, ruleConfig{Name: "r", DeadLetters: &deadLettered{}})
	s := &scene{e: e}
	s.see(0, deadLetter, map[string]string{labelSubscription: "a/b"}, 0)
	doc, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := write(stateFile, doc); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		rule ruleConfig
		want int
	}{
		"the same":      {ruleConfig{Name: "r", DeadLetters: &deadLettered{}, Labels: map[string]string{"a": "b"}}, 1},
		"another":       {ruleConfig{Name: "r", DeadLetters: &deadLettered{Count: 2}}, 0},
		"another match": {ruleConfig{Name: "r", DeadLetters: &deadLettered{}, Match: match{Event: "x"}}, 0},
	} {
		e := newEngine(t, tc.rule)
		if err := e.load(stateFile); err != nil || len(e.notices(t0())) != tc.want {
			t.Errorf("%s: %d alerts, %v; want %d", name, len(e.notices(t0())), err, tc.want)
		}
	}
	if err := write(stateFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := e.load(stateFile); err == nil || !strings.Contains(err.Error(), "without the file") {
		t.Errorf("error %v, want one with the remedy", err)
	}
}

// TestReadme checks that the README tells of every key, and that its example is one.
func TestReadme(t *testing.T) {
	doc, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	var file struct {
		Plugins map[string]struct {
			Config any `yaml:"config"`
		} `yaml:"plugins"`
	}
	if err := yaml.Unmarshal([]byte(example), &file); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	sdktest.Start(t, plugin(&alerts{}), sdktest.Options{Config: file.Plugins["alert"].Config})
	var check func(of reflect.Type, at string)
	check = func(of reflect.Type, at string) {
		for f := range of.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			in := f.Type
			for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice {
				in = in.Elem()
			}
			switch place := at + key; {
			case in.Kind() == reflect.Struct:
				check(in, strings.TrimPrefix(place+".", "rules."))
			case !bytes.Contains(doc, []byte("| `"+place+"` |")):
				t.Errorf("README.md does not tell of %s", place)
			}
		}
	}
	check(reflect.TypeFor[config](), "")
}
