package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/tasker-engine/tasker/host/internal/store"
)

const (
	// DefaultLockTimeout is how long Open waits for another process to let go of the file.
	DefaultLockTimeout = time.Second
	// mapSize is how much address space is mapped at the start where that costs nothing.
	// When the file outgrows its mapping, the next commit waits for every open read
	// transaction; with a small map that happens at each doubling. 1 GiB is also the step
	// by which bbolt grows its map from there on.
	mapSize = 1 << 30
	// pageSize of a new file, in bytes. A page takes a handful of log values instead of two
	// and a piece, which halves the pages that a commit writes; twice as much again writes
	// more bytes than it saves calls, because most pages of steps change by a record or two.
	pageSize = 8 << 10
	// fileMode keeps inputs and results from other users.
	fileMode = 0o600
	dirMode  = 0o700
)

// Options say how to open a store. The zero value is right for a host.
type Options struct {
	// ReadOnly opens for reading under a shared lock: it works while no host runs, and
	// beside other readers. Writes fail with store.ErrReadOnly.
	ReadOnly bool
	// LockTimeout is how long to wait for the lock. 0 = DefaultLockTimeout.
	LockTimeout time.Duration
	// Command is what the owner note says of this process. "" = the words of its command
	// line before the first flag: flags may carry secrets.
	Command string
	// Now is the clock for the host id of a new store and for the expiry of idempotency
	// keys. nil = time.Now.
	Now func() time.Time

	// Metered measures commits and free pages for [Store.Metrics].
	Metered bool
	// SlowAfter is how long an operation takes at least that OnSlow is told of. 0 = none is.
	SlowAfter time.Duration
	// OnSlow is called after a slow operation, from its goroutine; it must not use the
	// store. nil = nobody is told.
	OnSlow func(Slow)
}

