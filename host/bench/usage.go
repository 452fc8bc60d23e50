package bench

import (
	"runtime"
	"time"
)

// Usage is what a process has used since it started.
type Usage struct {
	CPU        time.Duration `json:"cpu_ns"` // user and system
	RSS        int64         `json:"rss"`    // bytes now; 0 where the system does not tell cheaply
	Anon       int64         `json:"anon"`   // the part of RSS that no file backs
	Allocs     uint64        `json:"allocs"` // heap objects
	AllocBytes uint64        `json:"alloc_bytes"`
}

// Measure returns what this process has used.
func Measure() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss, anon := memoryUsed()
	return Usage{CPU: cpuTime(), RSS: rss, Anon: anon, Allocs: m.Mallocs, AllocBytes: m.TotalAlloc}
}

// since is what was used after another measurement; memory stays what it is now.
func (u Usage) since(before Usage) Usage {
	return Usage{u.CPU - before.CPU, u.RSS, u.Anon, u.Allocs - before.Allocs, u.AllocBytes - before.AllocBytes}
}

// without leaves out a part of what was used.
func (u Usage) without(part Usage) Usage {
	return Usage{u.CPU - part.CPU, u.RSS, u.Anon, u.Allocs - part.Allocs, u.AllocBytes - part.AllocBytes}
}
