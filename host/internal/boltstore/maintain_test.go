package boltstore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// contents is everything that a store says.
type contents struct {
	Tasks    []*task.Task
	Events   []store.LogEntry
	Counters map[task.Status]uint64
	Crashes  []store.Crash
	Cursors  []store.Cursor
	Dead     []store.DeadLetter
	Custom   []store.CustomEvent
	First    uint64 // sequence in the log
}

func readAll(t *testing.T, s store.Store) contents {
	t.Helper()
	var c contents
	page := store.Page{Limit: store.MaxPage}
	summaries, _, err := s.List(t.Context(), store.Filter{OldestFirst: true}, page)
	for _, sum := range summaries {
		a, loadErr := s.Load(t.Context(), sum.Spec.ID)
		if loadErr != nil {
			t.Fatalf("load: %v", loadErr)
		}
		c.Tasks = append(c.Tasks, a.Task)
	}
	var errs [7]error
	c.Events, errs[0] = s.Events(t.Context(), 0, 1<<20)
	c.Counters, errs[1] = s.Counters(t.Context())
	c.Crashes, errs[2] = s.Crashes(t.Context(), "")
	c.Cursors, errs[3] = s.Cursors(t.Context())
	c.Dead, errs[4] = s.DeadLetters(t.Context(), "p/x", 0, 1<<20)
	c.Custom, errs[5] = s.CustomEvents(t.Context())
	c.First, errs[6] = s.FirstSeq(t.Context())
	if err := errors.Join(err, errors.Join(errs[:]...)); err != nil {
		t.Fatalf("read the store: %v", err)
	}
	return c
}

// fill commits tasks in many states, a subscription, and cuts the log.
func fill(t *testing.T, s store.Store, n int) {
	t.Helper()
	for i := range n {
		fl := storetest.NewFlow(uint64(i), 3, func(sp *task.Spec) {
			sp.Tags, sp.CorrelationID, sp.CorrelationSet = []string{"t"}, "c", true
			sp.IdempotencyKey = string(rune('a' + i%26))
			sp.IdempotencyKey += strings.Repeat("x", i/26)
		})
		sets := []*store.WriteSet{fl.Create(0)}
		switch i % 4 {
		case 0:
			sets = append(sets, fl.Succeed(0, 1, 2), fl.Succeed(1), fl.Succeed(2))
		case 1:
			sets = append(sets, fl.Fail(0))
		case 2:
			sets = append(sets, fl.Cancel())
		}
		storetest.MustCommit(t, s, sets...)
	}
	if err := s.SaveCrash(t.Context(), &store.Crash{Plugin: "p", At: storetest.Start()}); err != nil {
		t.Fatalf("save crash: %v", err)
	}
	storetest.MustCommit(t, s, storetest.Delivery(store.DeliverySet{
		Cursors: []*store.Cursor{storetest.Cursor("p/x", 3)}, DeadLetters: []*store.DeadLetter{storetest.DeadLetter("p/x", 1)},
		Events: []store.CustomEvent{storetest.CustomEvent("p.done", 1)},
	}))
	if _, _, err := s.TrimLog(t.Context(), storetest.Start().Add(time.Hour), 3); err != nil {
		t.Fatalf("trim the log: %v", err)
	}
}

// TestBackupRestoreDrill is what an operator does: back up a running store, lose the
// file, restore, go on.
func TestBackupRestoreDrill(t *testing.T) {
	dir, spare := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := bolttest.OpenDir(t, dir, boltstore.Options{})
	fill(t, s, 40)
	want := readAll(t, s)
	host, epoch := s.Identity()

	// More is committed while the backup is made; none of it may be torn.
	more := storetest.NewFlow(1000, 200)
	storetest.MustCommit(t, s, more.Create())
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for o := range task.Ordinal(200) {
			if _, err := storetest.Commit(s, more.Claim(o)); err != nil {
				t.Errorf("commit beside the backup: %v", err)
			}
		}
	}()
	size, err := s.Backup(t.Context(), spare, false)
	<-writing
	if info, statErr := os.Stat(spare); err != nil || statErr != nil || info.Size() != size || size == 0 {
		t.Fatalf("backup: got %d bytes, error %v, file %v", size, err, statErr)
	}
	bolttest.Verify(t, spare)

	path := filepath.Join(dir, bolttest.FileName)
	if _, err := boltstore.Restore(t.Context(), spare, path, true); !errors.Is(err, task.ErrLocked) {
		t.Errorf("restore over an open store: got error %v, want locked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := os.WriteFile(path, []byte("lost"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Restore(t.Context(), spare, path, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("restore without leave to overwrite: got error %v, want it to exist", err)
	}
	if _, err := boltstore.Restore(t.Context(), spare, path, true); err != nil {
		t.Fatalf("restore: %v", err)
	}
	s = bolttest.OpenDir(t, dir, boltstore.Options{})
	if again, next := s.Identity(); again == host || next <= epoch {
		t.Errorf("after restoring: got host %s, epoch %d; want another than %s and more than %d", again, next, host, epoch)
	}
	got := readAll(t, s)
	got.Tasks = slices.DeleteFunc(got.Tasks, func(tk *task.Task) bool { return tk.ID == more.Task.ID })
	got.Events = got.Events[:len(want.Events)]
	got.Counters = want.Counters // holds the task that came during the backup
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	a, err := s.Load(t.Context(), more.Task.ID)
	if err != nil {
		t.Fatalf("load the task that was written beside the backup: %v", err)
	}
	if a.Task.Seq != a.Task.Revision+boolSeq(a.Task.Revision > 1) {
		t.Errorf("the task written beside the backup is torn: revision %d, task_seq %d", a.Task.Revision, a.Task.Seq)
	}
	storetest.MustCommit(t, s, storetest.NewFlow(2000, 1).Create())
}

