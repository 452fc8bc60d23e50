package boltstore

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// writeSchema makes TestSchemaFiles write the file of a new schema version.
const writeSchema = "TASKER_WRITE_SCHEMA_FILE"

// schemaFile is a real file of a schema version, as its release wrote it.
func schemaFile(version uint8) string {
	return filepath.Join("testdata", fmt.Sprintf("schema-%d.db.gz", version))
}

// TestSchemaFiles opens a real file of every schema version and reads what its scenario
// wrote. A file is written once, when its version is new, and never again.
func TestSchemaFiles(t *testing.T) {
	if os.Getenv(writeSchema) != "" {
		writeSchemaFile(t)
	}
	for version := uint8(1); version <= SchemaVersion; version++ {
		t.Run(fmt.Sprintf("schema %d", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tasker.db")
			unpack(t, schemaFile(version), path)
			s := mustOpen(t, path)
			if problems, err := s.Verify(t.Context()); len(problems) != 0 || err != nil {
				t.Errorf("verify: got %v, error %v; want nothing", problems, err)
			}
			running, err := s.Load(t.Context(), storetest.ID(storetest.Start(), 1))
			if err != nil {
				t.Fatalf("load: %v", err)
			}
			if got := running.Task; got.Status != task.InProgress || got.Revision != 2 || got.Seq != 6 ||
				got.Steps[0].Status != task.StepComplete || !got.Steps[1].HasCheckpoint || got.Steps[3].Status != task.StepPending {
				t.Errorf("running task: got %+v", got)
			}
			if _, err := s.Load(t.Context(), storetest.ID(storetest.Start(), 2)); err != nil {
				t.Errorf("failed task: %v", err)
			}
			cursors, err1 := s.Cursors(t.Context())
			dead, err2 := s.DeadLetters(t.Context(), "mock/audit", 0, 10)
			events, err3 := s.CustomEvents(t.Context())
			if err := errors.Join(err1, err2, err3); err != nil || len(dead) != 1 || len(events) != 1 {
				t.Errorf("delivery: got dead letters %v, custom events %v, error %v; want one of each", dead, events, err)
			}
			if diff := cmp.Diff([]store.Cursor{*storetest.Cursor("mock/audit", 9)}, cursors); diff != "" {
				t.Errorf("cursors (-want +got):\n%s", diff)
			}
			storetest.MustCommit(t, s, storetest.NewFlow(3, 1).Create(0))
		})
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	packed, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close(), packed.Close(), os.WriteFile(to, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func writeSchemaFile(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(schemaFile(SchemaVersion)); err == nil {
		t.Fatalf("%s exists and is never written again", schemaFile(SchemaVersion))
	}
	s, _, _ := openScenario(t)
	plain := filepath.Join(t.TempDir(), "plain.db")
	if _, err := s.Backup(t.Context(), plain, false); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(schemaFile(SchemaVersion))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(b)
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestMigrations are ordered and end at the version of the drawing.
func TestMigrations(t *testing.T) {
	for i, m := range migrations() {
		if int(m.version) != i+1 || m.what == "" {
			t.Errorf("migration %d: got version %d (%q), want %d and what it does", i, m.version, m.what, i+1)
		}
	}
	if n := len(migrations()); n != SchemaVersion {
		t.Errorf("migrations: got %d, want %d, the schema version", n, SchemaVersion)
	}
}

// TestMigrate runs migrations of a schema to come.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasker.db")
	s := mustOpen(t, path)
	storetest.MustCommit(t, s, storetest.NewFlow(1, 1).Create())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var ran []int
	step := func(version uint8, fail error) migration {
		return migration{version: version, what: "test", apply: func(tx *bolt.Tx) error {
			ran = append(ran, int(version))
			_, err := tx.CreateBucket([]byte{'v', version + '0'})
			return errors.Join(err, fail)
		}}
	}
	boom := errors.New("boom")
	all := append(migrations(), step(3, nil), step(4, boom))
	errorSays(t, "migration that fails", prepare(db, path, all, time.Now()), boom, "schema 4")
	version := func() (v uint8) {
		err := db.View(func(tx *bolt.Tx) (err error) {
			v, err = readVersion(tx)
			if tx.Bucket([]byte("v4")) != nil && v < 4 {
				t.Error("a migration that failed left something")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := version(); v != 3 {
		t.Errorf("version after a failed fourth migration: got %d, want 3", v)
	}
	all[3] = step(4, nil)
	if err := prepare(db, path, all, time.Now()); err != nil || version() != 4 {
		t.Errorf("migrate: got version %d, error %v; want 4", version(), err)
	}
	if err := prepare(db, path, all, time.Now()); err != nil || !slices.Equal(ran, []int{3, 4, 4}) {
		t.Errorf("migrations run: got %v, error %v; want 3, the failed 4, 4, and nothing twice", ran, err)
	}
	errorSays(t, "older program", prepare(db, path, migrations(), time.Now()), store.ErrVersion)
	for _, v := range []int{2, 3} { // each copy is the file before the migrations that began there
		if problems, err := VerifyFile(t.Context(), fmt.Sprintf("%s.schema-%d", path, v), Options{}); v == 2 && (len(problems) != 0 || err != nil) {
			t.Errorf("copy of schema 2: got %v, error %v; want a good store", problems, err)
		} else if v == 3 && !errors.Is(err, store.ErrVersion) {
			t.Errorf("copy of schema 3: got error %v, want a newer version", err)
		}
	}
}