func (o Options) withDefaults() Options {
	if o.LockTimeout == 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	if o.Command == "" {
		o.Command = commandWords(os.Args)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnSlow == nil {
		o.OnSlow = func(Slow) {}
	}
	return o
}

// commandWords is a program's name with its arguments up to the first flag.
func commandWords(args []string) string {
	words := []string{filepath.Base(args[0])}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "-") {
			break
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// Store is a host's state in one file. All methods may be called from any goroutine.
type Store struct {
	db       *bolt.DB
	path     string
	readOnly bool
	now      func() time.Time
	hostID   string
	epoch    uint64

	queue *queue
	sets  setPool
	ended chan struct{} // closed when the committer has ended

	ops       [operations]opCount
	commits   atomic.Uint64
	commitNs  atomic.Int64 // spent in transactions
	writeSets atomic.Uint64

	deletions                    deletions
	deletedTasks, deletedRecords atomic.Uint64

	meters      meters
	slowAfter   time.Duration
	onSlow      func(Slow)
	slowCommits atomic.Uint64

	closing  sync.Once
	closeErr error
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, which it creates with its directory
// unless it opens for reading. Errors: task.ErrLocked when another process holds the
// file, fs.ErrNotExist when there is none to read, store.ErrVersion for the file of a
// newer Tasker, store.ErrCorrupt.
func Open(path string, o Options) (*Store, error) {
	o = o.withDefaults()
	db, err := openFile(path, o)
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: db, path: path, readOnly: o.ReadOnly, now: o.Now,
		queue: newQueue(), ended: make(chan struct{}),
		meters: newMeters(o), slowAfter: o.SlowAfter, onSlow: o.OnSlow,
	}
	if err := guard(func() error { return s.start(o) }); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	return s, nil
}

// start brings the schema up to date, begins a new epoch and starts the committer.
func (s *Store) start(o Options) error {
	if s.readOnly {
		close(s.ended)
		if err := s.db.View(checkVersion); err != nil {
			return err
		}
		if err := s.db.View(checkBuckets); err != nil {
			return err
		}
		return s.db.View(s.readIdentity)
	}
	if err := prepare(s.db, s.path, migrations(), o.Now()); err != nil {
		return err
	}
	if err := s.db.View(checkBuckets); err != nil {
		return err
	}
	if err := s.db.Update(s.beginEpoch); err != nil {
		return err
	}
	c, err := newCommitter(s)
	if err != nil {
		return err
	}
	if err := writeOwner(s.path, o.Command, o.Now()); err != nil {
		return err
	}
	go func() {
		defer close(s.ended)
		c.run()
	}()
	return nil
}

// openFile opens and locks the file.
func openFile(path string, o Options) (db *bolt.DB, err error) {
	if o.ReadOnly {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	} else if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err = openChecked(path, bolt.Options{
		Timeout: o.LockTimeout, ReadOnly: o.ReadOnly,
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true, PageSize: pageSize,
		InitialMmapSize: initialMapSize(), NoStatistics: !o.Metered,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, lockedError(path, o.LockTimeout)
	}
	if isInvalidFile(err) {
		return nil, fmt.Errorf("%w: %s is no store or its head is damaged (%w): restore a backup with `tasker store restore`", store.ErrCorrupt, path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

func isInvalidFile(err error) bool {
	return errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch)
}

// openChecked opens a file. One that was not closed, as its owner note says, is walked
// first: opening it for writing makes bbolt scan it in a goroutine of its own, where a
// damaged page kills the process.
func openChecked(path string, o bolt.Options) (*bolt.DB, error) {
	if _, err := os.Stat(ownerPath(path)); err == nil && !o.ReadOnly {
		reading := o
		reading.ReadOnly = true
		db, err := openBolt(path, reading)
		if err == nil {
			if _, noted := os.Stat(ownerPath(path)); noted == nil { // else it was closed while this waited for the lock
				err = readable(db)
			}
			err = errors.Join(err, db.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return openBolt(path, o)
}

// readable reads every record of every bucket and returns store.ErrCorrupt when a page
// cannot be.
func readable(db *bolt.DB) error {
	return guard(func() error {
		return db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
				return b.ForEach(func(_, value []byte) error {
					if n := len(value); n > 0 {
						runtime.KeepAlive(value[n-1]) // touches the last page of a large value
					}
					return nil
				})
			})
		})
	})
}

// guard turns what a damaged file makes bbolt do, a panic or a read behind the end of
// the file, into an error wrapping store.ErrCorrupt.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: a page is damaged: %v: restore a backup with `tasker store restore`", store.ErrCorrupt, r)
		}
	}()
	return fn()
}

// openBolt opens a file of which nothing is known yet.
func openBolt(path string, o bolt.Options) (db *bolt.DB, err error) {
	var file *os.File
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	err = guard(func() (err error) {
		db, err = bolt.Open(path, fileMode, &o)
		return err
	})
	switch {
	case errors.Is(err, store.ErrCorrupt) && file != nil:
		return nil, errors.Join(err, file.Close()) // also releases the lock
	case err != nil && isShort(path) && !errors.Is(err, bolterrors.ErrTimeout):
		return nil, errors.Join(bolterrors.ErrInvalid, err)
	case err != nil:
		return nil, err
	}
	if err := db.View(checkLength); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// isShort reports whether a file is shorter than any store is, for which bbolt has no error
// of its own.
func isShort(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() < 2*pageSize
}

// checkLength fails when the file is shorter than its pages: reading behind its end
// would kill the process.
func checkLength(tx *bolt.Tx) error {
	info, err := os.Stat(tx.DB().Path())
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: the file has %d bytes, its pages need %d, so it was cut off: restore a backup with `tasker store restore`", store.ErrCorrupt, info.Size(), tx.Size())
	}
	return nil
}

// initialMapSize is mapSize where a mapping may be larger than its file: on Windows
// the file would grow to it, and 32 bits have no address space to spare.
func initialMapSize() int {
	if runtime.GOOS == "linux" && strconv.IntSize == 64 {
		return mapSize
	}
	return 0
}

// checkVersion fails unless the file has this program's schema.
func checkVersion(tx *bolt.Tx) error {
	version, err := readVersion(tx)
	switch {
	case err != nil:
		return err
	case version < SchemaVersion:
		return fmt.Errorf("%w: the file has schema %d, this program needs %d: a host or any writing command migrates it", store.ErrVersion, version, SchemaVersion)
	case version > SchemaVersion:
		return newerError(version)
	default:
		return nil
	}
}

func newerError(version uint8) error {
	return fmt.Errorf("%w: the file has schema %d, this program knows up to %d: use the newer Tasker that wrote it", store.ErrVersion, version, SchemaVersion)
}

// readVersion returns the schema version of the file.
func readVersion(tx *bolt.Tx) (uint8, error) {
	meta := tx.Bucket([]byte(kindMeta.name()))
	if meta == nil {
		return 0, fmt.Errorf("%w: it is a bbolt file but no store of Tasker", store.ErrCorrupt)
	}
	v := meta.Get([]byte(metaVersion))
	if len(v) != 1 {
		return 0, fmt.Errorf("%w: meta/version has %d bytes", store.ErrCorrupt, len(v))
	}
	return v[0], nil
}

// checkBuckets fails unless the file has every bucket of the schema.
func checkBuckets(tx *bolt.Tx) error {
	for k := range kinds {
		if tx.Bucket([]byte(k.name())) == nil {
			return fmt.Errorf("%w: bucket %s is missing: restore a backup with `tasker store restore`", store.ErrCorrupt, k.name())
		}
	}
	return nil
}

func (s *Store) readIdentity(tx *bolt.Tx) error {
	meta := tx.Bucket([]byte(kindMeta.name()))
	id, epoch := meta.Get([]byte(metaHostID)), meta.Get([]byte(metaEpoch))
	if len(id) != taskLen {
		return fmt.Errorf("%w: meta/host_id has %d bytes", store.ErrCorrupt, len(id))
	}
	s.hostID = ulid.ULID(id).String()
	n, ok := asSeq(epoch)
	if !ok {
		return fmt.Errorf("%w: meta/epoch has %d bytes", store.ErrCorrupt, len(epoch))
	}
	s.epoch = n
	return nil
}

// beginEpoch makes every attempt of an earlier epoch recognisable as lost.
func (s *Store) beginEpoch(tx *bolt.Tx) error {
	if err := s.readIdentity(tx); err != nil {
		return err
	}
	s.epoch++
	return tx.Bucket([]byte(kindMeta.name())).Put([]byte(metaEpoch), binary.BigEndian.AppendUint64(nil, s.epoch))
}

// Identity returns the host's id and the writer's epoch. A store that is open for
// reading returns the epoch of the last writer.
func (s *Store) Identity() (hostID string, epoch uint64) { return s.hostID, s.epoch }

// Path returns the path of the file.
func (s *Store) Path() string { return s.path }

// Close commits what was submitted, writes the list of free pages so that the next
// open need not scan the file, and closes. Further calls return the same.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.queue.close()
		<-s.ended
		s.closeErr = s.closeFile()
	})
	return s.closeErr
}

func (s *Store) closeFile() error {
	var errs []error
	if !s.readOnly {
		s.db.NoFreelistSync = false // no transaction writes any more
		errs = append(errs, s.db.Update(func(*bolt.Tx) error { return nil }), removeOwner(s.path))
	}
	errs = append(errs, s.db.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}
