package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// seen returns which of the ids 0 to n-1 are remembered.
func seen(d *sdk.Dedupe, n int) (known []int) {
	for i := range n {
		if d.Seen(fmt.Sprint(i)) {
			known = append(known, i)
		}
	}
	return known
}

func mark(t *testing.T, d *sdk.Dedupe, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := d.Mark(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDedupe forgets the oldest.
func TestDedupe(t *testing.T) {
	d := sdk.NewDedupe(3)
	mark(t, d, 0, 3)
	mark(t, d, 0, 2) // again, which changes nothing
	mark(t, d, 3, 5)
	if diff := cmp.Diff([]int{2, 3, 4}, seen(d, 10)); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestDedupeFile remembers over the end of the process, also when that came amid a line.
func TestDedupeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	for round := range 3 {
		d, err := sdk.OpenDedupe(path, 3)
		if err != nil {
			t.Fatal(err)
		}
		if want := []int{round*20 - 3, round*20 - 2, round*20 - 1}; round > 0 {
			if diff := cmp.Diff(want, seen(d, 100)); diff != "" {
				t.Errorf("round %d: remembered (-want +got):\n%s", round, diff)
			}
		}
		mark(t, d, round*20, round*20+20)
		if round == 0 {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			torn(t, path)
		} else {
			t.Cleanup(func() { _ = d.Close() }) // the process was killed
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 6*3 {
		t.Errorf("the file grows to %d bytes: %v", info.Size(), err)
	}
	if _, err := sdk.OpenDedupe(filepath.Join(path, "x"), 3); err == nil {
		t.Error("a file below a file was opened")
	}
}

func torn(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("5")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// careful does what it is told to once.
type careful struct {
	sdk.BaseSubscriber

	done int
	fail bool
}

func (c *careful) OnStepFailed(_ context.Context, e sdk.Event[event.StepFailed]) error {
	if c.Seen(e.ID) {
		return nil
	}
	if c.fail {
		return errors.New("not now")
	}
	c.done++
	return nil
}

// TestSeen remembers what was handled, not what was tried.
func TestSeen(t *testing.T) {
	for name, d := range map[string]*sdk.Dedupe{"own": nil, "given": sdk.NewDedupe(1)} {
		t.Run(name, func(t *testing.T) {
			c := &careful{fail: true}
			if d != nil {
				c.DedupeWith(d)
			}
			sub := subscriber(t, c)
			sent := sub.Send(t, sdktest.Event{Type: "step.failed"})[0]
			if got := sent.Wait(t); got.Verdict != sdktest.Retried {
				t.Errorf("answer %+v, want retried", got)
			}
			c.fail = false
			for range 3 {
				if got := sent.Redeliver(t).Wait(t); got.Verdict != sdktest.Acked {
					t.Errorf("answer %+v, want acked", got)
				}
			}
			if c.done != 1 {
				t.Errorf("done %d times, want once", c.done)
			}
		})
	}
}
