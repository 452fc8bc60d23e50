package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Memory of plugins with a limit is looked at this often; a peak that is gone after so many
// looks is none.
const (
	DefaultMemoryCheck = time.Second
	memoryLooks        = 3
)

// memoryHard is how many times the limit ends a process at once, drained or not: what grows
// that fast would take the host's memory before it has finished.
const memoryHard = 2

// watchMemory tells the supervisor of the instance when the process has more memory than it
// may, and goes on until its end.
func (in *instance) watchMemory(limit int64) {
	tick := time.NewTicker(in.opts.MemoryCheck)
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
			in.tellExcess(used.Memory, limit)
			in.launch.process.kill()
			return
		case used.Memory <= limit:
			over = 0
			continue
		}
		if over++; over == memoryLooks {
			in.tellExcess(used.Memory, limit)
		}
	}
}

func (in *instance) tellExcess(used, limit int64) {
	why := fmt.Sprintf("memory limit: it has %d MiB, limits.memory is %d MiB", used>>20, limit>>20)
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
		return why
	}
}
