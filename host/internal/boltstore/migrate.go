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
	}
}

func createBuckets(tx *bolt.Tx) error {
	for _, name := range kindNames() {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	return nil
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
