package supervisor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestSubscribersGiveWay: all threads of a process that only subscribes stand behind the
// host's and those of handlers.
func TestSubscribersGiveWay(t *testing.T) {
	own := niceValues(t, os.Getpid())[0]
	h := startHost(t, nil, "listener", "events")
	h.instanceOf("listener", 1)
	h.instanceOf("events", 1)
	for _, p := range h.Plugins() {
		want := own // it has handlers, too
		if p.Name == "listener" {
			want = yieldedNice
		}
		for _, got := range niceValues(t, p.PID) {
			if got != want {
				t.Errorf("a thread of plugin %s has the nice value %d, want %d", p.Name, got, want)
			}
		}
	}
}

// niceValues returns those of all threads of a process.
func niceValues(t *testing.T, pid int) (values []int) {
	t.Helper()
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	const afterName = 16 // fields between the name and the nice value
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		nice, err := strconv.Atoi(fields[afterName])
		if err != nil {
			t.Fatalf("%s: %q", path, text)
		}
		values = append(values, nice)
	}
	return values
}
