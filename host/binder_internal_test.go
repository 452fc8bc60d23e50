package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// TestTemplateThatCannotBeRead: what will never be readable binds nothing, which is told
// once; what may pass is an error, to be tried again.
func TestTemplateThatCannotBeRead(t *testing.T) {
	t.Parallel()
	set, err := template.Load(template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	passing := errors.New("the disk is away")
	garbage := &store.Aggregate{Task: &task.Task{Spec: task.Spec{Template: task.TemplateRef{Hash: "h"}}}, Template: []byte("no template")}
	tests := []struct {
		name  string
		found *store.Aggregate
		err   error
		want  error  // nil = it binds nothing
		told  string // "" = nothing
	}{
		{"the task is gone", nil, fmt.Errorf("load: %w", task.ErrNotFound), nil, ""},
		{"the task is corrupt", nil, fmt.Errorf("load: %w", store.ErrCorrupt), nil, "corrupt record"},
		{"its id is none", nil, fmt.Errorf("load: %w", task.ErrBadID), nil, "load: "},
		{"the snapshot is no template", garbage, nil, nil, "template snapshot h"},
		{"the store fails", nil, passing, passing, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			h := &Host{given: newGiven(set), log: hclog.New(&hclog.LoggerOptions{Output: &log}), reading: reading{templates: set, snapshots: newSnapshotCache()}}
			b := &binder{h: h, told: make(map[string]bool), load: func(context.Context, task.ID) (*store.Aggregate, error) { return tt.found, tt.err }}
			for range 2 {
				got, err := b.template(t.Context(), task.TemplateRef{Namespace: "default", Name: "lost", Version: "1.0.0"}, "T")
				if got != nil || !errors.Is(err, tt.want) {
					t.Errorf("template: %v, %v; want none and %v", got, err, tt.want)
				}
			}
			lines := strings.Count(log.String(), "\n")
			if want := min(1, len(tt.told)); lines != want || !strings.Contains(log.String(), tt.told) {
				t.Errorf("told %d times, want %d, with %q:\n%s", lines, want, tt.told, log.String())
			}
		})
	}
}
