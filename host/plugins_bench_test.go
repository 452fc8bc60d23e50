package host_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// BenchmarkPlugins starts hosts with one plugin and with twenty, all of them at once, and
// reports the ratio of the times until all are ready, and on Linux what memory an idle
// plugin has (the mean) and a host with twenty of them: what is resident, that with
// what processes share divided among them (pss), and what no file backs (anon). The plugins
// are made with the SDK; each has a file of its own.
func BenchmarkPlugins(b *testing.B) {
	const many = 20
	var ratios, starts []float64
	var idle, own memory
	for range b.N {
		one, _, _ := startPlugins(b, 1)
		var all time.Duration
		all, idle, own = startPlugins(b, many)
		ratios, starts = append(ratios, all.Seconds()/one.Seconds()), append(starts, 1000*all.Seconds())
	}
	b.ReportMetric(median(ratios), "start-20-to-1-ratio")
	b.ReportMetric(median(starts), "start-20-ms")
	b.ReportMetric(idle.resident/many, "plugin-MiB")
	b.ReportMetric(idle.proportional/many, "plugin-pss-MiB")
	b.ReportMetric(idle.anonymous/many, "plugin-anon-MiB")
	b.ReportMetric(own.resident, "host-MiB")
	b.ReportMetric(own.proportional, "host-pss-MiB")
	b.ReportMetric(own.anonymous, "host-anon-MiB")
	b.ReportMetric(0, "ns/op")
}

// startPlugins runs a host with so many plugins until all are ready, and returns how long
// that took, and the memory of all plugins and of this process.
func startPlugins(b *testing.B, n int) (took time.Duration, plugins, own memory) {
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
		m := memoryOf(b, h.Plugin(fmt.Sprintf("plugin-%d", i)).PID)
		plugins.resident += m.resident
		plugins.proportional += m.proportional
		plugins.anonymous += m.anonymous
	}
	debug.FreeOSMemory()
	own = memoryOf(b, os.Getpid())
	h.Stop()
	return took, plugins, own
}

// memory is what a process has, in MiB.
type memory struct{ resident, proportional, anonymous float64 }

// memoryOf reads what memory a process has; systems other than Linux do not tell.
func memoryOf(b *testing.B, pid int) (m memory) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var kib float64
		if _, err := fmt.Sscanf(value, "%f kB", &kib); err != nil {
			continue
		}
		switch name {
		case "Rss":
			m.resident = kib / 1024
		case "Pss":
			m.proportional = kib / 1024
		case "Anonymous":
			m.anonymous = kib / 1024
		}
	}
	return m
}
