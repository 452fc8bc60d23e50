package boltstore

import (
	"testing"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
)

// TestEncodingAllocatesNothing is the budget of what a submitter does for the committer:
// the write sets of steps are encoded in the memory of those before them.
func TestEncodingAllocatesNothing(t *testing.T) {
	fl := storetest.NewFlow(1, 20)
	fl.Create(0)
	sets := []*store.WriteSet{fl.Succeed(0, 1), fl.Succeed(1, 2, 3, 4, 5, 6), fl.Succeed(2)}
	j := &setJob{}
	allocs := testing.AllocsPerRun(100, func() {
		for _, ws := range sets {
			j.reset()
			if err := j.encode(ws); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%g allocations, want none", allocs)
	}
}
