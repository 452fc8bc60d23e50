package storetest

import (
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func spans(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3)
	MustCommit(t, s, fl.Create(0, 2), NewFlow(2, 1).Create(0))
	second, other := fl.Spans(0, "second"), fl.Spans(2, "other")
	second.Attempt.Number = 2
	stranger := &store.AttemptSpans{Attempt: task.AttemptID{Task: ID(Start(), 99), Number: 1}, OTLP: []byte("x")}
	for _, one := range []*store.AttemptSpans{other, second, fl.Spans(0, "a"), fl.Spans(0, "b"), fl.Spans(1, ""), stranger} {
		if err := SaveSpans(s, one); err != nil {
			t.Fatalf("save spans of %s: %v", one.Attempt, err)
		}
	}
	wantErr(t, "too large", SaveSpans(s, fl.Spans(0, strings.Repeat("x", store.MaxSpans-1))), task.ErrTooLarge)
	MustCommit(t, s, fl.Succeed(0, 1)) // no checkpoint would be left
	mustClose(t, s)
	s = t.store()
	got, err := s.Spans(t.Context(), fl.Task.ID)
	if diff := cmp.Diff(got, []store.AttemptSpans{*fl.Spans(0, "ab"), *second, *other}); err != nil || diff != "" {
		t.Errorf("spans (-got +want), error %v:\n%s", err, diff)
	}
	if got, err := s.Spans(t.Context(), stranger.Attempt.Task); len(got) > 0 || err != nil {
		t.Errorf("spans of a task that does not exist: got %v, error %v; want none", got, err)
	}
	if a := mustLoad(t, s, fl.Task.ID); a.Task.Revision != fl.Task.Revision {
		t.Errorf("revision %d, want %d: spans are no part of the task", a.Task.Revision, fl.Task.Revision)
	}
	MustCommit(t, s, fl.Cancel())
	mustDelete(t, s, 1, fl.Task.ID)
	if err := SaveSpans(s, fl.Spans(0, "late")); err != nil {
		t.Errorf("late spans: %v", err)
	}
	if got, err := s.Spans(t.Context(), fl.Task.ID); len(got) > 0 || err != nil {
		t.Errorf("spans of a task that is gone: got %v, error %v; want none", got, err)
	}
}
