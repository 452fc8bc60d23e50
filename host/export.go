package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// The files of an export: one per day (UTC), continued in a further one when it has
// reached maxExportFile bytes. They are only ever added to.
const (
	maxExportFile = 256 << 20
	exportMode    = 0o600 // inputs and results are nobody else's business
	exportDirMode = 0o700
)

// exporter writes tasks as JSON Lines before they are removed.
type exporter struct {
	dir    string
	encode func(*task.View) ([]byte, error)
	now    func() time.Time
	read   func(context.Context, string) (*task.View, error)

	file *os.File // nil = none is open
	day  string
	size int64
}

// write appends tasks to the file of the day and returns when they are durable. Those
// that are gone already are left out: their deletion was interrupted, they were written
// before it began.
func (e *exporter) write(ctx context.Context, ids []task.ID) error {
	if err := e.open(); err != nil {
		return err
	}
	w := bufio.NewWriter(e.file)
	for _, id := range ids {
		v, err := e.read(ctx, string(id))
		if errors.Is(err, task.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		line, err := e.encode(v)
		if err != nil {
			return fmt.Errorf("task %s: %w", id, err)
		}
		n, err := w.Write(append(line, '\n'))
		if e.size += int64(n); err != nil {
			return err
		}
	}
	return errors.Join(w.Flush(), e.file.Sync())
}

// open makes the file that the next tasks go to.
func (e *exporter) open() error {
	day := e.now().UTC().Format(time.DateOnly)
	if e.file != nil && e.day == day && e.size < maxExportFile {
		return nil
	}
	if err := errors.Join(e.close(), os.MkdirAll(e.dir, exportDirMode)); err != nil {
		return err
	}
	for n := 1; ; n++ {
		name := "tasks-" + day + ".jsonl"
		if n > 1 {
			name = fmt.Sprintf("tasks-%s.%d.jsonl", day, n)
		}
		file, err := os.OpenFile(filepath.Join(e.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, exportMode)
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return errors.Join(err, file.Close())
		}
		if info.Size() < maxExportFile {
			e.file, e.day, e.size = file, day, info.Size()
			return e.syncDir()
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
}

// syncDir makes the name of a new file durable, where the system can.
func (e *exporter) syncDir() error {
	dir, err := os.Open(e.dir)
	if err != nil {
		return err
	}
	_ = dir.Sync() // not every system syncs directories; what is in the file is synced
	return dir.Close()
}

func (e *exporter) close() error {
	if e.file == nil {
		return nil
	}
	err := e.file.Close()
	e.file = nil
	return err
}
