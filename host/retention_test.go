package host_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// keepBriefly lets complete tasks go as soon as they are looked at.
func keepBriefly(export string) hosttest.Option {
	return hosttest.Options(func(o *host.Options) {
		o.Retention = host.Retention{Keep: template.Retention{Complete: 1}, Export: export}
	})
}

// gone looks at the finished tasks until one is not there any more.
func gone(t *testing.T, h *hosttest.Host, id task.ID) {
	t.Helper()
	ctx := t.Context()
	for {
		if _, err := h.PruneStore(ctx, false); err != nil {
			t.Fatalf("prune: %v", err)
		}
		if _, err := h.Task(ctx, string(id)); errors.Is(err, task.ErrNotFound) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRetention: a finished task is exported with its results, then removed; one that
// failed, and one that runs, stay.
func TestRetention(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "export")
	h := hosttest.Start(t, keepBriefly(dir))
	failed := h.Create(graph("a | handler: mock/flaky, config: {kind: permanent}"))
	h.WantTask(h.Checked(failed), task.Error)
	done := h.Create(graph("a", "b <- a"))
	gone(t, h, done)
	h.WantTask(h.Checked(failed), task.Error)
	files, err := filepath.Glob(filepath.Join(dir, "tasks-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("exported files: got %v, error %v", files, err)
	}
	var found []task.ID
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var v task.View
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil { //nolint:musttag // the view's own names
				t.Fatalf("a line is no task: %v", err)
			}
			if v.Status != task.Complete || len(v.Steps) != 2 || v.Steps[1].Status != task.StepComplete {
				t.Errorf("exported task: got %+v", v)
			}
			found = append(found, v.ID)
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if len(found) != 1 || found[0] != done {
		t.Errorf("exported tasks: got %v, want %s", found, done)
	}
	stats, err := h.StoreStats(t.Context())
	if err != nil || stats.Deleted.Tasks != 1 {
		t.Errorf("deleted since open: got %+v, error %v; want 1 task", stats.Deleted, err)
	}
	if d, err := h.DeleteTasks(t.Context(), []task.ID{failed, done}); err != nil || d.Tasks != 1 {
		t.Errorf("delete by hand: got %+v, error %v; want 1 task", d, err)
	}
}

// TestExportFails: what cannot be exported is not removed, and health says why.
func TestExportFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, keepBriefly(dir), hosttest.Expect("finished tasks are not removed"))
	id := h.Create(graph("a"))
	h.WantTask(h.Checked(id), task.Complete)
	ctx := t.Context()
	for { // it is due from the next moment on
		dry, err := h.PruneStore(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		if len(dry.Groups) == 1 && dry.Groups[0].Tasks == 1 {
			break
		}
	}
	if _, err := h.PruneStore(ctx, false); err == nil || !strings.Contains(err.Error(), "export") {
		t.Errorf("prune: got error %v, want one that names the export", err)
	}
	h.WantTask(h.Checked(id), task.Complete)
	health, err := h.Health(ctx)
	if err != nil || !strings.Contains(strings.Join(health.Problems, "\n"), "finished tasks are not removed") {
		t.Errorf("health: got problems %q, error %v", health.Problems, err)
	}
}

// TestRetentionWakes: a task is removed when its time has come, without anybody asking.
func TestRetentionWakes(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Options(func(o *host.Options) {
		o.Retention.Keep.Complete = task.Duration(300 * time.Millisecond)
	}))
	id := h.Create(graph("a"))
	for ctx := t.Context(); ; {
		if _, err := h.Task(ctx, string(id)); errors.Is(err, task.ErrNotFound) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
