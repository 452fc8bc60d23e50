package boltstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// scenario commits something of every kind; what it writes is the same at every run.
func scenario(t *testing.T, s *Store) (running, failed *storetest.Flow) {
	t.Helper()
	input := []byte(`"` + strings.Repeat("i", 100<<10) + `"`)
	inputValue, inputBlob := storetest.Blob(task.InputBlob, input)
	running = storetest.NewFlow(1, 4, func(sp *task.Spec) {
		sp.Input, sp.InputHash = inputValue, storetest.Hash(input)
		sp.Tags, sp.CorrelationID, sp.CorrelationSet = []string{"eu", "vip"}, "order-1", true
		sp.IdempotencyKey = "key-1"
	})
	create := running.Create(0, 1)
	create.Blobs = []store.Blob{inputBlob}
	resultValue, resultBlob := storetest.Blob(task.ResultBlob(0), []byte(`"`+strings.Repeat("r", 70<<10)+`"`))
	end := running.SucceedWith(0, resultValue, 2)
	end.Blobs = []store.Blob{resultBlob}
	failed = storetest.NewFlow(2, 2)
	storetest.MustCommit(t, s, create, failed.Create(0), end, failed.Fail(0))
	storetest.MustCommit(t, s, &store.WriteSet{Events: []store.Event{storetest.Event("", 1, "host.started", storetest.Start())}})
	if err := storetest.SaveCheckpoint(s, running.Checkpoint(1, `{"n":1}`)); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	if err := storetest.SaveSpans(s, running.Spans(1, "spans")); err != nil {
		t.Fatalf("spans: %v", err)
	}
	if err := s.SaveCrash(t.Context(), &store.Crash{Plugin: "mock", At: storetest.Start(), Cause: "exit status 2"}); err != nil {
		t.Fatalf("crash: %v", err)
	}
	storetest.MustCommit(t, s, storetest.Delivery(store.DeliverySet{
		Cursors:     []*store.Cursor{storetest.Cursor("mock/audit", 9)},
		DeadLetters: []*store.DeadLetter{storetest.DeadLetter("mock/audit", 5)},
		Events:      []store.CustomEvent{storetest.CustomEvent("mock.done", 1)},
	}))
	return running, failed
}

func openScenario(t *testing.T) (s *Store, running, failed *storetest.Flow) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "tasker.db"), Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	running, failed = scenario(t, s)
	return s, running, failed
}

// tx is a transaction that breaks rules.
type tx struct {
	*txn
	t *testing.T
}

func (x *tx) mustPut(k kind, key, value []byte) {
	x.t.Helper()
	if err := x.put(k, key, value); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tx) mustDel(k kind, key []byte) {
	x.t.Helper()
	if x.get(k, key) == nil {
		x.t.Fatalf("%s/%x is not there", k.name(), key)
	}
	if err := x.del(k, key); err != nil {
		x.t.Fatal(err)
	}
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVerifyFindsNothingInAGoodStore(t *testing.T) {
	s, _, _ := openScenario(t)
	if problems, err := s.Verify(t.Context()); len(problems) != 0 || err != nil {
		t.Errorf("verify: got %v, error %v; want nothing", problems, err)
	}
}

// TestVerifyAcceptsEveryCut cuts the log value by value: what is left of each task's
// chain is whole after each cut, whether its beginning, all or nothing of it went.
func TestVerifyAcceptsEveryCut(t *testing.T) {
	s, _, failed := openScenario(t)
	for cuts := 0; ; cuts++ {
		if problems, err := s.Verify(t.Context()); len(problems) != 0 || err != nil {
			t.Errorf("verify after %d cuts: got %v, error %v; want nothing", cuts, problems, err)
		}
		removed, _, err := s.TrimLog(t.Context(), storetest.Start().Add(time.Hour), 1)
		if err != nil {
			t.Fatal(err)
		}
		if removed == 0 {
			if want := 4; cuts != want {
				t.Errorf("cuts: got %d, want %d", cuts, want)
			}
			break
		}
	}
	storetest.MustCommit(t, s, failed.Reopen(0))
	if problems, err := s.Verify(t.Context()); len(problems) != 0 || err != nil {
		t.Errorf("verify after a task went on: got %v, error %v; want nothing", problems, err)
	}
}

// TestVerifyFindsInACutLog breaks rules of chains whose beginning was cut.
func TestVerifyFindsInACutLog(t *testing.T) {
	tests := []struct {
		name   string
		damage func(x *tx, running, failed taskKey)
		want   string
	}{
		{"the rest of a chain gone", func(x *tx, _, _ taskKey) { key := seqKey(10); x.mustDel(kindLog, key[:]) }, "the records between are missing"},
		{"the end of a chain gone", func(x *tx, _, _ taskKey) { key := seqKey(10); x.mustDel(kindLog, key[:]) }, "the records end at task_seq 5 (log 10)"},
		{"a task that ends beyond what was cut", func(x *tx, r, _ taskKey) {
			value := slices.Clone(x.get(kindTasks, r[:]))
			value[prefixLen-1] = 9
			x.mustPut(kindTasks, r[:], value)
		}, "revision"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, running, failed := openScenario(t)
			if _, _, err := s.TrimLog(t.Context(), storetest.Start().Add(time.Hour), 2); err != nil { // 1 and 5 go
				t.Fatal(err)
			}
			r, err := parseTaskKey(running.Task.ID)
			f, err2 := parseTaskKey(failed.Task.ID)
			err3 := s.db.Update(func(btx *bolt.Tx) error {
				tt.damage(&tx{txn: &txn{tx: btx}, t: t}, r, f)
				return nil
			})
			problems, err4 := s.Verify(t.Context())
			if err := errors.Join(err, err2, err3, err4); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.String(), tt.want) }) {
				t.Errorf("problems: got %v, want one with %q", problems, tt.want)
			}
		})
	}
}

