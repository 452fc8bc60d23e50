package boltstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// maxProblems is how many problems Verify reports before it gives up.
const maxProblems = 100

// Problem is one thing that is wrong with a store.
type Problem struct {
	Place  string // bucket and key, such as "steps/01J.../3"
	What   string // what was found and what should be there
	Remedy string // what an operator can do
}

// String returns "place: what (remedy)".
func (p Problem) String() string { return fmt.Sprintf("%s: %s (%s)", p.Place, p.What, p.Remedy) }

// The remedies. There is no repair in place: a store that breaks a rule was damaged
// from outside or by a bug, and what else is wrong with it is unknown.
const (
	remedyFile   = "the file is damaged: restore the last good backup with `tasker store restore`"
	remedyRecord = "keep a copy of the file for a bug report and restore the last good backup with `tasker store restore`"
	remedyIndex  = "only listings and counts are affected, tasks run on; keep a copy of the file for a bug report"
)

// errEnough ends a check that has found maxProblems.
var errEnough = errors.New("too many problems")

// VerifyFile checks the store in a file that no host has open; see [Store.Verify]. A
// file that cannot be opened because of its content is reported as a problem, not as
// an error.
func VerifyFile(ctx context.Context, path string, o Options) ([]Problem, error) {
	o.ReadOnly = true
	s, err := Open(path, o)
	if errors.Is(err, store.ErrCorrupt) {
		return []Problem{{Place: path, What: err.Error(), Remedy: remedyFile}}, nil
	}
	if err != nil {
		return nil, err
	}
	problems, err := s.Verify(ctx)
	return problems, errors.Join(err, s.Close())
}

// Verify checks every page and every rule of the schema in one snapshot and returns
// what is wrong, nothing when all is well: pages reachable once, records decodable,
// sequences and task_seq dense from where the log was cut, live and the indexes equal
// to what the records say, counters equal to a recount, blobs present with their digest,
// subscriptions not ahead of the log, no orphans. Commits wait while the pages of a running store are checked.
func (s *Store) Verify(ctx context.Context) ([]Problem, error) {
	v := &verifier{ctx: ctx, chains: make(map[taskKey]*chain), counted: make(counters)}
	err := s.verifyPages(v)
	if err == nil && len(v.problems) == 0 {
		err = s.view(ctx, opVerify, v.records)
	}
	if err != nil && !errors.Is(err, errEnough) {
		return v.problems, fmt.Errorf("verify %s: %w", s.path, err)
	}
	return v.problems, nil
}

// verifyPages runs bbolt's own check. It must not run beside a writer, so on a store
// open for writing it runs in a write transaction that is rolled back.
func (s *Store) verifyPages(v *verifier) (err error) {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	// First this: in bbolt's own check a damaged page may panic out of reach.
	if err := readable(s.db); errors.Is(err, store.ErrCorrupt) {
		v.report(s.path, remedyFile, "%v", err)
		return nil
	}
	tx, err := s.db.Begin(!s.readOnly)
	if err != nil {
		return closedError(err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	for problem := range tx.Check() {
		if len(v.problems) < maxProblems { // the channel must be read to its end
			v.report(s.path, remedyFile, "%v", problem)
		}
	}
	return nil
}

// verifier collects problems; its fields are what one pass leaves for the next.
type verifier struct {
	ctx      context.Context //nolint:containedctx // lives for one call of Verify
	t        *txn
	problems []Problem
	steps    int                // calls of pause
	first    uint64             // the log's first sequence, 0 when it is empty
	next     uint64             // the sequence after the log's last
	chains   map[taskKey]*chain // what the log says of each task
	counted  counters
}

// chain is what the log says of one task.
type chain struct {
	last, taskSeq uint64
	ended         bool // at some time
}

func (v *verifier) report(place, remedy, format string, args ...any) {
	v.problems = append(v.problems, Problem{Place: place, What: fmt.Sprintf(format, args...), Remedy: remedy})
}

// damage reports an error of reading a record.
func (v *verifier) damage(place string, err error) {
	v.report(place, remedyRecord, "%v", err)
}

// pause lets a long check be given up.
func (v *verifier) pause() error {
	const every = 1024
	if len(v.problems) >= maxProblems {
		return errEnough
	}
	if v.steps++; v.steps%every == 0 {
		return v.ctx.Err()
	}
	return nil
}

// records checks the content: first the log, then every task against it, then every
// other bucket back against the tasks.
func (v *verifier) records(t *txn) error {
	v.t = t
	for _, check := range []func() error{
		v.meta, v.log, v.lost, v.tasks, v.gone, v.steplike, v.live, v.templates, v.indexes, v.keys, v.crashes, v.counters,
		v.cursors, v.deadLetters, v.customEvents,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// walk calls fn for every record of a bucket.
func (v *verifier) walk(k kind, fn func(key, value []byte)) error {
	return v.t.each(k, nil, func(key, value []byte) error {
		fn(key, value)
		return v.pause()
	})
}

func (v *verifier) exists(k kind, key []byte) bool { return v.t.get(k, key) != nil }
