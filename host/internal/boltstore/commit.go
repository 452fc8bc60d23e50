package boltstore

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Limits of one transaction. Beyond about a thousand write sets a commit costs in
// proportion to its size, so more would only add latency.
const (
	// MaxBatchSets is the number of write sets committed in one transaction.
	MaxBatchSets = 1024
	// MaxBatchBytes is the encoded size at which a transaction is closed; a single
	// larger write set goes alone.
	MaxBatchBytes = 16 << 20
)

// job is one thing to commit: a write set, a checkpoint, a crash report or a cut of the
// log.
type job interface {
	// op is the operation under which it counts.
	op() operation
	// size is about how many bytes it writes.
	size() int
	// check says, before anything is written, whether the job is refused; the refusal
	// concerns no other job.
	check(c *committer, t *txn) error
	// apply writes. An error fails the whole transaction.
	apply(c *committer, t *txn) error
	// finish tells the submitter; it is called once, in the order of submission.
	finish(err error)
}

// queue holds what has been submitted and not yet taken by the committer. It never
// blocks a submitter. Jobs have tickets, numbered from 1 in the order of submission.
type queue struct {
	mu     sync.Mutex
	filled *sync.Cond // signalled when jobs or closed change
	jobs   []job
	closed bool
	last   uint64 // the ticket of the last job submitted
}

func newQueue() *queue {
	q := &queue{}
	q.filled = sync.NewCond(&q.mu)
	return q
}

// push appends a job. Errors: store.ErrClosed.
func (q *queue) push(j job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return store.ErrClosed
	}
	q.jobs = append(q.jobs, j)
	q.last++
	q.filled.Signal()
	return nil
}

// take waits for jobs and moves the next batch into buf. It returns none when the
// queue is closed and empty.
func (q *queue) take(buf []job) []job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.jobs) == 0 && !q.closed {
		q.filled.Wait()
	}
	n, bytes := 0, 0
	for n < len(q.jobs) && n < MaxBatchSets {
		bytes += q.jobs[n].size()
		if n > 0 && bytes > MaxBatchBytes {
			break
		}
		n++
	}
	buf = append(buf[:0], q.jobs[:n]...)
	rest := copy(q.jobs, q.jobs[n:])
	clear(q.jobs[rest:])
	q.jobs = q.jobs[:rest]
	return buf
}

func (q *queue) lastTicket() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Signal()
}

// head is what the committer must know of a task to check and extend it.
type head struct {
	revision uint64
	lastLog  uint64 // the sequence of the task's last log value, 0 = none
	status   task.Status
	// checkpoints are the steps that have one; nil when there are none.
	checkpoints map[task.Ordinal]struct{}
}

// committer is the one writer. All its fields belong to its goroutine.
type committer struct {
	s        *Store
	heads    map[taskKey]*head // unfinished tasks that were touched since open
	counters counters
	counted  bool                // counters changed in this transaction
	next     uint64              // the next log sequence
	hashes   map[string]struct{} // template snapshots known to be stored
	stale    bool                // a transaction failed: the fields above must be read again

	ticket uint64 // of the job at hand
	// refused are tasks of which a write set failed, with the last ticket whose submitter
	// cannot have known: until then every set of the task conflicts, because it may have
	// been decided on the failed one. untold until the callback is called.
	refused map[taskKey]uint64
}

const untold = math.MaxUint64

func newCommitter(s *Store) (*committer, error) {
	c := &committer{s: s, refused: make(map[taskKey]uint64)}
	return c, c.reload()
}

