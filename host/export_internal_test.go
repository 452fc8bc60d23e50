package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// exporting returns an exporter whose tasks have documents of so many bytes; "bad" cannot
// be read and "gone" does not exist.
func exporting(dir string, size int) *exporter {
	return &exporter{
		dir: dir, now: func() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) },
		read: func(_ context.Context, id string) (*task.View, error) {
			switch id {
			case "bad":
				return nil, store.ErrCorrupt
			case "gone":
				return nil, task.ErrNotFound
			}
			return &task.View{Spec: task.Spec{ID: task.ID(id)}}, nil
		},
		encode: func(v *task.View) ([]byte, error) { return []byte(string(v.ID) + strings.Repeat("x", size)), nil },
	}
}

func dues(ids ...task.ID) (out []store.Due) {
	for _, id := range ids {
		out = append(out, store.Due{ID: id})
	}
	return out
}

// exported returns the first letters of the lines of a file; the last one is empty when the
// last line has an end.
func exported(t *testing.T, dir string) (out []string) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(dir, "tasks-2026-01-02.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(doc), "\n") {
		out = append(out, line[:min(len(line), 1)])
	}
	return out
}

// TestExportUnreadable: a task that cannot be read stays and is told of; the others go.
func TestExportUnreadable(t *testing.T) {
	dir := t.TempDir()
	e := exporting(dir, 10_000)
	written, failed, err := e.write(t.Context(), dues("a", "bad", "gone", "b"))
	if err != nil || len(failed) != 1 || !errors.Is(failed[0], store.ErrCorrupt) {
		t.Errorf("errors: got %v and %v, want one about the unreadable task", failed, err)
	}
	if diff := cmp.Diff(dues("a", "gone", "b"), written); diff != "" {
		t.Errorf("tasks that may go (-want +got):\n%s", diff)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", ""}, exported(t, dir)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestExportHalfLine: what a write that ended half-way has left is no part of a line that
// follows.
func TestExportHalfLine(t *testing.T) {
	tests := []struct {
		name    string
		before  string // the file
		aborted bool   // a write is given up after its first task
		want    []string
	}{
		{"given up", "", true, []string{"c", ""}},
		{"killed in the first line", strings.Repeat("k", 200_000), false, []string{"c", ""}},
		{"killed in a later line", "a\nb" + strings.Repeat("k", 200_000), false, []string{"a", "c", ""}},
		{"both", "a\nb", true, []string{"a", "c", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "tasks-2026-01-02.jsonl"), []byte(tt.before), 0o600); err != nil {
				t.Fatal(err)
			}
			e := exporting(dir, 10_000)
			if tt.aborted {
				ctx, cancel := context.WithCancel(t.Context())
				read := e.read
				e.read = func(ctx context.Context, id string) (*task.View, error) {
					if id == "b" {
						cancel()
					}
					return read(ctx, id)
				}
				if _, _, err := e.write(ctx, dues("a", "b")); !errors.Is(err, context.Canceled) {
					t.Fatalf("given up: got error %v", err)
				}
			}
			if _, _, err := e.write(t.Context(), dues("c")); err != nil {
				t.Fatal(err)
			}
			if err := e.close(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, exported(t, dir)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}
