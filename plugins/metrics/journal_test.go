package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// gauges are what is in flight, as the callbacks add it up.
type gauges map[string]float64

func (g gauges) add(key string, by float64) {
	if g[key] += by; g[key] == 0 {
		delete(g, key)
	}
}

// book is a journal and what follows from it.
type book struct {
	journal  *journal
	flying   inFlight
	position position
	gauges   gauges
}

func openBook(path string) (*book, error) {
	b := &book{gauges: make(gauges)}
	b.flying = inFlight{
		tasks:  make(map[string]*flight),
		onTask: func(ns, template string, by float64) { b.gauges.add(ns+"/"+template, by) },
		onStep: func(ns, template, step string, by float64) { b.gauges.add(ns+"/"+template+"/"+step, by) },
	}
	var err error
	b.journal, err = openJournal(path, b.take, b.snapshot)
	return b, err
}

func (b *book) take(c change) {
	b.position.take(c)
	b.flying.apply(c)
}

func (b *book) snapshot() []change {
	return append([]change{{Seq: b.position.seq, At: b.position.at, Host: b.position.host}}, b.flying.changes()...)
}

// TestInFlight runs tasks, ends the process at any moment, even in the middle of a line, and compares what is in flight with
// what should be.
func TestInFlight(t *testing.T) {
	dir := t.TempDir()
	files := 0
	rapid.Check(t, func(t *rapid.T) {
		files++
		path := filepath.Join(dir, fmt.Sprint(files))
		b, err := openBook(path)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]map[string]bool) // steps by task
		for seq := range uint64(rapid.IntRange(0, 40).Draw(t, "events")) {
			task, step := rapid.SampledFrom([]string{"t1", "t2", "t3"}).Draw(t, "task"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "step")
			c := change{Seq: seq + 1, At: time.Unix(int64(seq), 0), Task: task, Namespace: "n", Template: task, Step: step}
			c.Kind = rapid.SampledFrom([]kind{nothing, taskOpen, taskCreated, taskDone, stepBegins, stepBegins, stepEnds, stepEnds}).Draw(t, "kind")
			if _, err := b.journal.add(c); err != nil {
				t.Fatal(err)
			}
			b.take(c)
			switch c.Kind {
			case taskOpen, taskCreated, stepBegins:
				if want[task] == nil {
					want[task] = make(map[string]bool)
				}
				if c.Kind == stepBegins {
					want[task][step] = true
				}
			case taskDone:
				delete(want, task)
			case stepEnds:
				delete(want[task], step)
			case nothing, forget:
			}
			switch rapid.IntRange(0, 6).Draw(t, "then") {
			case 0: // a new process, after a line that was not written to its end
				if _, err := b.journal.file.WriteString(`{"seq":99999,"kind":"task_open","task":"torn`); err != nil {
					t.Fatal(err)
				}
				_ = b.journal.close()
				if b, err = openBook(path); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := b.journal.rewrite(b.snapshot()); err != nil {
					t.Fatal(err)
				}
			}
			if b.position.seq != seq+1 {
				t.Fatalf("position %d, want %d", b.position.seq, seq+1)
			}
		}
		model := make(gauges)
		for task, steps := range want {
			model.add("n/"+task, 1)
			for step := range steps {
				model.add("n/"+task+"/"+step, 1)
			}
		}
		if diff := cmp.Diff(model, b.gauges); diff != "" {
			t.Fatalf("in flight (-want +got):\n%s", diff)
		}
		_ = b.journal.close()
	})
}

// TestJournalEnds checks that a journal does not grow for ever, and mends itself after a failed write.
func TestJournalEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	b, err := openBook(path)
	if err != nil {
		t.Fatal(err)
	}
	full := false
	for seq := uint64(1); !full; seq++ {
		c := change{Seq: seq}
		if full, err = b.journal.add(c); err != nil || seq > 2*moreLines {
			t.Fatalf("line %d: %v", seq, err)
		}
		b.take(c)
	}
	if err := b.journal.rewrite(b.snapshot()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 200 {
		t.Errorf("the journal was not written anew: %v, %v", info, err)
	}

	_ = b.journal.file.Close() // the disk fails
	if _, err := b.journal.add(change{Seq: 1 << 40}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v, want %v", err, os.ErrClosed)
	}
	if b.journal.file, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.journal.file.WriteString(`{"se`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.journal.add(change{Seq: 1 << 41}); err != nil {
		t.Fatal(err)
	}
	_ = b.journal.close()
	if b, err = openBook(path); err != nil || b.position.seq != 1<<41 {
		t.Fatalf("position %d, %v; want %d", b.position.seq, err, uint64(1)<<41)
	}
	_ = b.journal.close()
}

// TestJournalFails has the event delivered again when its line cannot be written.
func TestJournalFails(t *testing.T) {
	t.Chdir(t.TempDir())
	m := &metrics{config: config{Listen: "127.0.0.1:0"}}
	if err := m.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	file := m.journal.file
	_ = file.Close()
	e := sdk.Event[event.TaskInitialized]{Seq: 1, Type: "task.initialized", Task: "t1", Namespace: "n", Template: "t"}
	if err := once(m, e, changeOf(e), m.taskInitialized); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v, want %v", err, os.ErrClosed)
	}
	if m.position.seq != 0 || len(m.flying.tasks) != 0 {
		t.Error("the event was counted although it comes again")
	}
}

func TestConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	tests := map[string]struct {
		config map[string]any
		want   string
	}{
		"unknown key":   {map[string]any{"port": 1}, "port"},
		"no port":       {map[string]any{"listen": "localhost"}, "/listen: want HOST:PORT"},
		"limit of none": {map[string]any{"limits": map[string]any{"steps": -1}}, "/limits/steps"},
		"address taken": {map[string]any{"listen": taken.Addr().String()}, "/listen: listen tcp"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(&metrics{}), sdktest.Options{Config: tc.config})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestExemplar(t *testing.T) {
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	want := prometheus.Labels{"trace_id": id, "span_id": span}
	tests := map[string]struct {
		traceparent string
		want        prometheus.Labels
	}{
		"sampled":             {"00-" + id + "-" + span + "-01", want},
		"not sampled":         {"00-" + id + "-" + span + "-00", want},
		"a later version":     {"01-" + id + "-" + span + "-01-more", want},
		"none":                {"", nil},
		"no version":          {"ff-" + id + "-" + span + "-01", nil},
		"too long":            {"00-" + id + "-" + span + "-01-more", nil},
		"no trace":            {"00-" + noTrace + "-" + span + "-01", nil},
		"no span":             {"00-" + id + "-" + noSpan + "-01", nil},
		"capitals":            {"00-" + strings.ToUpper(id) + "-" + span + "-01", nil},
		"something different": {"hello", nil},
	}
	for name, tc := range tests {
		if diff := cmp.Diff(tc.want, exemplar(tc.traceparent)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
