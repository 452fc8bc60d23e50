package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long saves may follow each other to count as one.
const settle = 100 * time.Millisecond

// watcher tells when files below a directory have changed.
type watcher struct {
	notify  *fsnotify.Watcher
	changes chan struct{} // capacity 1
	ended   chan struct{}
	failed  error // read after ended
}

// watch begins to watch a directory; it ends with ctx.
func watch(ctx context.Context, dir string) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	w := &watcher{notify: notify, changes: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := w.add(dir); err != nil {
		return nil, errors.Join(err, notify.Close())
	}
	go w.run(ctx) // ends with ctx
	return w, nil
}

// add watches a directory and those below it.
func (w *watcher) add(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it is gone already
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case path != dir && unwatched(path):
			return filepath.SkipDir
		default:
			return w.notify.Add(path)
		}
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	return nil
}

// unwatched reports whether a file or directory has no part in a build: what is hidden,
// what editors leave, tests, and what is built.
func unwatched(path string) bool {
	name := filepath.Base(path)
	switch name {
	case "bin", "dist", "node_modules":
		return true
	default:
		return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".test.ts")
	}
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.ended)
	var quiet <-chan time.Time // nil = nothing has changed
	for {
		select {
		case e := <-w.notify.Events:
			if unwatched(e.Name) || e.Op == fsnotify.Chmod {
				continue
			}
			if info, err := os.Stat(e.Name); err == nil && info.IsDir() && e.Has(fsnotify.Create) {
				w.failed = errors.Join(w.failed, w.add(e.Name))
			}
			quiet = time.After(settle)
		case err := <-w.notify.Errors:
			w.failed = errors.Join(w.failed, err)
		case <-quiet:
			quiet = nil
			select {
			case w.changes <- struct{}{}:
			default: // one is due anyway
			}
		case <-ctx.Done():
			return
		}
	}
}

// close lets go of the directory, after the end of the context, and says what went wrong.
func (w *watcher) close() error {
	<-w.ended
	if err := errors.Join(w.failed, w.notify.Close()); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}
