package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tasker-engine/tasker/host/task"
)

// What a run directory holds: the owner's record, one record per process, and one
// socket directory per process that is just starting.
const (
	ownerFile       = "owner.json"
	recordPrefix    = "process-"
	socketDirPrefix = "plugin-dir" // made by go-plugin
	// socketTail is the longest that go-plugin appends to the run directory:
	// "/plugin-dir" and "/plugin", each with a random number of up to ten digits.
	socketTail = len("/plugin-dir0123456789/plugin0123456789")
)

// checkRunDir checks that sockets below dir have addresses that the kernel accepts.
func checkRunDir(dir string) error {
	if limit := maxSocketPath - socketTail; maxSocketPath > 0 && len(dir) > limit {
		return fmt.Errorf("run directory %s is %d bytes long: at most %d, because a socket path ends at %d bytes; set XDG_RUNTIME_DIR or TMPDIR to a shorter path",
			dir, len(dir), limit, maxSocketPath)
	}
	return nil
}

// identity names a process beyond the reuse of its pid.
type identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // its start time, in the platform's own form
	Boot  string `json:"boot"`  // the boot of the machine
}

// alive reports whether exactly this process is running.
func (id identity) alive() bool {
	now, err := identify(id.PID)
	return err == nil && now == id
}

// processRecord tells a later host what this one started.
type processRecord struct {
	identity

	Instance string `json:"instance"`
	Path     string `json:"path"`
}

// runDir is the run directory of a supervisor.
type runDir struct{ path string }

// openRunDir makes the directory, takes it and sweeps what a dead host left in it. It
// returns what it ended. [task.ErrLocked] when a living host owns the directory.
func openRunDir(path string) (*runDir, []processRecord, error) {
	if err := privateDir(path); err != nil {
		return nil, nil, fmt.Errorf("run directory: %w", err)
	}
	d := &runDir{path: path}
	var owner identity
	if readJSON(filepath.Join(path, ownerFile), &owner) == nil && owner.alive() {
		return nil, nil, fmt.Errorf("run directory %s: %w by process %d", path, task.ErrLocked, owner.PID)
	}
	swept, err := d.sweep()
	if err != nil {
		return nil, nil, fmt.Errorf("sweep run directory: %w", err)
	}
	self, err := identify(os.Getpid())
	if err != nil {
		return nil, nil, fmt.Errorf("identify this process: %w", err)
	}
	if err := writeJSON(filepath.Join(path, ownerFile), self); err != nil {
		return nil, nil, fmt.Errorf("run directory: %w", err)
	}
	return d, swept, nil
}

// sweep ends the processes of a dead host and removes its files. It ends only what
// matches pid, start time and boot, and removes only what it knows by name.
func (d *runDir) sweep() ([]processRecord, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var swept []processRecord
	var problems []error
	for _, e := range entries {
		path := filepath.Join(d.path, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), recordPrefix):
			var r processRecord
			if readJSON(path, &r) == nil && r.Boot != "" && r.alive() {
				swept = append(swept, r)
				killLeftover(r.PID)
			}
		case strings.HasPrefix(e.Name(), socketDirPrefix):
		default:
			continue
		}
		problems = append(problems, os.RemoveAll(path))
	}
	return swept, errors.Join(problems...)
}

// record notes a process that was just started.
func (d *runDir) record(pid int, instance, path string) error {
	id, err := identify(pid)
	if err != nil {
		return err
	}
	return writeJSON(d.recordPath(instance), processRecord{identity: id, Instance: instance, Path: path})
}

// forget removes the note of a process that was reaped.
func (d *runDir) forget(instance string) { _ = os.Remove(d.recordPath(instance)) }

func (d *runDir) recordPath(instance string) string {
	return filepath.Join(d.path, recordPrefix+instance+".json")
}

// close gives the directory back.
func (d *runDir) close() { _ = os.Remove(filepath.Join(d.path, ownerFile)) }

// privateDir makes a directory that only its owner enters.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return os.Chmod(path, 0o700) //nolint:gosec // a directory needs its execute bit
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// writeJSON replaces a file in one step, so that a crash leaves the old or the new one.
func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