// TestVerifyFinds breaks one rule at a time.
func TestVerifyFinds(t *testing.T) {
	unknown, err := parseTaskKey(storetest.ID(storetest.Start(), 99))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		damage func(x *tx, running, failed taskKey)
		want   string // of some problem
	}{
		{"no live entry", func(x *tx, r, _ taskKey) { x.mustDel(kindLive, r[:]) }, "live/"},
		{"live entry of an ended task", func(x *tx, _, f taskKey) { x.mustPut(kindLive, f[:], []byte{}) }, "the task is error"},
		{"live entry of no task", func(x *tx, _, _ taskKey) { x.mustPut(kindLive, unknown[:], []byte{}) }, "live/"},
		{"no index entry", func(x *tx, r, _ taskKey) { x.mustDel(kindByTag, indexKey("vip", r)) }, `by_tag/"vip"`},
		{"no correlation entry", func(x *tx, r, _ taskKey) { x.mustDel(kindByCorrelation, indexKey("order-1", r)) }, "by_correlation"},
		{"live entry of another template", func(x *tx, r, _ taskKey) { x.mustPut(kindLive, r[:], []byte("shop/other")) }, "it says template"},
		{"no state entry", func(x *tx, _, f taskKey) { x.mustDel(kindByState, indexKey(stateName("shop/order", task.Error), f)) }, "by_state"},
		{"index entry of no task", func(x *tx, _, _ taskKey) { x.mustPut(kindByTag, indexKey("vip", unknown), []byte{}) }, "no task justifies it"},
		{"index entry that no task justifies", func(x *tx, r, _ taskKey) {
			x.mustPut(kindByState, indexKey(stateName("shop/order", task.Error), r), []byte{})
		}, "no task justifies it"},
		{"a step too many", func(x *tx, r, _ taskKey) {
			key := r.step(9)
			x.mustPut(kindSteps, key[:], append(make([]byte, 8), encode(x.t, &storev1.StepRecord{Status: "pending", Revision: 1})...))
		}, "the task has 4 steps"},
		{"a step of no task", func(x *tx, _, _ taskKey) {
			key := unknown.step(0)
			x.mustPut(kindSteps, key[:], append(make([]byte, 8), encode(x.t, &storev1.StepRecord{Status: "pending", Revision: 1})...))
		}, "its task does not exist"},
		{"no task record", func(x *tx, r, _ taskKey) { x.mustDel(kindTasks, r[:]) }, "is missing"},
		{"no spec", func(x *tx, r, _ taskKey) { x.mustDel(kindSpecs, r[:]) }, "does not exist"},
		{"a record that is none", func(x *tx, r, _ taskKey) { x.mustPut(kindTasks, r[:], []byte("too short")) }, "corrupt record"},
		{"a log record gone", func(x *tx, _, _ taskKey) { key := seqKey(5); x.mustDel(kindLog, key[:]) }, "the records between are missing"},
		{"a chain that begins in the middle of the log", func(x *tx, _, _ taskKey) {
			key := seqKey(5)
			value := slices.Clone(x.get(kindLog, key[:]))
			value[prefixLen-1] = 1
			x.mustPut(kindLog, key[:], value)
		}, "it follows 1, but the task's record before is 0"},
		{"the newest log record of a task gone", func(x *tx, _, _ taskKey) { key := seqKey(8); x.mustDel(kindLog, key[:]) }, "the records end at"},
		{"a log record that is none", func(x *tx, _, _ taskKey) { key := seqKey(50); x.mustPut(kindLog, key[:], []byte("nonsense too")) }, "not a LogRecord"},
		{"overlapping log records", func(x *tx, _, _ taskKey) {
			key := seqKey(2)
			event := storetest.Event("", 5, "x", storetest.Start()).Encoded
			x.mustPut(kindLog, key[:], append(make([]byte, 8), encode(x.t, &storev1.LogRecord{Events: [][]byte{event}})...))
		}, "overlaps"},
		{"a blob gone", func(x *tx, r, _ taskKey) { key := r.step(0); x.mustDel(kindBlobs, key[:]) }, "the input refers to it"},
		{"a blob that nothing refers to", func(x *tx, _, f taskKey) { key := f.step(1); x.mustPut(kindBlobs, key[:], []byte("x")) }, "nothing refers to it"},
		{"a blob with another digest", func(x *tx, r, _ taskKey) { key := r.step(1); x.mustPut(kindBlobs, key[:], []byte("x")) }, "it has 1 bytes and the digest"},
		{"a checkpoint of an ended step", func(x *tx, r, _ taskKey) {
			key := r.step(0)
			x.mustPut(kindCheckpoints, key[:], encode(x.t, &storev1.CheckpointRecord{Attempt: 1}))
		}, "its step is complete"},
		{"a checkpoint of a step never claimed", func(x *tx, r, _ taskKey) {
			key := r.step(3)
			x.mustPut(kindCheckpoints, key[:], encode(x.t, &storev1.CheckpointRecord{Attempt: 1}))
		}, "never claimed"},
		{"a key of no task", func(x *tx, _, _ taskKey) {
			x.mustPut(kindKeys, idempotencyKey("shop", "order", "k"), encode(x.t, &storev1.KeyRecord{TaskId: string(unknown.id())}))
		}, "not found"},
		{"a key of another task", func(x *tx, _, f taskKey) {
			x.mustPut(kindKeys, idempotencyKey("shop", "order", "k"), encode(x.t, &storev1.KeyRecord{TaskId: string(f.id())}))
		}, "has the key"},
		{"a template gone", func(x *tx, _, _ taskKey) {
			sum := sha256.Sum256(storetest.NewFlow(0, 1).Template)
			x.mustDel(kindTemplates, sum[:])
		}, "template snapshot"},
		{"a template with another digest", func(x *tx, _, _ taskKey) {
			x.mustPut(kindTemplates, make([]byte, 32), []byte("x"))
		}, "the snapshot has the digest"},
		{"counters that are wrong", func(x *tx, _, _ taskKey) {
			x.mustPut(kindMeta, []byte(metaCounters), encode(x.t, &storev1.CountersRecord{Tasks: map[string]uint64{"error": 7}}))
		}, "the counter says 7"},
		{"crash reports without end", func(x *tx, _, _ taskKey) {
			for i := range store.MaxCrashes + 1 {
				x.mustPut(kindCrashes, crashKey("mock", storetest.Start().AddDate(0, 0, i)), encode(x.t, &storev1.CrashRecord{Plugin: "mock"}))
			}
		}, "at most 20 are kept"},
		{"a cursor that is none", func(x *tx, _, _ taskKey) { x.mustPut(kindCursors, []byte("a/x"), []byte("text")) }, "corrupt record"},
		{"a cursor ahead of the log", func(x *tx, _, _ taskKey) {
			x.mustPut(kindCursors, []byte("a/x"), encode(x.t, &storev1.CursorRecord{Through: 13}))
		}, "through 13, but the log ends at 12"},
		{"a careful cursor ahead of the log", func(x *tx, _, _ taskKey) {
			x.mustPut(kindCursors, []byte("a/x"), encode(x.t, &storev1.CursorRecord{Careful: 13}))
		}, "careful 13, but the log ends at 12"},
		{"failing events out of order", func(x *tx, _, _ taskKey) {
			failing := []*storev1.FailingEvent{{Seq: 6}, {Seq: 5}}
			x.mustPut(kindCursors, []byte("a/x"), encode(x.t, &storev1.CursorRecord{Through: 4, Failing: failing}))
		}, "failing event 5 is not beyond 6"},
		{"failing events without end", func(x *tx, _, _ taskKey) {
			failing := make([]*storev1.FailingEvent, store.MaxFailing+1)
			for i := range failing {
				failing[i] = &storev1.FailingEvent{Seq: 1}
			}
			x.mustPut(kindCursors, []byte("a/x"), encode(x.t, &storev1.CursorRecord{Failing: failing}))
		}, "at most 256 are kept"},
		{"a dead letter that is none", func(x *tx, _, _ taskKey) { x.mustPut(kindDeadLetters, deadLetterKey("a/x", 1), []byte("text")) }, "corrupt record"},
		{"a dead letter under no key of one", func(x *tx, _, _ taskKey) {
			x.mustPut(kindDeadLetters, []byte("a/x"), encode(x.t, &storev1.DeadLetterRecord{}))
		}, "no subscription and sequence"},
		{"a dead letter without an event", func(x *tx, _, _ taskKey) {
			x.mustPut(kindDeadLetters, deadLetterKey("a/x", 1), encode(x.t, &storev1.DeadLetterRecord{Reason: "x"}))
		}, "its event of 0 bytes"},
		{"a dead letter with another thing for an event", func(x *tx, _, _ taskKey) {
			x.mustPut(kindDeadLetters, deadLetterKey("a/x", 1), encode(x.t, &storev1.DeadLetterRecord{Event: []byte("text")}))
		}, "its event of 4 bytes"},
		{"a dead letter ahead of the log", func(x *tx, _, _ taskKey) {
			event := storetest.Event("", 1, "x", storetest.Start()).Encoded
			x.mustPut(kindDeadLetters, deadLetterKey("a/x", 13), encode(x.t, &storev1.DeadLetterRecord{Event: event}))
		}, "event 13, but the log ends at 12"},
		{"a custom event that is none", func(x *tx, _, _ taskKey) { x.mustPut(kindCustomEvents, []byte("a.b"), []byte("text")) }, "corrupt record"},
		{"a meta entry that is unknown", func(x *tx, _, _ taskKey) { x.mustPut(kindMeta, []byte("x"), []byte{1}) }, "no such entry is known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, running, failed := openScenario(t)
			r, err := parseTaskKey(running.Task.ID)
			f, err2 := parseTaskKey(failed.Task.ID)
			err3 := s.db.Update(func(btx *bolt.Tx) error {
				tt.damage(&tx{txn: &txn{tx: btx}, t: t}, r, f)
				return nil
			})
			if err := errors.Join(err, err2, err3); err != nil {
				t.Fatal(err)
			}
			problems, err := s.Verify(t.Context())
			if err != nil {
				t.Fatalf("verify: %v", err)
			}
			if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.String(), tt.want) }) {
				t.Errorf("problems: got %v, want one with %q", problems, tt.want)
			}
			for _, p := range problems {
				if p.Place == "" || p.What == "" || p.Remedy == "" {
					t.Errorf("problem %+v: place, what and remedy are all needed", p)
				}
			}
		})
	}
}

