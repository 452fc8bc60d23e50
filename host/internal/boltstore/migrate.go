package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// migration brings a file from the version before to its own, in one transaction.
type migration struct {
	version uint8
	what    string
	apply   func(tx *bolt.Tx) error
}

// migrations are all of them, in order. A new one goes to the end, with a new
// SchemaVersion and a file of that schema under testdata.
func migrations() []migration {
	return []migration{
		{version: 1, what: "initial schema", apply: createBuckets},
		{version: 2, what: "finished tasks by template and status, deletion, spans", apply: indexByState},
	}
}

// createBuckets makes the buckets of the first schema.
func createBuckets(tx *bolt.Tx) error {
	for _, name := range []string{
		"meta", "specs", "tasks", "steps", "templates", "live", "log", "blobs", "checkpoints", "keys", "crashes",
		"cursors", "dead_letters", "custom_events", "by_template", "by_tag", "by_correlation", "by_status",
	} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	return nil
}

// indexByState replaces by_template and by_status by by_state and names the template in
// live. There are spans from then on.
func indexByState(tx *bolt.Tx) error {
	state, err := tx.CreateBucket([]byte("by_state"))
	if err != nil {
		return fmt.Errorf("create bucket by_state: %w", err)
	}
	for _, name := range []string{"gone", "spans"} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	tasks, live := tx.Bucket([]byte("tasks")), tx.Bucket([]byte("live"))
	err = tx.Bucket([]byte("by_template")).ForEach(func(key, _ []byte) error {
		name, k, ok := asIndexKey(key)
		if !ok {
			return fmt.Errorf("%w: by_template/%q", store.ErrCorrupt, key)
		}
		r := &storev1.TaskRecord{}
		if _, err := decodePrefixed(tasks.Get(k[:]), r, "tasks/"+string(k.id())); err != nil {
			return err
		}
		status := task.Status(r.GetStatus())
		if status.Terminal() {
			return state.Put(indexKey(stateName(name, status), k), []byte{})
		}
		return live.Put(k[:], []byte(name))
	})
	return errors.Join(err, tx.DeleteBucket([]byte("by_template")), tx.DeleteBucket([]byte("by_status")))
}

// prepare brings a file to the version of the last migration: an empty file gets the
// schema and a host id; an older one is copied first, beside itself. Errors:
// store.ErrVersion for a newer file, store.ErrCorrupt for one that is no store.
func prepare(db *bolt.DB, path string, all []migration, now time.Time) error {
	version, fresh := uint8(0), false
	err := db.View(func(tx *bolt.Tx) (err error) {
		if key, _ := tx.Cursor().First(); key == nil {
			fresh = true
			return nil
		}
		version, err = readVersion(tx)
		return err
	})
	if err != nil {
		return err
	}
	latest := all[len(all)-1].version
	if version > latest {
		return newerError(version)
	}
	if !fresh && version < latest {
		if err := copyAside(db, fmt.Sprintf("%s.schema-%d", path, version)); err != nil {
			return fmt.Errorf("back up before migrating: %w", err)
		}
	}
	for _, m := range all {
		if m.version <= version {
			continue
		}
		if err := db.Update(func(tx *bolt.Tx) error { return migrate(tx, m, fresh, now) }); err != nil {
			return fmt.Errorf("migrate to schema %d (%s): %w", m.version, m.what, err)
		}
		fresh = false
	}
	return nil
}

func migrate(tx *bolt.Tx, m migration, fresh bool, now time.Time) error {
	if err := m.apply(tx); err != nil {
		return err
	}
	meta := tx.Bucket([]byte(kindMeta.name()))
	if fresh {
		id, err := ulid.New(ulid.Timestamp(now), ulid.DefaultEntropy())
		if err != nil {
			return fmt.Errorf("make a host id: %w", err)
		}
		err = errors.Join(meta.Put([]byte(metaHostID), id[:]), meta.Put([]byte(metaEpoch), binary.BigEndian.AppendUint64(nil, 0)))
		if err != nil {
			return err
		}
	}
	return meta.Put([]byte(metaVersion), []byte{m.version})
}

// copyAside copies the file as it is now to a new file at target; an older copy with
// that name is kept and is enough.
func copyAside(db *bolt.DB, target string) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	_, err := writeFile(target, func(w io.Writer) error {
		return db.View(func(tx *bolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	}, nil)
	return err
}
