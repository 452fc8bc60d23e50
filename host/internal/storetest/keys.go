package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func keyCases() []testCase {
	return []testCase{
		{"of fifty creations at once one wins and the others learn its id", fiftyAtOnce},
		{"another input under the key is refused", keyConflict},
		{"a key is its template's", keyScope},
		{"a key outlives its time while its task runs, and its task until its time", keyLife},
	}
}

// withKey gives a task the idempotency key "k".
func withKey(input string, ttl time.Duration, at time.Time) func(*task.Spec) {
	return func(sp *task.Spec) {
		sp.IdempotencyKey, sp.KeyTTL, sp.CreatedAt = "k", ttl, at
		sp.Input, sp.InputHash = task.Value{Inline: []byte(input)}, Hash([]byte(input))
	}
}

func fiftyAtOnce(t *fixture) {
	const clients = 50
	s := t.store()
	start := make(chan struct{})
	ids := make(chan task.ID, clients)
	created := make(chan task.ID, clients)
	var wg sync.WaitGroup
	for i := range clients {
		fl := NewFlow(uint64(i), 1, withKey("1", time.Hour, Start()))
		ws := fl.Create()
		wg.Go(func() {
			<-start
			_, err := Commit(s, ws)
			var dup *store.DuplicateError
			switch {
			case err == nil:
				created <- fl.Task.ID
				ids <- fl.Task.ID
			case errors.As(err, &dup):
				ids <- dup.ID
			default:
				t.Errorf("creation %d: %v", i, err)
				ids <- ""
			}
		})
	}
	close(start)
	wg.Wait()
	if len(created) != 1 {
		t.Fatalf("creations that won: got %d, want 1", len(created))
	}
	winner := <-created
	for range clients {
		if id := <-ids; id != winner {
			t.Errorf("a client got task %s, want %s", id, winner)
		}
	}
	page, _, err := s.List(t.Context(), store.Filter{}, store.Page{})
	if err != nil || len(page) != 1 {
		t.Errorf("tasks stored: got %d, error %v; want 1", len(page), err)
	}
}

func keyConflict(t *fixture) {
	s := t.store()
	first := NewFlow(1, 1, withKey("1", time.Hour, Start()))
	MustCommit(t, s, first.Create())
	_, err := Commit(s, NewFlow(2, 1, withKey("2", time.Hour, Start())).Create())
	wantErr(t, "other input", err, task.ErrKeyConflict)
	if _, err := s.Load(t.Context(), ID(Start(), 2)); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("the refused task: got error %v, want not found", err)
	}
	_, err = Commit(s, NewFlow(3, 1, withKey("1", time.Hour, Start())).Create())
	var dup *store.DuplicateError
	if !errors.As(err, &dup) || dup.ID != first.Task.ID {
		t.Errorf("the first input again: got error %v, want a duplicate of %s", err, first.Task.ID)
	}
}

func keyScope(t *fixture) {
	s := t.store()
	other := func(sp *task.Spec) { sp.Template.Name = "refund" }
	MustCommit(t, s,
		NewFlow(1, 1, withKey("1", time.Hour, Start())).Create(),
		NewFlow(2, 1, withKey("2", time.Hour, Start()), other).Create())
}

func keyLife(t *fixture) {
	s := t.store()
	later := Start().Add(2 * time.Hour)
	again := func(n uint64, at time.Time) error {
		_, err := Commit(s, NewFlow(n, 1, withKey("1", time.Hour, at)).Create())
		return err
	}
	var dup *store.DuplicateError
	first := NewFlow(1, 1, withKey("1", time.Hour, Start()))
	MustCommit(t, s, first.Create(0))
	if err := again(2, later); !errors.As(err, &dup) {
		t.Errorf("expired, task unfinished: got error %v, want a duplicate", err)
	}
	MustCommit(t, s, first.Succeed(0))
	if err := again(3, Start().Add(time.Minute)); !errors.As(err, &dup) {
		t.Errorf("task finished, key not expired: got error %v, want a duplicate", err)
	}
	if err := again(4, later); err != nil {
		t.Errorf("expired and finished: got error %v, want a new task", err)
	}
	if err, want := again(5, later), ID(later, 4); !errors.As(err, &dup) || dup.ID != want {
		t.Errorf("the key of the new task: got error %v, want a duplicate of %s", err, want)
	}
}
