package boltstore

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/storetest"
)

// TestEventsWithin: the entry that reaches the number of bytes is the last, wherever in a
// write set it lies; there is always one.
func TestEventsWithin(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	storetest.MustCommit(t, s, storetest.Events(3, storetest.Start()), storetest.Events(3, storetest.Start()))
	all, err := s.Events(t.Context(), 1, 100)
	if err != nil || len(all) != 6 {
		t.Fatalf("the log has %d events, error %v", len(all), err)
	}
	until := func(from, n int) (size int) {
		for _, e := range all[from : from+n] {
			size += len(e.Encoded)
		}
		return size
	}
	for _, c := range []struct {
		name        string
		from        uint64
		limit, size int
		want        int
	}{
		{"no bytes", 1, 100, 0, 1},
		{"one byte", 2, 100, 1, 1},
		{"two events", 1, 100, until(0, 2), 2},
		{"a byte more", 1, 100, until(0, 2) + 1, 3},
		{"over two write sets", 2, 100, until(1, 4), 4},
		{"fewer events wanted", 1, 2, math.MaxInt, 2},
		{"all", 1, 100, math.MaxInt, 6},
	} {
		got, err := s.EventsWithin(t.Context(), c.from, c.limit, c.size)
		if err != nil || len(got) != c.want || got[0].Seq != c.from {
			t.Errorf("%s: %d events, error %v; want %d from %d", c.name, len(got), err, c.want, c.from)
		}
	}
}
