package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin.
func TestMain(m *testing.M) {
	if sdktest.Launched() {
		main()
	}
	hosttest.Main(m)
}

type values = map[string]any

// start starts the plugin; without a path it writes "events" in a directory of the test's.
func start(t *testing.T, config values) (*sdktest.Subscription, string) {
	t.Helper()
	path, ok := config["path"].(string)
	if !ok {
		path = filepath.Join(t.TempDir(), "events")
		config["path"] = path
	}
	return sdktest.Start(t, plugin(), sdktest.Options{Config: config}).Subscribe(t, "events"), path
}

// acked sends events and wants all of them acked.
func acked(t *testing.T, s *sdktest.Subscription, events ...sdktest.Event) []*sdktest.Delivered {
	t.Helper()
	sent := s.Send(t, events...)
	allAcked(t, sent...)
	return sent
}

func allAcked(t *testing.T, sent ...*sdktest.Delivered) {
	t.Helper()
	for i, d := range sent {
		if a := d.Wait(t); a.Verdict != sdktest.Acked {
			t.Fatalf("event %d was %s: %s", i, a.Verdict, a.Reason)
		}
	}
}

// numbered are events of one task, a second apart.
func numbered(n int) []sdktest.Event {
	events := make([]sdktest.Event, n)
	for i := range events {
		events[i] = sdktest.Event{Type: event.NameTaskPaused, Seq: uint64(i + 1), At: at(i)}
	}
	return events
}

func at(i int) time.Time { return time.Date(2026, 5, 4, 12, 0, i, 0, time.UTC) }

func contentOf(t *testing.T, path string) string {
	t.Helper()
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// seqs returns the sequences that JSON lines have.
func seqs(t *testing.T, doc string) []uint64 {
	t.Helper()
	var all []uint64
	for line := range strings.Lines(doc) {
		var en entry
		if err := json.Unmarshal([]byte(line), &en); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, en.Seq)
	}
	return all
}

