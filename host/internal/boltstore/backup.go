package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Backup copies the store, as it is at this moment, to a file at target and returns
// its size in bytes. It works on a running store: commits go on meanwhile. The copy is
// made beside target and renamed, never streamed to whoever reads it, because a slow
// reader would keep pages from being used again. Errors: fs.ErrExist when there is a
// file at target that may not be overwritten.
func (s *Store) Backup(ctx context.Context, target string, overwrite bool) (size int64, err error) {
	if err := checkTarget(s.path, target, overwrite); err != nil {
		return 0, fmt.Errorf("back up to %s: %w", target, err)
	}
	size, err = writeFile(target, func(w io.Writer) error {
		return s.view(ctx, opBackup, func(t *txn) error {
			_, err := t.tx.WriteTo(&endingWriter{ctx: ctx, w: w})
			return err
		})
	}, nil)
	if err != nil {
		return 0, fmt.Errorf("back up to %s: %w", target, err)
	}
	return size, nil
}

// Restore puts the backup in the place of the store at target, which no process may
// have open, and returns its size in bytes. The backup is verified first; a store at
// target is replaced only when overwrite is set, and is whole until it is replaced.
//
// The restored store has a host id of its own, because the sequences after its last one
// were given before and will be given again, to other events. Its cursors stay: they
// were copied together with the log and fit it, and subscribers get again what was
// recorded after the backup's cursors, as after a crash. Errors: store.ErrCorrupt for a backup with problems, fs.ErrExist, task.ErrLocked.
func Restore(ctx context.Context, backup, target string, overwrite bool) (size int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore %s: %w", backup, err)
		}
	}()
	if err := checkTarget(backup, target, overwrite); err != nil {
		return 0, err
	}
	problems, err := VerifyFile(ctx, backup, Options{})
	if err != nil {
		return 0, err
	}
	if len(problems) > 0 {
		return 0, fmt.Errorf("%w: the backup has %d problems, the first is %s: %s: use another backup", store.ErrCorrupt, len(problems), problems[0].Place, problems[0].What)
	}
	if err := checkUnused(target); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(target), dirMode); err != nil {
		return 0, err
	}
	from, err := os.Open(backup)
	if err != nil {
		return 0, err
	}
	size, err = writeFile(target, func(w io.Writer) error {
		_, err := io.Copy(&endingWriter{ctx: ctx, w: w}, from)
		return err
	}, renewHost)
	return size, errors.Join(err, from.Close())
}

// checkTarget refuses to write over the source, and over anything without leave.
func checkTarget(source, target string, overwrite bool) error {
	there, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if here, err := os.Stat(source); err == nil && os.SameFile(here, there) {
		return fmt.Errorf("%w: it would be written over itself", task.ErrInvalid)
	}
	if !overwrite {
		return fmt.Errorf("%s: %w: name another file or ask to overwrite it", target, fs.ErrExist)
	}
	return nil
}

// checkUnused fails with task.ErrLocked when a process has the store at path open. A
// damaged store, which is what restoring is for, is no obstacle.
func checkUnused(path string) error {
	if _, err := os.Stat(path); err != nil {
		return ignoreMissing(err)
	}
	db, err := openFile(path, Options{}.withDefaults())
	if errors.Is(err, task.ErrLocked) {
		return err
	}
	if err == nil {
		return db.Close()
	}
	return nil
}

// endingWriter stops a long copy when its context ends.
type endingWriter struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	w   io.Writer
}

// Write writes to the file behind it.
func (w *endingWriter) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}

// tempPattern names the files that are written beside target.
func tempPattern(target string) string {
	return "." + strings.TrimPrefix(filepath.Base(target), ".") + ".*.tmp"
}

// renewHost gives the store in the file at path, which nobody else uses, a new host id.
func renewHost(path string) error {
	db, err := openBolt(path, bolt.Options{FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	id, err := ulid.New(ulid.Now(), ulid.DefaultEntropy())
	if err == nil {
		err = db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte(kindMeta.name())).Put([]byte(metaHostID), id[:])
		})
	}
	return errors.Join(err, db.Close())
}

// writeFile writes a file beside target, has finish change it when that is not nil, syncs
// it and renames it to target, so that target is either the old file or the whole new
// one. It returns the size in bytes.
func writeFile(target string, write func(w io.Writer) error, finish func(path string) error) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(target), tempPattern(target))
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if finish != nil {
		if err = finish(f.Name()); err != nil {
			return 0, err
		}
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return 0, err
	}
	return info.Size(), moveTo(f.Name(), target)
}

// moveTo renames a file within its directory and makes that durable.
func moveTo(from, target string) error {
	if err := os.Rename(from, target); err != nil {
		return err
	}
	return syncDir(filepath.Dir(target))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir makes a rename durable. Windows cannot open directories for that.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
