package telemetry

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// ProfileKinds are the kinds of profiles. "cpu" and "trace" watch for a while.
func ProfileKinds() []string { return []string{"cpu", "heap", "goroutine", "trace"} }

// MaxProfile is how long a profile may watch.
const MaxProfile = 10 * time.Minute

// profileTick is the time between two signs of progress.
const profileTick = time.Second

// Profile profiles this process and writes the profile to w. It watches for a length of
// time, where the kind needs one, and calls progress every second. Errors: task.ErrInvalid for
// an unknown kind and a length out of range; the runtime's when a profile is being made
// already; the end of ctx.
func Profile(ctx context.Context, kind string, length time.Duration, w io.Writer, progress func(elapsed time.Duration) error) error {
	if !slices.Contains(ProfileKinds(), kind) {
		return fmt.Errorf("profile %q: %w: want one of %s", kind, task.ErrInvalid, strings.Join(ProfileKinds(), ", "))
	}
	if length <= 0 || length > MaxProfile {
		return fmt.Errorf("profile of %s: %w: want more than 0 and at most %s", length, task.ErrInvalid, MaxProfile)
	}
	var err error
	switch kind {
	case "cpu":
		if err = pprof.StartCPUProfile(w); err == nil {
			err = watch(ctx, length, progress)
			pprof.StopCPUProfile()
		}
	case "trace":
		if err = trace.Start(w); err == nil {
			err = watch(ctx, length, progress)
			trace.Stop()
		}
	case "heap":
		runtime.GC() // the profile is as of the last collection
		err = pprof.Lookup(kind).WriteTo(w, 0)
	default:
		err = pprof.Lookup(kind).WriteTo(w, 0)
	}
	if err != nil {
		return fmt.Errorf("profile %s: %w", kind, err)
	}
	return nil
}

// watch waits for a length of time and tells of its progress.
func watch(ctx context.Context, length time.Duration, progress func(time.Duration) error) error {
	began := time.Now()
	end := time.NewTimer(length)
	defer end.Stop()
	tick := time.NewTicker(profileTick)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return nil
		case <-tick.C:
			if err := progress(time.Since(began)); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
