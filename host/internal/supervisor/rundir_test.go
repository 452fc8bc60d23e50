//go:build linux || darwin

package supervisor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

// startLeftover starts a process in its own group, as a plugin of another host.
func startLeftover(t *testing.T) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args[0] = sleeperName
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestSweepEndsOnlyWhatMatches(t *testing.T) {
	tests := []struct {
		name   string
		change func(*processRecord)
		ended  bool
	}{
		{"pid, start and boot match", func(*processRecord) {}, true},
		{"another start time: the pid was reused", func(r *processRecord) { r.Start += "1" }, false},
		{"another boot", func(r *processRecord) { r.Boot = "other" }, false},
		{"no boot is known", func(r *processRecord) { r.Boot = "" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := shortDir(t)
			cmd := startLeftover(t)
			id, err := identify(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			record := processRecord{identity: id, Instance: "good#1", Path: "/x"}
			tt.change(&record)
			d := &runDir{path: dir}
			if err := writeJSON(d.recordPath("good#1"), record); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{socketDirPrefix + "123", "control.sock"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			opened, swept, err := openRunDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(swept) == 1; got != tt.ended {
				t.Errorf("swept = %v, want ended %t", swept, tt.ended)
			}
			if tt.ended {
				if err := cmd.Wait(); err == nil {
					t.Error("the leftover ended by itself, want it killed")
				}
			} else if !id.alive() {
				t.Error("a process that does not match was ended")
			}
			opened.close()
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(left) != 1 || filepath.Base(left[0]) != "control.sock" {
				t.Errorf("left = %v, %v; want what belongs to others only", left, err)
			}
		})
	}
}

func TestRunDirOfADeadHostIsTaken(t *testing.T) {
	dir := shortDir(t)
	cmd := startLeftover(t)
	owner, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(filepath.Join(dir, ownerFile), owner); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRunDir(dir); !errors.Is(err, task.ErrLocked) {
		t.Errorf("openRunDir of a living host's: %v, want %v", err, task.ErrLocked)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	d, _, err := openRunDir(dir)
	if err != nil {
		t.Fatalf("openRunDir of a dead host's: %v", err)
	}
	d.close()
}

func TestRunDirIsPrivate(t *testing.T) {
	dir := filepath.Join(shortDir(t), "r")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, _, err := openRunDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode = %o, want 700", got)
	}
}
