package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Limits that the kernel does not know are looked at this often; a peak of memory that is gone
// after so many looks is none.
const (
	DefaultLimitCheck = time.Second
	memoryLooks       = 3
)

// memoryHard is how many times the limit ends a process at once, drained or not: what grows
// that fast would take the host's memory before it has finished.
const memoryHard = 2

// moreLooks is how many times as often the processes of a plugin are counted that may start
// some: they multiply faster than threads.
const moreLooks = 4

// watchLimits starts what looks after the limits that the kernel does not know.
func (in *instance) watchLimits() {
	limits := in.opts.Isolation.Limits[in.manifest.Name]
	if limits.Memory > 0 {
		in.wg.Go(func() { in.watchMemory(limits.Memory) })
	}
	plan := in.launch.process.plan
	switch {
	case plan == nil || plan.Bounded:
	case plan.Subprocess:
		in.wg.Go(func() { in.watchProcesses(limits.processes(), in.opts.LimitCheck/moreLooks) })
	default:
		in.wg.Go(func() { in.watchProcesses(limits.processes(), in.opts.LimitCheck) })
	}
}

// watchProcesses ends the process when it has more threads, and processes as far as they can
// be counted, than it may, and goes on until its end. What multiplies is not asked to finish.
func (in *instance) watchProcesses(limit int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-in.launch.process.exited:
			return
		case <-in.ctx.Done():
			return
		}
		if n, ok := in.launch.process.count(); ok && n > limit {
			in.tellExcess(fmt.Sprintf("process limit: it has %d threads and processes, limits.processes is %d", n, limit))
			in.launch.process.kill()
			return
		}
	}
}

// watchMemory tells the supervisor of the instance when the process has more memory than it
// may, and goes on until its end.
func (in *instance) watchMemory(limit int64) {
	tick := time.NewTicker(in.opts.LimitCheck)
	defer tick.Stop()
	over := 0
	for {
		select {
		case <-tick.C:
		case <-in.launch.process.exited:
			return
		case <-in.ctx.Done():
			return
		}
		used, ok := usageOf(in.launch.process.pid())
		switch {
		case !ok:
			continue
		case used.Memory > memoryHard*limit:
			in.tellExcess(tooMuch(used.Memory, limit))
			in.launch.process.kill()
			return
		case used.Memory <= limit:
			over = 0
			continue
		}
		if over++; over == memoryLooks {
			in.tellExcess(tooMuch(used.Memory, limit))
		}
	}
}

func tooMuch(used, limit int64) string {
	return fmt.Sprintf("memory limit: it has %d MiB, limits.memory is %d MiB", used>>20, limit>>20)
}

func (in *instance) tellExcess(why string) {
	select {
	case in.excess <- why:
	default: // it is known
	}
}

// tooLarge ends an instance with too much memory: what runs may end, and it counts as a crash.
func (in *instance) tooLarge(ctx context.Context, why string) ending {
	end := in.drain(ctx, why, true)
	if ctx.Err() != nil {
		return end
	}
	return ending{cause: task.LossCrashed, why: why, crashed: true}
}

// crashCause says what ended the process: the watchdog, if it had a part in it.
func (in *instance) crashCause(why string) string {
	select {
	case excess := <-in.excess:
		return excess
	default:
	}
	if in.launch.process.diedOfMemory() {
		limit := in.opts.Isolation.Limits[in.manifest.Name].Memory
		return fmt.Sprintf("memory limit: the kernel ended it at %d MiB, limits.memory is %d MiB", memoryHard*limit>>20, limit>>20)
	}
	return why
}
