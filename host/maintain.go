package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
)

// Problem is one thing that is wrong with a store, with its place and the remedy.
type Problem = boltstore.Problem

// Verify checks the store of a home in which no host runs, and returns what is wrong.
// Errors: task.ErrLocked when a host has it, fs.ErrNotExist.
func Verify(ctx context.Context, home string) ([]Problem, error) {
	return boltstore.VerifyFile(ctx, StorePath(home), boltstore.Options{})
}

// VerifyFile is [Verify] for a backup.
func VerifyFile(ctx context.Context, path string) ([]Problem, error) {
	return boltstore.VerifyFile(ctx, path, boltstore.Options{})
}

// Compact gives the free pages of a home's store back to the file system and returns
// its size in bytes before and after. No host may run in the home.
func Compact(home string) (before, after int64, err error) {
	return boltstore.Compact(StorePath(home), boltstore.Options{})
}

// Restore puts a backup into a home, in which no host may run, and returns its size in
// bytes. The backup is verified first; an existing store is replaced only with
// overwrite. Errors: fs.ErrExist, task.ErrLocked, and what Verify finds.
func Restore(ctx context.Context, backup, home string, overwrite bool) (size int64, err error) {
	if err := os.MkdirAll(home, homeMode); err != nil {
		return 0, fmt.Errorf("home: %w", err)
	}
	return boltstore.Restore(ctx, backup, StorePath(home), overwrite)
}

// Backup implements [Service]. Path must not exist yet.
func (r reading) Backup(ctx context.Context, path string) (_ *api.BackupInfo, err error) {
	began := time.Now()
	info := &api.BackupInfo{Path: path}
	if info.Bytes, err = r.store.Backup(ctx, path, false); err != nil {
		return nil, err
	}
	if info.SHA256, err = digest(path); err != nil {
		return nil, err
	}
	// What the copy holds is read from the copy: the store has gone on.
	copied, err := boltstore.Open(path, boltstore.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	if info.LastSeq, err = copied.LastSeq(ctx); err != nil {
		return nil, err
	}
	counters, err := copied.Counters(ctx)
	for _, n := range counters {
		info.Tasks += n
	}
	info.Took = time.Since(began)
	return info, err
}

// digest returns the SHA-256 of a file in hex.
func digest(path string) (_ string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