// reload reads from the file what the committer keeps in memory.
func (c *committer) reload() error {
	c.stale = true
	c.heads = make(map[taskKey]*head)
	c.hashes = make(map[string]struct{})
	c.counted = false
	err := c.s.db.View(func(tx *bolt.Tx) (err error) {
		t := &txn{tx: tx}
		if c.counters, err = readCounters(t); err != nil {
			return err
		}
		c.next, err = nextSeq(t)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the state of the log: %w", err)
	}
	c.stale = false
	return nil
}

// run commits until the queue is closed and empty.
func (c *committer) run() {
	var batch []job
	errs := make([]error, 0, MaxBatchSets)
	for {
		batch = c.s.queue.take(batch)
		if len(batch) == 0 {
			return
		}
		errs = c.commit(batch, errs[:0])
		for i, j := range batch {
			if errs[i] != nil {
				c.telling(j)
			}
			j.finish(errs[i])
		}
		clear(batch)
	}
}

// commit writes a batch in one transaction and appends one error per job to errs.
func (c *committer) commit(batch []job, errs []error) []error {
	first := c.ticket + 1
	maps.DeleteFunc(c.refused, func(_ taskKey, until uint64) bool { return until < first })
	start := time.Now()
	t := &txn{}
	refused, err := c.transact(t, batch, &errs)
	took := time.Since(start)
	c.s.commitNs.Add(int64(took))
	c.s.timedCommit(took, len(batch), t)
	c.ticket = first + uint64(len(batch)) - 1
	if err == nil {
		if refused < len(batch) {
			c.s.commits.Add(1)
		}
		return errs
	}
	c.stale = true
	errs = errs[:0]
	for _, j := range batch {
		c.refuse(j)
		errs = append(errs, fmt.Errorf("commit: %w", err))
	}
	return errs
}

// transact returns the number of refused jobs, whose errors are in errs, or why the
// transaction failed as a whole.
func (c *committer) transact(t *txn, batch []job, errs *[]error) (refused int, err error) {
	if c.stale {
		if err := c.reload(); err != nil {
			return 0, err
		}
	}
	tx, err := c.s.db.Begin(true)
	if err != nil {
		return 0, err
	}
	t.tx = tx
	refused, err = c.fill(t, batch, errs)
	if err != nil || refused == len(batch) {
		return refused, errors.Join(err, tx.Rollback())
	}
	return refused, tx.Commit()
}

func (c *committer) fill(t *txn, batch []job, errs *[]error) (refused int, err error) {
	for _, j := range batch {
		c.ticket++
		reads, puts, ranges := t.reads, t.puts, t.ranges
		refusal := j.check(c, t)
		if refusal != nil {
			refused++
			c.refuse(j)
		} else if err := j.apply(c, t); err != nil {
			return 0, err
		}
		*errs = append(*errs, refusal)
		c.s.ops[j.op()].add(1, t.reads-reads, t.puts-puts, t.ranges-ranges)
	}
	if c.counted {
		c.counted = false
		puts := t.puts
		if err := c.counters.write(t); err != nil {
			return 0, err
		}
		c.s.ops[opSubmit].add(0, 0, t.puts-puts, 0)
	}
	return refused, nil
}

// refuse makes later sets of the same task conflict until their submitters know.
func (c *committer) refuse(j job) {
	if set, ok := j.(*setJob); ok && set.hasTask {
		c.refused[set.key] = untold
	}
}

// telling notes that the failure of a job is about to be told: what is submitted from
// now on may have been decided knowing of it.
func (c *committer) telling(j job) {
	if set, ok := j.(*setJob); ok && set.hasTask {
		c.refused[set.key] = c.s.queue.lastTicket()
	}
}

// head returns what is known of a task, reading its records at the first touch; nil
// when there is no such task. Ended tasks are not remembered.
func (c *committer) head(t *txn, k taskKey) (*head, error) {
	if h := c.heads[k]; h != nil {
		return h, nil
	}
	h, err := readHead(t, k)
	if h == nil || err != nil {
		return nil, err
	}
	c.remember(k, h)
	return h, nil
}

func (c *committer) remember(k taskKey, h *head) {
	if h.status.Terminal() {
		delete(c.heads, k)
	} else {
		c.heads[k] = h
	}
}
