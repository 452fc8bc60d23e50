package boltstore

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// operation is one thing that a store can be asked to do, as counted in Stats.
type operation uint8

// The operations.
const (
	opSubmit operation = iota
	opSaveCheckpoint
	opSaveCrash
	opLoad
	opLive
	opList
	opResolve
	opBlob
	opValue
	opCheckpoint
	opCheckpoints
	opEvents
	opFirstSeq
	opLastSeq
	opSeqAt
	opTrimLog
	opTaskEvents
	opCrashes
	opCursors
	opDeadLetters
	opCustomEvents
	opCounters
	opStats
	opVerify
	opBackup
	opSweep
	opDelete
	opSizes
	opSaveSpans
	opSpans
	operations // how many there are
)

// operationNames are the keys of Stats.Operations.
func operationNames() [operations]string {
	return [operations]string{
		"submit", "save_checkpoint", "save_crash", "load", "live", "list", "resolve", "blob", "value",
		"checkpoint", "checkpoints", "events", "first_seq", "last_seq", "seq_at", "trim_log", "task_events", "crashes",
		"cursors", "dead_letters", "custom_events", "counters", "stats", "verify", "backup",
		"sweep", "delete", "sizes", "save_spans", "spans",
	}
}

// opCount counts one operation.
type opCount struct{ calls, reads, puts, ranges, slow atomic.Uint64 }

func (c *opCount) add(calls, reads, puts, ranges uint64) {
	c.calls.Add(calls)
	c.reads.Add(reads)
	c.puts.Add(puts)
	c.ranges.Add(ranges)
}

// Stats returns sizes and operation counts. It reads every page of the file's trees,
// so it is for operators, not for each step.
func (s *Store) Stats(ctx context.Context) (store.Stats, error) {
	out := store.Stats{
		SchemaVersion: SchemaVersion, HostID: s.hostID, Epoch: s.epoch, Path: s.path,
		Commits: s.commits.Load(), WriteSets: s.writeSets.Load(), CommitTime: time.Duration(s.commitNs.Load()),
		Deleted:    store.Deleted{Tasks: s.deletedTasks.Load(), Records: s.deletedRecords.Load()},
		Operations: make(map[string]store.OperationStats, operations),
	}
	file, err := os.Stat(s.path)
	if err != nil {
		return out, err
	}
	out.FileBytes = file.Size() // what bbolt counts leaves out the room that it has set aside
	err = s.view(ctx, opStats, func(t *txn) error {
		counters, err := readCounters(t)
		if err != nil {
			return err
		}
		out.Tasks = counters.tasks()
		next, err := nextSeq(t)
		if err != nil {
			return err
		}
		out.LastSeq = next - 1
		for k := range kinds {
			if err := ctx.Err(); err != nil {
				return err
			}
			out.Buckets = append(out.Buckets, bucketStats(k, t.bucket(k).Stats()))
		}
		return nil
	})
	if err != nil {
		return store.Stats{}, fmt.Errorf("stats: %w", err)
	}
	for op, name := range operationNames() {
		c := &s.ops[op]
		out.Operations[name] = store.OperationStats{Calls: c.calls.Load(), Reads: c.reads.Load(), Puts: c.puts.Load()}
	}
	return out, nil
}

func bucketStats(k kind, b bolt.BucketStats) store.BucketStats {
	return store.BucketStats{Name: k.name(), Keys: b.KeyN, Bytes: int64(b.BranchInuse + b.LeafInuse + b.InlineBucketInuse)}
}
