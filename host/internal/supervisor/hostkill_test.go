//go:build unix

package supervisor

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hostEnv makes the test binary a host over the directory that it names, with the
// plugins of the directory in hostPluginsEnv.
const (
	hostEnv        = "TASKER_TEST_HOST_DIR"
	hostPluginsEnv = "TASKER_TEST_HOST_PLUGINS"
)

// runTestHost runs two plugins, prints their process ids and waits to be killed.
func runTestHost(dir string) int {
	rec := newRecorder()
	s, err := New(Options{
		Sink: rec, Dirs: []string{os.Getenv(hostPluginsEnv)},
		RunDir: filepath.Join(dir, "r"), DataDir: filepath.Join(dir, "data"), LogDir: filepath.Join(dir, "log"),
	})
	if err != nil {
		say("error", err)
		return 1
	}
	go func() {
		if err := s.Run(context.Background()); err != nil {
			say("error", err)
		}
	}()
	for {
		rec.mu.Lock()
		n, changed := len(rec.ready), rec.changed
		rec.mu.Unlock()
		if n == 2 {
			break
		}
		<-changed
	}
	for _, p := range s.Plugins() {
		say("pid", p.PID)
	}
	say("done")
	select {}
}

// startTestHost starts a host of two plugins in a process of its own.
func startTestHost(t *testing.T, dir, plugins string) (host *exec.Cmd, pids []int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), hostEnv+"="+dir, hostPluginsEnv+"="+plugins)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if pid, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		} else if lines.Text() == "done" {
			return cmd, pids
		} else {
			t.Errorf("host: %s", lines.Text())
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	t.Fatal("the host ended early")
	return nil, nil
}
