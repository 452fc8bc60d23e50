package host_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// BenchmarkPlugins starts hosts with one plugin and with twenty, all of them at once, and
// reports the ratio of the times until all are ready, and on Linux what memory an idle
// plugin has (the mean) and a host with twenty of them. The plugins are made with the SDK.
func BenchmarkPlugins(b *testing.B) {
	const many = 20
	var ratios []float64
	var idle, own int64
	for range b.N {
		one, _, _ := startPlugins(b, 1)
		all, memory, host := startPlugins(b, many)
		ratios = append(ratios, all.Seconds()/one.Seconds())
		idle, own = memory/many, host
	}
	b.ReportMetric(median(ratios), "start-20-to-1-ratio")
	b.ReportMetric(float64(idle)/(1<<20), "plugin-MiB")
	b.ReportMetric(float64(own)/(1<<20), "host-MiB")
	b.ReportMetric(0, "ns/op")
}

// startPlugins runs a host with so many plugins until all are ready, and returns how long
// that took, and the memory of all plugins and of this process.
func startPlugins(b *testing.B, n int) (took time.Duration, plugins, own int64) {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		hosttest.InstallRecorder(b, dir, fmt.Sprintf("plugin-%d", i))
	}
	began := time.Now()
	h := hosttest.Start(b, hosttest.WithoutPlugins(), hosttest.Options(func(o *host.Options) { o.PluginDirs = []string{dir} }))
	h.AwaitPlugins("ready", func(all []host.PluginInfo) bool {
		return len(all) == n && !slices.ContainsFunc(all, func(p host.PluginInfo) bool { return p.State != task.PluginReady })
	})
	took = time.Since(began)
	for i := range n {
		if u := h.Plugin(fmt.Sprintf("plugin-%d", i)).Usage; u != nil {
			plugins += u.Memory
		}
	}
	debug.FreeOSMemory()
	if p, err := procfs.NewProc(os.Getpid()); err == nil {
		if stat, err := p.Stat(); err == nil {
			own = int64(stat.ResidentMemory())
		}
	}
	h.Stop()
	return took, plugins, own
}
