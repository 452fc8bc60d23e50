package supervisor

import (
	"time"

	"github.com/prometheus/procfs"
)

// usageOf returns what a process uses; ok is false when there is no such process any more.
func usageOf(pid int) (u Usage, ok bool) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, false
	}
	stat, err := p.Stat()
	if err != nil || stat.State == "Z" {
		return Usage{}, false
	}
	u = Usage{
		Memory: int64(stat.ResidentMemory()), CPUTime: time.Duration(stat.CPUTime() * float64(time.Second)), Threads: stat.NumThreads,
	}
	u.OpenFiles, _ = p.FileDescriptorsLen() // it may end, or be another user's
	return u, true
}
