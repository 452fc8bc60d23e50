package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// The files of an export: one per day (UTC), continued in a further one when it has
// reached maxExportFile bytes. Whole lines are only ever added.
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

// maxExportErrors is how many tasks that cannot be exported are named.
const maxExportErrors = 10

// write appends tasks to the file of the day and returns, when they are durable, those
// that may go, and why others may not, because they cannot be read or encoded. A task that is gone
// already is not written: its deletion was interrupted, it was written before that began. With
// an error no task may go, and nothing of them is left in the file.
func (e *exporter) write(ctx context.Context, due []store.Due) (written []store.Due, failed []error, err error) {
	if err := e.open(); err != nil {
		return nil, nil, err
	}
	w, begin := bufio.NewWriter(e.file), e.size
	for _, d := range due {
		line, err := e.line(ctx, d.ID)
		if ctx.Err() != nil {
			return nil, nil, errors.Join(ctx.Err(), e.restore(begin))
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("task %s: %w", d.ID, err))
			continue
		}
		n, err := w.Write(line)
		if e.size += int64(n); err != nil {
			return nil, nil, errors.Join(err, e.restore(begin))
		}
		written = append(written, d)
	}
	if err := errors.Join(w.Flush(), e.file.Sync()); err != nil {
		return nil, nil, errors.Join(err, e.restore(begin))
	}
	return written, failed, nil
}

// line is a task's line of the file; none when the task is gone.
func (e *exporter) line(ctx context.Context, id task.ID) ([]byte, error) {
	v, err := e.read(ctx, string(id))
	if errors.Is(err, task.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	line, err := e.encode(v)
	return append(line, '\n'), err
}

// restore takes from the file what was added since it had a size, so that the next line
// begins where a line begins.
func (e *exporter) restore(size int64) error {
	e.size = size
	return e.file.Truncate(size)
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
		file, err := os.OpenFile(filepath.Join(e.dir, name), os.O_CREATE|os.O_APPEND|os.O_RDWR, exportMode)
		if err != nil {
			return err
		}
		size, err := mend(file)
		if err != nil {
			return errors.Join(err, file.Close())
		}
		if size < maxExportFile {
			e.file, e.day, e.size = file, day, size
			return e.syncDir()
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
}

// mend takes the last line from a file if it has no end, and returns the size. The host was
// killed while it wrote that line, so that the task was not removed.
func mend(file *os.File) (size int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		part := buf[:min(end, int64(len(buf)))]
		begin := end - int64(len(part))
		if _, err := file.ReadAt(part, begin); err != nil {
			return 0, err
		}
		if size = int64(bytes.LastIndexByte(part, '\n') + 1); size > 0 {
			size += begin
			break
		}
		end = begin
	}
	if size < info.Size() {
		err = file.Truncate(size)
	}
	return size, err
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
