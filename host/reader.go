package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Reader answers the reading half of a [Service] from a home in which no host runs.
// What needs a host is answered with [ErrNoHost].
type Reader struct {
	reading

	home      string
	retention Retention
}

var _ Service = (*Reader)(nil)

// OpenReader opens a home for reading. Errors: task.ErrNotFound when it holds no store,
// task.ErrLocked when a host has it.
func OpenReader(_ context.Context, opts Options) (*Reader, error) {
	opts = opts.withDefaults()
	set, err := template.Load(template.Options{Environment: opts.Environment}, opts.TemplateDirs...)
	if err != nil {
		return nil, err
	}
	st, err := boltstore.Open(StorePath(opts.Home), boltstore.Options{ReadOnly: true, Now: opts.Now})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("home %s holds no store yet: %w", opts.Home, task.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return &Reader{
		reading: reading{store: st, templates: set, now: opts.Now, snapshots: newSnapshotCache()}, home: opts.Home, retention: opts.Retention,
	}, nil
}

// Close lets go of the home.
func (r *Reader) Close() error { return r.store.Close() }

// noHostError says that something needs a running host, and how to get one.
type noHostError struct{ home string }

func (e *noHostError) Error() string { return fmt.Sprintf("%v in %s", ErrNoHost, e.home) }
func (e *noHostError) Unwrap() error { return ErrNoHost }
func (e *noHostError) Hint() string  { return "start one: tasker serve --home " + e.home }

func (r *Reader) noHost() error { return &noHostError{home: r.home} }

// CreateTask implements [Service].
func (r *Reader) CreateTask(context.Context, task.Request) (task.Created, error) {
	return task.Created{}, r.noHost()
}

// WatchTask implements [Service]: without a host only an ended task can be watched.
func (r *Reader) WatchTask(ctx context.Context, id string, fn func(*task.View) error) error {
	v, err := r.Task(ctx, id)
	if err != nil {
		return err
	}
	if err := fn(v); err != nil {
		return err
	}
	if !v.Status.Terminal() {
		return r.noHost()
	}
	return nil
}

// CancelTask implements [Service].
func (r *Reader) CancelTask(context.Context, string, task.Operation) error { return r.noHost() }

// PauseTask implements [Service].
func (r *Reader) PauseTask(context.Context, string, task.Operation) error { return r.noHost() }

// ResumeTask implements [Service].
func (r *Reader) ResumeTask(context.Context, string, task.Operation) error { return r.noHost() }

// RetryTask implements [Service].
func (r *Reader) RetryTask(context.Context, string, task.Operation) error { return r.noHost() }

// ResolveTask implements [Service].
func (r *Reader) ResolveTask(context.Context, string, task.Operation) error { return r.noHost() }

// Plugins implements [Service].
func (r *Reader) Plugins(context.Context) ([]api.PluginInfo, error) { return nil, r.noHost() }

// ResumePlugin implements [Service].
func (r *Reader) ResumePlugin(context.Context, string) error { return r.noHost() }

// UpgradePlugin implements [Service].
func (r *Reader) UpgradePlugin(context.Context, api.UpgradeRequest, func(api.UpgradeProgress)) (api.UpgradeProgress, error) {
	return api.UpgradeProgress{}, r.noHost()
}

// StopHost implements [Service].
func (r *Reader) StopHost(context.Context, string) error { return r.noHost() }

// Health implements [Service].
func (r *Reader) Health(ctx context.Context) (*api.Health, error) {
	out, err := r.health(ctx)
	if err != nil {
		return nil, err
	}
	out.Mode, out.Home, out.Problems = ModeNone, r.home, []string{r.noHost().Error()}
	return out, nil
}

// readSource returns the content of a template file, nil when it is gone.
func readSource(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	return b, nil
}
