package boltstore

import (
	"fmt"
	"os"
	"time"

	"github.com/tasker-engine/tasker/host/internal/measure"
)

// opCommit is the name under which slow transactions count.
const opCommit = "commit"

// Slow is one operation that took as long as [Options].SlowAfter, or longer.
type Slow struct {
	Operation string // a name of Stats.Operations, or "commit" for a transaction that writes
	Took      time.Duration
	Reads     uint64 // records that it read
	Puts      uint64 // records that it wrote or deleted
}

// Metrics is what a store has counted since it was opened. Unlike Stats it reads nothing
// but the size of the file.
type Metrics struct {
	Commits    uint64                      // transactions that wrote
	CommitTime measure.Snapshot            // of each transaction, ns; only with Options.Metered
	BatchSize  measure.Snapshot            // jobs in each transaction; only with Options.Metered
	Operations map[string]OperationMetrics // by name, and "commit", of which Slow alone counts
	FileBytes  int64
	FreeBytes  int64 // of pages that hold nothing; only with Options.Metered
}

// OperationMetrics counts what one operation touched.
type OperationMetrics struct {
	Calls, Reads, Puts uint64
	Slow               uint64 // calls that took as long as Options.SlowAfter
}

// meters are what a store measures beside what it always counts; nil ones measure nothing.
type meters struct {
	commitTime, batchSize *measure.Histogram
}

func newMeters(o Options) meters {
	if !o.Metered {
		return meters{}
	}
	return meters{commitTime: measure.NewLatency(), batchSize: measure.NewSize()}
}

// Metrics returns what was counted.
func (s *Store) Metrics() (Metrics, error) {
	file, err := os.Stat(s.path)
	if err != nil {
		return Metrics{}, fmt.Errorf("metrics of the store: %w", err)
	}
	m := Metrics{
		Commits: s.commits.Load(), CommitTime: s.meters.commitTime.Snapshot(), BatchSize: s.meters.batchSize.Snapshot(),
		Operations: make(map[string]OperationMetrics, operations+1),
		FileBytes:  file.Size(), FreeBytes: int64(s.db.Stats().FreeAlloc),
	}
	for op, name := range operationNames() {
		c := &s.ops[op]
		m.Operations[name] = OperationMetrics{Calls: c.calls.Load(), Reads: c.reads.Load(), Puts: c.puts.Load(), Slow: c.slow.Load()}
	}
	m.Operations[opCommit] = OperationMetrics{Slow: s.slowCommits.Load()}
	return m, nil
}

// timed notes how long a read took. What walks the whole file is not slow for that.
func (s *Store) timed(op operation, start time.Time, t *txn) {
	if s.slowAfter == 0 || op == opLive || op == opVerify || op == opBackup {
		return
	}
	if took := time.Since(start); took >= s.slowAfter {
		s.ops[op].slow.Add(1)
		s.onSlow(Slow{Operation: operationNames()[op], Took: took, Reads: t.reads, Puts: t.puts})
	}
}

// timedCommit notes how long a transaction took that writes a number of jobs.
func (s *Store) timedCommit(took time.Duration, jobs int, t *txn) {
	s.meters.commitTime.Observe(int64(took))
	s.meters.batchSize.Observe(int64(jobs))
	if s.slowAfter > 0 && took >= s.slowAfter {
		s.slowCommits.Add(1)
		s.onSlow(Slow{Operation: opCommit, Took: took, Reads: t.reads, Puts: t.puts})
	}
}