func TestVerifyStopsAtManyProblems(t *testing.T) {
	s, _, _ := openScenario(t)
	err := s.db.Update(func(btx *bolt.Tx) error {
		x := &txn{tx: btx}
		for i := range 3 * maxProblems {
			if err := x.mark(kindByTag, indexKey(fmt.Sprintf("tag-%d", i), taskKey{})); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := s.Verify(t.Context()); len(problems) != maxProblems || err != nil {
		t.Errorf("verify: got %d problems, error %v; want %d", len(problems), err, maxProblems)
	}
}

// TestDamagedFiles opens and verifies files that were damaged from outside: each gives
// one error, no panic and no fault.
func TestDamagedFiles(t *testing.T) {
	s, _, _ := openScenario(t)
	unclean := filepath.Join(t.TempDir(), "copy.db")
	if _, err := s.Backup(t.Context(), unclean, false); err != nil { // as a kill would leave it: no list of free pages
		t.Fatal(err)
	}
	whole, err := os.ReadFile(unclean)
	if err != nil {
		t.Fatal(err)
	}
	page := pageSize
	tests := []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"cut off", func(b []byte) []byte { return b[:5*page] }},
		{"both heads gone", func(b []byte) []byte { clear(b[:2*page]); return b }},
		{"all pages but the heads zeroed", func(b []byte) []byte { clear(b[2*page:]); return b }},
		{"all pages but the heads garbled", func(b []byte) []byte {
			for i := 2 * page; i < len(b); i++ {
				b[i] = byte(i*7 + i/page)
			}
			return b
		}},
		{"no bbolt file", func([]byte) []byte { return []byte(strings.Repeat("text", 40_000)) }},
		{"no bbolt file, and short", func([]byte) []byte { return []byte("text") }},
	}
	for _, tt := range tests {
		for _, killed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, killed %t", tt.name, killed), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "tasker.db")
				if err := os.WriteFile(path, tt.damage(slices.Clone(whole)), 0o600); err != nil {
					t.Fatal(err)
				}
				problems, err := VerifyFile(t.Context(), path, Options{})
				if len(problems) == 0 || err != nil {
					t.Errorf("verify: got %v, error %v; want problems", problems, err)
				}
				if !killed {
					return
				}
				if err := writeOwner(path, "test", storetest.Start()); err != nil {
					t.Fatal(err)
				}
				if s, err := Open(path, Options{}); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "restore") {
					t.Errorf("open: got store %v, error %v; want corrupt, with the remedy", s, err)
				}
			})
		}
	}
}
