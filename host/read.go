package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// reading is the part of a [Service] that only reads the store and the templates; a
// Host and a Reader share it.
type reading struct {
	store     *boltstore.Store
	templates *template.Set
	now       func() time.Time
	plugins   engine.Plugins // nil = no host is running
	snapshots *snapshotCache
}

// snapshotCache keeps parsed templates of snapshots by hash.
type snapshotCache struct {
	mu     sync.Mutex
	parsed map[string]*template.Template
}

// maxSnapshots bounds the cache; beyond it the cache starts anew.
const maxSnapshots = 256

func newSnapshotCache() *snapshotCache {
	return &snapshotCache{parsed: make(map[string]*template.Template)}
}

func (c *snapshotCache) get(hash string, snapshot []byte) (*template.Template, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.parsed[hash]; ok {
		return t, nil
	}
	t, err := template.FromSnapshot(snapshot)
	if err != nil {
		return nil, fmt.Errorf("template snapshot %s: %w", hash, err)
	}
	if len(c.parsed) >= maxSnapshots {
		clear(c.parsed)
	}
	c.parsed[hash] = t
	return t, nil
}

// Task implements [Service].
func (r reading) Task(ctx context.Context, idOrPrefix string) (*task.View, error) {
	id, err := r.store.Resolve(ctx, idOrPrefix)
	if err != nil {
		return nil, err
	}
	v, err := r.view(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range v.Steps {
		s := &v.Steps[i]
		if s.Output, err = r.document(ctx, id, s.Results); err != nil {
			return nil, fmt.Errorf("results of step %s: %w", s.Name, err)
		}
		if s.Attempt == nil {
			continue
		}
		if s.Input, err = r.document(ctx, id, s.Attempt.Input); err != nil {
			return nil, fmt.Errorf("input of step %s: %w", s.Name, err)
		}
	}
	return v, nil
}

// view explains a task without fetching large results: one range read.
func (r reading) view(ctx context.Context, id task.ID) (*task.View, error) {
	stored, err := r.store.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	tmpl, err := r.snapshots.get(stored.Task.Template.Hash, stored.Template)
	if err != nil {
		return nil, err
	}
	v := engine.Restore(stored.Task, tmpl).View(r.now(), r.plugins)
	cps, err := r.store.Checkpoints(ctx, id)
	if err != nil {
		return nil, err
	}
	for o, cp := range cps {
		if s := &v.Steps[o]; s.Attempt != nil && s.Attempt.Number == cp.Attempt {
			s.Progress, s.ProgressNote = cp.Progress, cp.Note
		}
	}
	return v, nil
}

// document returns a value's JSON, wherever it lies.
func (r reading) document(ctx context.Context, id task.ID, v task.Value) ([]byte, error) {
	if v.Ref == nil {
		return v.Inline, nil
	}
	return r.store.Blob(ctx, id, v.Ref.N)
}

// Value returns the document behind a reference that an assignment or an event carries:
// "input", "input/<ordinal>" or "result/<ordinal>".
func (r reading) Value(ctx context.Context, id task.ID, ref string) ([]byte, error) {
	if ref == publish.InputRef {
		return r.store.Value(ctx, id, task.InputBlob)
	}
	kind, ordinal, _ := strings.Cut(ref, "/")
	o, err := strconv.ParseUint(ordinal, 10, 31)
	switch {
	case err != nil:
	case kind == "result":
		return r.store.Value(ctx, id, task.ResultBlob(task.Ordinal(o)))
	case kind == publish.InputRef:
		return r.store.Value(ctx, id, task.StepInputBlob(task.Ordinal(o)))
	}
	return nil, fmt.Errorf("reference %q of task %s: %w", ref, id, task.ErrNotFound)
}

// ListTasks implements [Service].
func (r reading) ListTasks(ctx context.Context, f store.Filter, p store.Page) ([]store.Summary, task.ID, error) {
	return r.store.List(ctx, f, p)
}

// Templates implements [Service].
func (r reading) Templates(context.Context) ([]api.TemplateInfo, error) {
	entries := r.templates.List()
	out := make([]api.TemplateInfo, len(entries))
	for i, e := range entries {
		out[i] = templateInfo(e)
		out[i].Latest = i+1 == len(entries) || entries[i+1].Template.Namespace != e.Template.Namespace ||
			entries[i+1].Template.Name != e.Template.Name
	}
	return out, nil
}

// Template implements [Service].
func (r reading) Template(ctx context.Context, ref string) (*api.TemplateInfo, error) {
	t, err := r.templates.Get(ref)
	if err != nil {
		return nil, err
	}
	infos, err := r.Templates(ctx)
	if err != nil {
		return nil, err
	}
	for i := range infos {
		if infos[i].Ref != t.Ref() {
			continue
		}
		infos[i].Snapshot = t.Snapshot()
		if infos[i].Source, err = readSource(infos[i].Path); err != nil {
			return nil, err
		}
		return &infos[i], nil
	}
	return nil, fmt.Errorf("template %s: %w", ref, task.ErrNotFound)
}

func templateInfo(e template.Entry) api.TemplateInfo {
	info := api.TemplateInfo{
		Ref: e.Template.Ref(), Description: e.Template.Description, Path: e.File,
		Steps: len(e.Template.Steps), InputSchema: e.Template.Input,
	}
	for _, ref := range e.Template.Handlers() {
		info.Handlers = append(info.Handlers, ref.String())
	}
	return info
}

// Crashes implements [Service].
func (r reading) Crashes(ctx context.Context, plugin string) ([]store.Crash, error) {
	return r.store.Crashes(ctx, plugin)
}

// StoreStats implements [Service].
func (r reading) StoreStats(ctx context.Context) (*store.Stats, error) {
	s, err := r.store.Stats(ctx)
	return &s, err
}
