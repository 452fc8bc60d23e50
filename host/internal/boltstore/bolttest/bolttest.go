// Package bolttest opens bolt stores in tests. A store that it opened is verified when
// the test ends, so every test that touches a store also tests the store's rules.
package bolttest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
)

// FileName is the name of the file that Open makes in its directory.
const FileName = "tasker.db"

// Open opens a new store in a directory of its own.
func Open(tb testing.TB) *boltstore.Store {
	tb.Helper()
	return OpenDir(tb, tb.TempDir(), boltstore.Options{})
}

// OpenDir opens the store in dir, which it makes unless it is there. At the end of the
// test it closes the store and fails the test for every problem that verifying finds.
func OpenDir(tb testing.TB, dir string, o boltstore.Options) *boltstore.Store {
	tb.Helper()
	path := filepath.Join(dir, FileName)
	s, err := boltstore.Open(path, o)
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
		Verify(tb, path)
	})
	return s
}

// Verify fails the test for every problem of the store in a file that is not open for
// writing.
func Verify(tb testing.TB, path string) {
	tb.Helper()
	// Not t.Context: in a cleanup it has ended.
	problems, err := boltstore.VerifyFile(context.Background(), path, boltstore.Options{})
	if err != nil {
		tb.Errorf("verify store: %v", err)
	}
	for _, p := range problems {
		tb.Errorf("store: %s", p)
	}
}
