package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	version = "1.0.0"

	// eventTimeout is long enough to read a file at its opening, or to compress one that is put aside.
	eventTimeout = 5 * time.Minute
	// maxOpen is how many files are open at once.
	maxOpen = 32
)

// plugin is the plugin.
func plugin() sdk.Plugin {
	c := &config{}
	j := &journal{config: c}
	j.SubscribeTo("*")
	return sdk.Plugin{
		Name:        "journal",
		Version:     version,
		Title:       "Appends events to files.",
		Description: "JSON Lines or CSV, rotated by size and age, synced as told, and chained by hashes if the files are an audit trail.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      c,
		Permissions: sdk.Permissions{FSWrite: []string{"config-dir:/path"}},
		Subscribers: sdk.Subscribers{"events": j},
	}
}

// journal appends events to files.
type journal struct {
	sdk.BaseSubscriber

	config *config
	log    *slog.Logger

	mu    sync.Mutex
	files map[string]*file
	uses  uint64
	timer *time.Timer // of fsync: batch; nil = nothing waits to be synced
}

var (
	_ sdk.Checker = (*journal)(nil)
	_ io.Closer   = (*journal)(nil)
)

// SubscriberOptions says how events come.
func (*journal) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{Description: "Appends events to files, in the order of the log.", Timeout: eventTimeout}
}

// Check completes the configuration, and refuses what the schema cannot.
func (j *journal) Check(ctx context.Context) error {
	*j.config = j.config.withDefaults()
	j.log, j.files = sdk.Slog(ctx), make(map[string]*file)
	if err := j.config.validate(); err != nil {
		return err
	}
	if strings.Contains(j.config.Path, "{") { // the place is known with the first event
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(j.config.Path), 0o750); err != nil {
		return fmt.Errorf("/path: %w", err)
	}
	return nil
}

// Close syncs and closes the files.
func (j *journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
	}
	var errs []error
	for path, f := range j.files {
		errs = append(errs, f.close())
		delete(j.files, path)
	}
	return errors.Join(errs...)
}

// OnEvent appends an event, unless its file has it.
func (j *journal) OnEvent(ctx context.Context, e sdk.Event[json.RawMessage]) error {
	en, err := entryOf(e)
	if err != nil {
		return sdk.Permanent(err)
	}
	family, _, _ := strings.Cut(e.Type, ".")
	path, err := j.config.place(strings.NewReplacer(
		"{namespace}", fileName(e.Namespace), "{template}", fileName(e.Template), "{family}", fileName(family),
	))
	if err != nil {
		return sdk.Permanent(err)
	}
	if e.Trial() {
		sdk.Slog(ctx).InfoContext(ctx, "a trial is not written: it never happened", "path", path, "data", string(en.Data))
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	f, err := j.file(path)
	if err != nil {
		return sdk.Unavailable(err)
	}
	if err := f.append(&en); err != nil {
		delete(j.files, path)       // it is closed; what opens it again mends it
		return sdk.Unavailable(err) // no event is at fault for the disk
	}
	if j.config.Fsync == fsyncBatch && f.dirty && j.timer == nil {
		j.timer = time.AfterFunc(j.config.FsyncAfter.D(), j.sync)
	}
	return nil
}

// file returns an open file, in place of the one that was used least recently.
func (j *journal) file(path string) (*file, error) {
	j.uses++
	if f := j.files[path]; f != nil {
		f.used = j.uses
		return f, nil
	}
	if len(j.files) >= maxOpen {
		var oldest *file
		for _, f := range j.files {
			if oldest == nil || f.used < oldest.used {
				oldest = f
			}
		}
		delete(j.files, oldest.path)
		if err := oldest.close(); err != nil {
			j.log.Error("the file may lack its last events", "path", oldest.path, "error", err)
		}
	}
	f, err := openFile(path, j.config, j.log)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	f.used = j.uses
	j.files[path] = f
	return f, nil
}

// sync forces to the disk what was written since the last time. What cannot be has been acked: that is what the
// policy promises, and why the error is only told.
func (j *journal) sync() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer == nil { // closed meanwhile
		return
	}
	j.timer = nil
	for path, f := range j.files {
		if err := f.sync(); err != nil {
			j.log.Error("the last events may not be on the disk", "path", path, "error", err)
			delete(j.files, path)
			_ = f.file.Close() // it has failed
		}
	}
}

// fileName makes part of a file's name.
func fileName(text string) string {
	if text == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		default:
			return '_'
		}
	}, text)
}
