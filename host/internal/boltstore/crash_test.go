package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// crashDir makes the test binary a writer that commits until it is killed.
const crashDir = "TASKER_TEST_CRASH_DIR"

const (
	crashKills = 12 // how often the writer is killed
	crashSteps = 5  // of each of its tasks
)

// crashWriter commits linear tasks from several goroutines and writes one line per
// acknowledged write set: the task's number and the revision.
func crashWriter(dir string, out io.Writer) error {
	s, err := boltstore.Open(filepath.Join(dir, bolttest.FileName), boltstore.Options{LockTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	_, epoch := s.Identity()
	var mu sync.Mutex // one line at a time
	acknowledge := func(n, revision uint64) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintln(out, n, revision)
		return err
	}
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			for n := epoch<<32 | w<<24; ; n++ {
				if err := crashTask(s, n, acknowledge); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.New("a writer gave up")
}

func crashTask(s store.Store, n uint64, acknowledge func(n, revision uint64) error) error {
	fl := storetest.NewFlow(n, crashSteps)
	for i := range crashSteps + 1 {
		var ws *store.WriteSet
		switch o := task.Ordinal(i); o {
		case 0:
			ws = fl.Create(0)
		case crashSteps:
			ws = fl.Succeed(o - 1)
		default:
			if err := storetest.SaveCheckpoint(s, fl.Checkpoint(o-1, "1")); err != nil {
				return err
			}
			ws = fl.Succeed(o-1, o)
		}
		if _, err := storetest.Commit(s, ws); err != nil {
			return err
		}
		if err := acknowledge(n, ws.Revision); err != nil {
			return err
		}
	}
	return nil
}

// TestKilledWriter kills a writing process again and again. What it was told to be
// durable is there, nothing is half there, and the next one goes on.
func TestKilledWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, bolttest.FileName)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	acknowledged := make(map[task.ID]uint64)
	for kill := range crashKills {
		killWriter(t, dir, 1+rnd.IntN(300), acknowledged)
		if _, err := os.Stat(path + ".owner"); err != nil {
			t.Errorf("kill %d: the killed process left no owner note: %v", kill, err)
		}
		bolttest.Verify(t, path)
		s := bolttest.OpenDir(t, dir, boltstore.Options{})
		checkAcknowledged(t, s, acknowledged)
		if _, epoch := s.Identity(); epoch != uint64(2*kill+2) {
			t.Errorf("kill %d: epoch %d, want one per open for writing, %d", kill, epoch, 2*kill+2)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("no write set was ever acknowledged")
	}
}

// killWriter starts a writer, kills it after so many acknowledged write sets, and adds
// what it said to acknowledged.
func killWriter(t *testing.T, dir string, after int, acknowledged map[task.ID]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	seen := 0
	for lines.Scan() {
		number, revision, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue // cut off by the kill
		}
		n, err1 := strconv.ParseUint(number, 10, 64)
		r, err2 := strconv.ParseUint(revision, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		acknowledged[storetest.ID(storetest.Start(), n)] = r
		if seen++; seen == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := io.Copy(io.Discard, stdout); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Logf("rest of the output: %v", err)
	}
	if err := cmd.Wait(); err == nil || seen < after || stderr.Len() > 0 {
		t.Fatalf("the writer ended by itself after %d write sets: %v\n%s", seen, err, stderr.String())
	}
}

func checkAcknowledged(t *testing.T, s store.Store, acknowledged map[task.ID]uint64) {
	t.Helper()
	for id, revision := range acknowledged {
		a, err := s.Load(t.Context(), id)
		if err != nil {
			t.Errorf("acknowledged task: %v", err)
			continue
		}
		if a.Task.Revision < revision {
			t.Errorf("task %s is at revision %d, but %d was acknowledged", id, a.Task.Revision, revision)
		}
		if complete := a.Task.Revision == crashSteps+1; complete != (a.Task.Status == task.Complete) {
			t.Errorf("task %s is %s at revision %d", id, a.Task.Status, a.Task.Revision)
		}
	}
}