// boolSeq is the extra event of the first claim.
func boolSeq(started bool) uint64 {
	if started {
		return 1
	}
	return 0
}

func TestBackupTargets(t *testing.T) {
	s := bolttest.Open(t)
	fill(t, s, 3)
	target := filepath.Join(t.TempDir(), "b.db")
	if _, err := s.Backup(t.Context(), target, false); err != nil {
		t.Fatalf("backup: %v", err)
	}
	if _, err := s.Backup(t.Context(), target, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second backup: got error %v, want it to exist", err)
	}
	if _, err := s.Backup(t.Context(), target, true); err != nil {
		t.Errorf("second backup with leave: %v", err)
	}
	if _, err := s.Backup(t.Context(), s.Path(), true); !errors.Is(err, task.ErrInvalid) {
		t.Errorf("backup over the store itself: got error %v, want invalid", err)
	}
	if _, err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "no", "dir", "b.db"), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("backup into a directory that is not there: got error %v, want it not to exist", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	reader := bolttest.OpenDir(t, filepath.Dir(s.Path()), boltstore.Options{ReadOnly: true})
	if _, err := reader.Backup(t.Context(), target, true); err != nil {
		t.Errorf("backup without a host: %v", err)
	}
	bolttest.Verify(t, target)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	late := filepath.Join(t.TempDir(), "late.db")
	if _, err := reader.Backup(ctx, late, false); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled backup: got error %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(late)); len(left) != 0 || err != nil {
		t.Errorf("a cancelled backup left %v, error %v; want nothing", left, err)
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	s := bolttest.OpenDir(t, dir, boltstore.Options{})
	fill(t, s, 20)
	backup, target := filepath.Join(dir, "b.db"), filepath.Join(dir, "restored.db")
	if _, err := s.Backup(t.Context(), backup, false); err != nil {
		t.Fatalf("backup: %v", err)
	}
	if err := os.Truncate(backup, 16<<10); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Restore(t.Context(), backup, target, false); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("restore of half a backup: got error %v, want corrupt", err)
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused restore left a file: %v", err)
	}
	if _, err := boltstore.Restore(t.Context(), filepath.Join(dir, "none"), target, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("restore of no backup: got error %v, want it not to exist", err)
	}
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, bolttest.FileName)
	s := bolttest.OpenDir(t, dir, boltstore.Options{})
	fill(t, s, 60)
	fl := storetest.NewFlow(5000, 1)
	storetest.MustCommit(t, s, fl.Create(0))
	for range 40 { // checkpoints that replace each other leave free pages
		if err := storetest.SaveCheckpoint(s, fl.Checkpoint(0, `"`+strings.Repeat("x", 60<<10)+`"`)); err != nil {
			t.Fatalf("checkpoint: %v", err)
		}
	}
	storetest.MustCommit(t, s, fl.Succeed(0))
	if removed, more, err := s.TrimLog(t.Context(), storetest.Start().Add(time.Hour), 100); removed == 0 || !more || err != nil {
		t.Errorf("trim the log: got %d events, more %t, error %v; want some of many", removed, more, err)
	}
	want := readAll(t, s)
	if _, _, err := boltstore.Compact(path, boltstore.Options{}); !errors.Is(err, task.ErrLocked) {
		t.Errorf("compact an open store: got error %v, want locked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	before, after, err := boltstore.Compact(path, boltstore.Options{})
	if err != nil || after >= before || after == 0 {
		t.Errorf("compact: got %d -> %d bytes, error %v; want less", before, after, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 || err != nil {
		t.Errorf("compacting left %v, error %v", left, err)
	}
	s = bolttest.OpenDir(t, dir, boltstore.Options{})
	if diff := cmp.Diff(want, readAll(t, s)); diff != "" {
		t.Errorf("compacted (-want +got):\n%s", diff)
	}
	if _, _, err := boltstore.Compact(filepath.Join(dir, "none"), boltstore.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("compact nothing: got error %v, want it not to exist", err)
	}
}
