package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{Command: "tasker serve"})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// errorSays fails the test unless err is want and says every part.
func errorSays(t *testing.T, what string, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error %q does not say %q", what, err, part)
		}
	}
}

func TestLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasker.db")
	short := Options{LockTimeout: 10 * time.Millisecond}
	reading := Options{LockTimeout: 10 * time.Millisecond, ReadOnly: true}

	writer := mustOpen(t, path)
	_, err := Open(path, short)
	errorSays(t, "second writer", err, task.ErrLocked, path, fmt.Sprintf("process %d (tasker serve)", os.Getpid()), "since 20", "another home")
	_, err = Open(path, reading)
	errorSays(t, "reader beside a writer", err, task.ErrLocked, "tasker serve")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ownerPath(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("owner note after a clean close: %v, want none", err)
	}

	reader, err := Open(path, reading)
	if err != nil {
		t.Fatalf("open for reading: %v", err)
	}
	_, err = Open(path, short)
	errorSays(t, "writer beside a reader", err, task.ErrLocked, "reads it", "try again")
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}

	// A note that a killed process left behind locks nothing.
	if err := writeOwner(path, "killed", time.Now()); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none.db"), Options{ReadOnly: true})
	errorSays(t, "reading what is not there", err, fs.ErrNotExist, "none.db")

	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(garbage, Options{})
	errorSays(t, "a file that is none", err, store.ErrCorrupt, garbage, "restore")

	foreign := filepath.Join(dir, "foreign.db")
	editFile(t, foreign, func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("something"))
		return err
	})
	for _, readOnly := range []bool{false, true} {
		_, err = Open(foreign, Options{ReadOnly: readOnly})
		errorSays(t, "another program's file", err, store.ErrCorrupt, foreign, "no store of Tasker")
	}

	newer := filepath.Join(dir, "newer.db")
	if err := mustOpen(t, newer).Close(); err != nil {
		t.Fatal(err)
	}
	editFile(t, newer, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte{SchemaVersion + 1})
	})
	for _, readOnly := range []bool{false, true} {
		_, err = Open(newer, Options{ReadOnly: readOnly})
		errorSays(t, "a newer schema", err, store.ErrVersion, fmt.Sprintf("schema %d", SchemaVersion+1), fmt.Sprintf("up to %d", SchemaVersion), "newer Tasker")
	}
	editFile(t, newer, func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte{0}) })
	_, err = Open(newer, Options{ReadOnly: true})
	errorSays(t, "reading an older schema", err, store.ErrVersion, "schema 0", "migrates")

	if _, err := Open(filepath.Join(garbage, "below", "a.db"), Options{}); err == nil {
		t.Error("a directory that cannot be made: got no error")
	}
}

// editFile changes a file behind the store's back.
func editFile(t *testing.T, path string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestCommandWords(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"/usr/bin/tasker"}, "tasker"},
		{[]string{"bin/tasker", "run", "shop/order", "--input", "secret"}, "tasker run shop/order"},
		{[]string{"tasker", "--input=secret", "run"}, "tasker"},
	}
	for _, tt := range tests {
		if got := commandWords(tt.args); got != tt.want {
			t.Errorf("words of %q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestFileMode keeps inputs and results from other users.
func TestFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "tasker.db")
	mustOpen(t, path)
	for name, want := range map[string]fs.FileMode{path: 0o600, ownerPath(path): 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want && os.PathSeparator == '/' {
			t.Errorf("mode of %s: got %s, want %s", name, info.Mode(), want)
		}
	}
}

// TestCleanCloseKeepsFreePages looks whether the next open must scan the file.
func TestCleanCloseKeepsFreePages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasker.db")
	s := mustOpen(t, path)
	fl := storetest.NewFlow(1, 2)
	storetest.MustCommit(t, s, fl.Create(0), fl.Succeed(0, 1))
	listed := func() (n int) {
		err := s.db.View(func(tx *bolt.Tx) error {
			for id := 0; ; id++ {
				p, err := tx.Page(id)
				if p == nil || err != nil {
					return err
				}
				if p.Type == "freelist" {
					n++
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := listed(); n != 0 {
		t.Errorf("lists of free pages while running: got %d, want none: each commit would write one", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	s.db = db
	if n := listed(); n != 1 {
		t.Errorf("lists of free pages after a clean close: got %d, want 1", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedTransaction lets the disk fill up: everything in the transaction fails,
// nothing of it is stored, and the next one is decided on what is.
func TestFailedTransaction(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	before := storetest.NewFlow(1, 2)
	storetest.MustCommit(t, s, before.Create(0))
	committed := before.Clone()

	s.db.MaxSize = 1 << 20 // the committer has nothing to do
	big := storetest.NewFlow(2, 1)
	create := big.Create()
	_, blob := storetest.Blob(task.ResultBlob(0), make([]byte, 8<<20))
	create.Blobs = []store.Blob{blob}
	for i, err := range storetest.Gather(s, before.Succeed(0, 1), create, before.Succeed(1)) {
		if err == nil || errors.Is(err, store.ErrConflict) {
			t.Errorf("set %d of the failed transaction: got error %v, want the disk's", i, err)
		}
	}
	s.db.MaxSize = 0
	storetest.MustCommit(t, s, committed.Succeed(0, 1), storetest.NewFlow(3, 1).Create())
	counters, err := s.Counters(t.Context())
	if err != nil || counters[task.InProgress] != 1 || counters[task.Pending] != 1 || counters[task.Complete] != 0 {
		t.Errorf("counters: got %v, error %v; want one in progress, one pending", counters, err)
	}
	if problems, err := s.Verify(t.Context()); len(problems) != 0 || err != nil {
		t.Errorf("verify: got %v, error %v; want nothing", problems, err)
	}
}
