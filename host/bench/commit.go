package bench

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The floor's file: appended records, and records by task and step.
const (
	logBucket   = "log"
	stateBucket = "states"

	fileMode    = 0o600
	fillPercent = 0.9       // pages are filled in order
	pageSize    = 8 << 10   // as the store's
	initialMap  = 256 << 20 // growing the mapping would be measured otherwise
)

func openFloor(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, fileMode, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: initialMap, NoStatistics: true,
		PageSize: pageSize,
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, logErr := tx.CreateBucket([]byte(logBucket))
		_, stateErr := tx.CreateBucket([]byte(stateBucket))
		return errors.Join(logErr, stateErr)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// committed is one transaction that has ended.
type committed struct {
	sets []*writeSet
	err  error
}

// committer commits what has gathered while the last transaction ran.
type committer struct {
	db      *bolt.DB
	queue   chan *writeSet
	done    chan committed
	ended   sync.WaitGroup
	commits int // read after the end of the work
	seq     uint64
}

// newCommitter opens the file; at most so many write sets are in flight.
func newCommitter(path string, inFlight int) (*committer, error) {
	db, err := openFloor(path)
	if err != nil {
		return nil, err
	}
	c := &committer{db: db, queue: make(chan *writeSet, inFlight), done: make(chan committed, inFlight)}
	c.ended.Go(c.run)
	return c, nil
}

func (c *committer) close(err error) error {
	close(c.queue)
	c.ended.Wait()
	return errors.Join(err, c.db.Close())
}

// run commits until the queue is closed.
func (c *committer) run() {
	for first := range c.queue {
		sets := []*writeSet{first}
		for more := true; more; {
			select {
			case ws, ok := <-c.queue:
				if more = ok; ok {
					sets = append(sets, ws)
				}
			default:
				more = false
			}
		}
		err := c.db.Update(func(tx *bolt.Tx) error { return c.write(tx, sets) })
		c.commits++
		c.done <- committed{sets, err}
	}
}

func (c *committer) write(tx *bolt.Tx, sets []*writeSet) error {
	log, states := tx.Bucket([]byte(logBucket)), tx.Bucket([]byte(stateBucket))
	log.FillPercent, states.FillPercent = fillPercent, fillPercent
	for _, ws := range sets {
		for _, data := range ws.log {
			c.seq++
			if err := log.Put(binary.BigEndian.AppendUint64(nil, c.seq), data); err != nil {
				return err
			}
		}
		for _, s := range ws.states {
			key := binary.BigEndian.AppendUint64(nil, uint64(max(ws.task.number, 0)))
			if err := states.Put(binary.BigEndian.AppendUint64(key, s.slot), s.data); err != nil {
				return err
			}
		}
	}
	return nil
}

// DiskResult is what the disk allows.
type DiskResult struct {
	// Sync is a write of 4 KiB and a sync of its file, Commit a bare bbolt transaction of
	// one record.
	Sync   Latency `json:"sync"`
	Commit Latency `json:"commit"`
}

// syncBlock is what is written before each sync.
const syncBlock = 4096

// Disk measures so many syncs and commits in a directory.
func Disk(dir string, n int) (_ *DiskResult, err error) {
	syncs, commits := newHistogram(), newHistogram()
	f, err := os.OpenFile(filepath.Join(dir, "sync"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := make([]byte, syncBlock)
	for i := range n {
		began := time.Now()
		if _, err := f.WriteAt(block, int64(i%16)*syncBlock); err != nil {
			return nil, err
		}
		if err := syncData(f); err != nil {
			return nil, err
		}
		record(syncs, time.Since(began))
	}
	db, err := openFloor(filepath.Join(dir, "commit.db"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	const size = 300
	for i := range n {
		began := time.Now()
		if err := putMany(db, uint64(i), 1, size); err != nil {
			return nil, err
		}
		record(commits, time.Since(began))
	}
	return &DiskResult{Sync: latency(syncs), Commit: latency(commits)}, nil
}

// putMany appends n records of a size in one transaction, with keys from first.
func putMany(db *bolt.DB, first uint64, n, size int) error {
	return db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(logBucket))
		b.FillPercent = fillPercent
		value := make([]byte, size)
		for i := range uint64(max(n, 0)) {
			if err := b.Put(binary.BigEndian.AppendUint64(nil, first+i), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// GroupCommit appends transactions of so many records of a size for a time and returns how
// many records per second that makes.
func GroupCommit(dir string, puts, size int, long time.Duration) (perSecond float64, err error) {
	db, err := openFloor(filepath.Join(dir, "group.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	began, n := time.Now(), 0
	for ok := true; ok; ok = time.Since(began) < long {
		if err := putMany(db, uint64(max(n, 0)), puts, size); err != nil {
			return 0, err
		}
		n += puts
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
