package supervisor

import "time"

// Usage is what a process uses of the machine. What its own children use is not in it.
type Usage struct {
	Memory    int64         // resident, bytes
	CPUTime   time.Duration // since it began
	OpenFiles int           // file descriptors
	Threads   int
}

// Usage returns what the process of a plugin uses now; ok is false when it has none, and
// where the system does not tell.
func (p *PluginInfo) Usage() (u Usage, ok bool) {
	if p.PID == 0 {
		return Usage{}, false
	}
	return usageOf(p.PID)
}