func upTo(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

// TestJSONLines compares a whole file.
func TestJSONLines(t *testing.T) {
	s, path := start(t, values{})
	acked(t, s,
		sdktest.Event{Payload: event.StepFailed{
			Step:  event.Step{Task: event.Task{TaskID: "01JD", Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationID: "web-1"}, StepName: "charge"},
			Error: event.Error{Message: "a < b"},
		}, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		sdktest.Event{Type: "orders.shipped", Payload: json.RawMessage("{\n  \"order\": 9007199254740993\n}"), Task: "01JE"},
		sdktest.Event{Type: event.NameHostStarted},
	)
	want := `{"time":"2026-05-04T12:00:00Z","type":"step.failed","id":"01JD/1","seq":1,"task_id":"01JD","task_seq":1,"step":"charge","namespace":"shop","template":"order","version":"1.2.0","correlation_id":"web-1","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{"task_id":"01JD","namespace":"shop","template":"order","version":"1.2.0","correlation_id":"web-1","step_id":"","step_name":"charge","handler":"","attempt_number":0,"retry_limit":0,"error_message":"a \u003c b","retryable":false,"final":false,"execution_duration":0}}
{"time":"2026-05-04T12:00:00Z","type":"orders.shipped","id":"01JE/2","seq":2,"task_id":"01JE","task_seq":2,"correlation_id":"01JE","data":{"order":9007199254740993}}
{"time":"2026-05-04T12:00:00Z","type":"host.started","id":"host/1/3","seq":3,"data":{"host_id":"01JD3Z8M5T0000000000000000","epoch":7,"version":"0.1.0"}}
`
	if diff := cmp.Diff(want, contentOf(t, path)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}

// TestCSV has the columns that were chosen, one line for each event, and begins a new file for others.
func TestCSV(t *testing.T) {
	s, path := start(t, values{"format": "csv", "columns": []string{"time", "type", "id", "step", "data.error_message", "data.retryable", "data.backtrace", "data.no.such"}})
	failed := event.StepFailed{Step: event.Step{Task: event.Task{TaskID: "01JD"}, StepName: "charge"}, Error: event.Error{Message: `a, "b"`}, Retryable: true}
	acked(t, s, sdktest.Event{Payload: failed})
	failed.Message, failed.Backtrace = "two\nlines", []string{"main.go:1"}
	acked(t, s, sdktest.Event{Payload: failed})
	want := `time,type,id,step,data.error_message,data.retryable,data.backtrace,data.no.such
2026-05-04T12:00:00Z,step.failed,01JD/1,charge,"a, ""b""",true,,
2026-05-04T12:00:00Z,step.failed,01JD/2,charge,"""two\nlines""",true,"[""main.go:1""]",
`
	if diff := cmp.Diff(want, contentOf(t, path)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	s.Close(t)

	s, _ = start(t, values{"format": "csv", "path": path, "columns": []string{"id", "time"}})
	acked(t, s, sdktest.Event{Payload: failed, Seq: 2}, sdktest.Event{Payload: failed, Seq: 3})
	if got, want := contentOf(t, path), "id,time\n01JD/3,2026-05-04T12:00:00Z\n"; got != want {
		t.Errorf("file %q, want %q", got, want)
	}
	if got := contentOf(t, path+".20260504T120000.000000000Z"); got != want {
		t.Errorf("file put aside %q, want %q", got, want)
	}
}

// TestAllColumns has a value for each member.
func TestAllColumns(t *testing.T) {
	s, path := start(t, values{"format": "csv", "fsync": "never"})
	acked(t, s, sdktest.Event{Type: event.NameTaskPaused, Payload: json.RawMessage(`{"a":1}`), Task: "t", Step: "s", Namespace: "n", Template: "m", Version: "1", CorrelationID: "c", Traceparent: "p"})
	want := "time,type,id,seq,task_id,task_seq,step,namespace,template,version,correlation_id,traceparent,data\n" +
		`2026-05-04T12:00:00Z,task.paused,t/1,1,t,1,s,n,m,1,c,p,"{""a"":1}"` + "\n"
	if diff := cmp.Diff(want, contentOf(t, path)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}

// TestDuplicates are recognised, also by a process that is started anew; what a restored host numbers again is not one.
func TestDuplicates(t *testing.T) {
	for _, format := range []string{formatJSON, formatCSV} {
		t.Run(format, func(t *testing.T) {
			s, path := start(t, values{"format": format})
			sent := acked(t, s, numbered(3)...)
			allAcked(t, s.Redeliver(t, sent...)...)
			before := contentOf(t, path)
			s.Close(t)
			s, _ = start(t, values{"format": format, "path": path})
			allAcked(t, s.Redeliver(t, sent...)...)
			if diff := cmp.Diff(before, contentOf(t, path)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
			acked(t, s, sdktest.Event{Type: event.NameTaskResumed, Seq: 2, At: at(60)})
			if added := strings.TrimPrefix(contentOf(t, path), before); !strings.Contains(added, event.NameTaskResumed) {
				t.Errorf("added %q, want the event of the restored host", added)
			}
		})
	}
}

// TestTornFile cuts a file at every byte, as a crash might, and delivers all again: nothing is missing, or there twice.
func TestTornFile(t *testing.T) {
	for _, config := range []config{{Chain: true}, {Format: formatCSV, Columns: []string{"id", "seq", "time"}}} {
		config.Path, config.Fsync = filepath.Join(t.TempDir(), "events"), fsyncNever
		events := entries(3)
		write(t, config, events)
		whole := contentOf(t, config.Path)
		for cut := range len(whole) {
			if err := os.WriteFile(config.Path, []byte(whole[:cut]), 0o600); err != nil {
				t.Fatal(err)
			}
			log := write(t, config, events)
			if diff := cmp.Diff(whole, contentOf(t, config.Path)); diff != "" {
				t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
			}
			torn := cut > 0 && whole[cut-1] != '\n'
			if torn != strings.Contains(log, "the last line was not written to its end") {
				t.Errorf("cut at %d: log %q", cut, log)
			}
		}
	}
}

// entries are events, a second apart.
func entries(n int) []sdk.Event[json.RawMessage] {
	events := make([]sdk.Event[json.RawMessage], n)
	for i := range events {
		events[i] = sdk.Event[json.RawMessage]{
			ID: fmt.Sprintf("t/%d", i+1), Type: event.NameTaskPaused, Seq: uint64(i + 1), At: at(i), Task: "t", Payload: json.RawMessage(`{"by":"ann"}`),
		}
	}
	return events
}

// write has a journal of its own write events, and returns its log.
func write(t *testing.T, c config, events []sdk.Event[json.RawMessage]) string {
	t.Helper()
	j, log := opened(t, c)
	for _, e := range events {
		if err := j.OnEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return log.String()
}

// TestBatch syncs within the time that was given.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := opened(t, config{Path: filepath.Join(t.TempDir(), "events")})
		for _, e := range entries(2) {
			if err := j.OnEvent(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		f := j.files[j.config.Path]
		if !f.dirty {
			t.Error("the file was synced at once")
		}
		<-time.After(defaultFsyncAfter.D()) // of the bubble's time
		synctest.Wait()
		if f.dirty {
			t.Error("the file was not synced")
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestWriteFails has the event delivered again, to a file that is opened again.
func TestWriteFails(t *testing.T) {
	for _, policy := range []string{fsyncAlways, fsyncBatch} {
		t.Run(policy, func(t *testing.T) {
			j, log := opened(t, config{Path: filepath.Join(t.TempDir(), "events"), Fsync: policy})
			events := entries(3)
			if err := j.OnEvent(t.Context(), events[0]); err != nil {
				t.Fatal(err)
			}
			if err := j.files[j.config.Path].file.Close(); err != nil {
				t.Fatal(err)
			}
			if policy == fsyncBatch {
				j.sync()
				if !strings.Contains(log.String(), "the last events may not be on the disk") {
					t.Errorf("log %q", log)
				}
			} else if err := j.OnEvent(t.Context(), events[1]); err == nil {
				t.Error("no error")
			}
			for _, e := range events[1:] {
				if err := j.OnEvent(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(upTo(3), seqs(t, contentOf(t, j.config.Path))); diff != "" {
				t.Errorf("sequences (-want +got):\n%s", diff)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoDirectory has events wait until there is one.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, values{"path": filepath.Join(dir, "{namespace}", "events")})
	blocked := filepath.Join(dir, "shop")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sent := s.Send(t, numbered(1)...)
	if a := sent[0].Wait(t); a.Verdict != sdktest.Retried || !a.Unavailable || !strings.HasPrefix(a.Reason, "journal: ") {
		t.Errorf("answer %v", a)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	allAcked(t, s.Redeliver(t, sent...)...)
}

// TestPaths has a file for each combination, more than are open at once, and loses nothing by that.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, values{"path": filepath.Join(dir, "{namespace}-{template}.{family}")})
	for range 2 {
		for i := range maxOpen + 8 {
			acked(t, s, sdktest.Event{Type: event.NameTaskPaused, Namespace: fmt.Sprint("n", i), Template: "../a"})
		}
	}
	acked(t, s, sdktest.Event{Type: event.NameHostStarted})
	for i := range maxOpen + 8 {
		if got := seqs(t, contentOf(t, filepath.Join(dir, fmt.Sprintf("n%d-___a.task", i)))); len(got) != 2 {
			t.Errorf("namespace %d has %d events, want 2", i, len(got))
		}
	}
	if got := seqs(t, contentOf(t, filepath.Join(dir, "_-_.host"))); len(got) != 1 {
		t.Errorf("%d events without a task, want 1", len(got))
	}
}

// TestTrial writes nothing, and says so.
func TestTrial(t *testing.T) {
	s, path := start(t, values{})
	acked(t, s, sdktest.Event{Type: event.NameTaskPaused, Trial: true})
	if l := s.Log(t); l.Message != "a trial is not written: it never happened" {
		t.Errorf("log line %v", l)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
}

// TestDelivery checks what delivery asks of all subscribers.
func TestDelivery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: values{"path": path}})
	p.CheckDelivery(t, sdktest.DeliveryCheck{Subscription: "events"})
}

// TestRefusedConfiguration says where, and why.
func TestRefusedConfiguration(t *testing.T) {
	tests := map[string]struct {
		config values
		want   string
	}{
		"format":       {values{"format": "xml"}, "/format: "},
		"chained csv":  {values{"format": "csv", "chain": true}, "/chain: only the format jsonl can be chained"},
		"columns":      {values{"columns": []string{"id"}}, "/columns: only the format csv has columns"},
		"column":       {values{"format": "csv", "columns": []string{"id", "when"}}, `/columns/1: there is no "when"`},
		"twice":        {values{"format": "csv", "columns": []string{"id", "time", "id"}}, `/columns/2: "id" is there already`},
		"no id":        {values{"format": "csv", "columns": []string{"time"}}, "/columns: want id and time among them"},
		"placeholder":  {values{"path": "{task}.jsonl"}, "/path: in braces there may be"},
		"no directory": {values{"path": "journal_test.go/events"}, "/path: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(), sdktest.Options{Config: tt.config})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// TestKilled runs the plugin as a process, kills it while events are written, and delivers all again.
func TestKilled(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	launch := func() (*sdktest.Plugin, *sdktest.Subscription) {
		p := sdktest.Launch(t, binary, sdktest.Options{DataDir: dir, Config: values{"fsync": "always", "chain": true}})
		return p, p.Subscribe(t, "events")
	}
	p, s := launch()
	sent := s.Send(t, numbered(200)...)
	allAcked(t, sent[:20]...)
	p.Kill()
	_, s = launch()
	allAcked(t, s.Redeliver(t, sent...)...)
	path := filepath.Join(dir, "events.jsonl")
	if diff := cmp.Diff(upTo(200), seqs(t, contentOf(t, path))); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
	var out, errs bytes.Buffer
	if code := verify([]string{path}, &out, &errs); code != 0 {
		t.Errorf("verify says %d: %s", code, errs.String())
	}
}
