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
	crashKills = 12    // how often the writer is killed
	crashSteps = 5     // of each of its tasks
	crashCut   = 20    // log values removed at once
	crashSub   = "a/x" // the subscription that follows the log
)

// The words of a writer's lines that are not about a task.
const (
	crashThrough = "through" // where the cursor is
	crashFirst   = "first"   // where the log begins
)

// crashWriter commits linear tasks from several goroutines, with one more that follows
// the log and cuts it. It writes one line for all that is acknowledged: a task's number
// and revision, or a word and a sequence.
func crashWriter(dir string, out io.Writer) error {
	s, err := boltstore.Open(filepath.Join(dir, bolttest.FileName), boltstore.Options{LockTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	_, epoch := s.Identity()
	var mu sync.Mutex // one line at a time
	tell := func(what any, n uint64) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintln(out, what, n)
		return err
	}
	bell := make(chan struct{}, 1)
	acknowledge := func(n, revision uint64) error {
		select {
		case bell <- struct{}{}:
		default:
		}
		return tell(n, revision)
	}
	go func() {
		for range bell {
			if err := crashFollow(s, tell); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
		}
	}()
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

// crashFollow moves the cursor to the end of the log, gives up the last event, and cuts
// the log.
func crashFollow(s store.Store, tell func(what any, n uint64) error) error {
	ctx := context.Background()
	last, err := s.LastSeq(ctx)
	if err != nil {
		return err
	}
	_, err = storetest.Commit(s, storetest.Delivery(store.DeliverySet{
		Cursors:     []*store.Cursor{{Subscription: crashSub, Through: last}},
		DeadLetters: []*store.DeadLetter{storetest.DeadLetter(crashSub, last)},
	}))
	if err == nil {
		err = tell(crashThrough, last)
	}
	if err != nil {
		return err
	}
	if _, _, err := s.TrimLog(ctx, storetest.Start().Add(time.Hour), crashCut); err != nil {
		return err
	}
	first, err := s.FirstSeq(ctx)
	if err != nil {
		return err
	}
	return tell(crashFirst, first)
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
	told := &crashTold{revisions: make(map[task.ID]uint64)}
	for kill := range crashKills {
		killWriter(t, dir, 1+rnd.IntN(300), told)
		if _, err := os.Stat(path + ".owner"); err != nil {
			t.Errorf("kill %d: the killed process left no owner note: %v", kill, err)
		}
		bolttest.Verify(t, path)
		s := bolttest.OpenDir(t, dir, boltstore.Options{})
		checkAcknowledged(t, s, told)
		if _, epoch := s.Identity(); epoch != uint64(2*kill+2) {
			t.Errorf("kill %d: epoch %d, want one per open for writing, %d", kill, epoch, 2*kill+2)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if len(told.revisions) == 0 || told.through == 0 || told.first < crashCut {
		t.Errorf("acknowledged: got %d tasks, a cursor at %d, a log cut to %d; want some of each", len(told.revisions), told.through, told.first)
	}
}

// crashTold is what a writer said to be durable.
type crashTold struct {
	revisions      map[task.ID]uint64
	through, first uint64
}

func (c *crashTold) line(line string) error {
	what, number, ok := strings.Cut(line, " ")
	if !ok {
		return nil // cut off by the kill
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	switch what {
	case crashThrough:
		c.through = n
	case crashFirst:
		c.first = n
	default:
		id, err := strconv.ParseUint(what, 10, 64)
		if err != nil {
			return err
		}
		c.revisions[storetest.ID(storetest.Start(), id)] = n
	}
	return nil
}

// killWriter starts a writer, kills it after so many lines, and adds what it said to
// told.
func killWriter(t *testing.T, dir string, after int, told *crashTold) {
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
		if err := told.line(lines.Text()); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
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

func checkAcknowledged(t *testing.T, s store.Store, told *crashTold) {
	t.Helper()
	cursors, err1 := s.Cursors(t.Context())
	first, err2 := s.FirstSeq(t.Context())
	if err := errors.Join(err1, err2); err != nil || first < told.first {
		t.Errorf("the log begins at %d, error %v; it was cut to %d", first, err, told.first)
	}
	if told.through > 0 {
		dead, err := s.DeadLetters(t.Context(), crashSub, told.through-1, 1)
		if err != nil || len(cursors) != 1 || cursors[0].Through < told.through || len(dead) != 1 || dead[0].Seq != told.through {
			t.Errorf("cursors %v, dead letters %v, error %v; through %d was acknowledged", cursors, dead, err, told.through)
		}
	}
	for id, revision := range told.revisions {
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
