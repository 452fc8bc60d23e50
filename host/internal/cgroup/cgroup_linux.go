package cgroup

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// hostGroup is the group into which a host goes that was the only process of its own: a group
// that hands controllers on to others below it may hold no process itself.
const hostGroup = "tasker-host"

// The files of a group.
const (
	procsFile   = "cgroup.procs"
	threadsFile = "cgroup.threads"
	killFile    = "cgroup.kill"
	typeFile    = "cgroup.type" // the root of the machine has none
	offersFile  = "cgroup.controllers"
	handsFile   = "cgroup.subtree_control"
)

// Tree is the group below which others are made.
type Tree struct {
	dir    string
	mount  string   // where groups are mounted
	prefix string   // of the names of groups
	hands  []string // the controllers that groups get
}

// Find returns the group of this process if it was delegated to it, and changes nothing. The
// error wraps [ErrNone] and says why not.
func Find() (*Tree, error) {
	dir, mount, err := own()
	if err != nil {
		return nil, err
	}
	if filepath.Base(dir) == hostGroup {
		dir = filepath.Dir(dir)
	}
	if err := delegated(dir); err != nil {
		return nil, err
	}
	t := &Tree{dir: dir, mount: mount}
	t.hands = t.controllers(handsFile)
	return t, nil
}

// own returns the directory of this process's group, and where groups are mounted.
func own() (dir, mount string, err error) {
	self, err := procfs.Self()
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrNone, err)
	}
	groups, err := self.Cgroups()
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrNone, err)
	}
	i := slices.IndexFunc(groups, func(g procfs.Cgroup) bool { return g.HierarchyID == 0 })
	if i < 0 {
		return "", "", fmt.Errorf("%w: this machine has version 1 only", ErrNone)
	}
	mounts, err := procfs.GetMounts()
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrNone, err)
	}
	for _, m := range mounts {
		below, ok := strings.CutPrefix(groups[i].Path, strings.TrimSuffix(m.Root, "/"))
		if m.FSType == "cgroup2" && ok && !strings.Contains(below, "/..") {
			return filepath.Join(m.MountPoint, below), m.MountPoint, nil
		}
	}
	return "", "", fmt.Errorf("%w: version 2 is not mounted", ErrNone)
}

// delegated returns an error that says why groups cannot, or must not, be made in a directory.
func delegated(dir string) error {
	for _, path := range []string{dir, filepath.Join(dir, procsFile)} {
		if err := unix.Access(path, unix.W_OK); err != nil {
			return fmt.Errorf("%w: %s is not delegated to this user: %w", ErrNone, path, err)
		}
	}
	if _, err := os.Stat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) {
		return nil // nobody else manages groups here
	}
	for up := dir; up != filepath.Dir(up); up = filepath.Dir(up) {
		for _, name := range []string{"user.delegate", "trusted.delegate"} {
			value := make([]byte, 1)
			if n, err := unix.Getxattr(up, name, value); err == nil && n == 1 && value[0] == '1' {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: systemd has not delegated %s: that needs Delegate=yes in the unit", ErrNone, dir)
}

// Prepare has groups get the controllers that there are, and ends what was left in groups
// whose names begin with the prefix. Nobody else may use the prefix.
func (t *Tree) Prepare(prefix string) error {
	t.prefix = prefix
	t.enable()
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("groups of a dead host: %w", err)
	}
	var problems []error
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			problems = append(problems, (&Group{dir: filepath.Join(t.dir, e.Name())}).Remove(sweepLimit))
		}
	}
	return errors.Join(problems...)
}

// sweepLimit is how long what a dead host left may take to end.
const sweepLimit = 5 * time.Second

// enable hands controllers on to groups. Where that is not possible they get those that they
// get already: less is bounded by the kernel then, and nothing else changes.
func (t *Tree) enable() {
	var more []string
	for _, name := range t.controllers(offersFile) {
		if !slices.Contains(t.hands, name) {
			more = append(more, "+"+name)
		}
	}
	if _, err := os.Stat(filepath.Join(t.dir, typeFile)); err != nil || len(more) == 0 {
		return // nothing to do, or the root of the machine, which is not ours
	}
	hand := func() error { return write(filepath.Join(t.dir, handsFile), strings.Join(more, " ")) }
	if err := hand(); errors.Is(err, unix.EBUSY) {
		// It holds this process. If it holds no other, that can be helped.
		below := filepath.Join(t.dir, hostGroup)
		moved := cmp.Or(mkdir(below), write(filepath.Join(below, procsFile), "0"))
		if cmp.Or(moved, hand()) != nil {
			_ = write(filepath.Join(t.dir, procsFile), "0")
			_ = os.Remove(below) // other hosts may be in it
		}
	}
	t.hands = t.controllers(handsFile)
}

// controllers returns which of those that matter a file names.
func (t *Tree) controllers(file string) (names []string) {
	text, _ := os.ReadFile(filepath.Join(t.dir, file)) // without it there are none
	for name := range strings.FieldsSeq(string(text)) {
		if name == memory || name == pids {
			names = append(names, name)
		}
	}
	return names
}

// Dir returns the directory below which the groups are.
func (t *Tree) Dir() string { return t.dir }

// Mount returns where groups are mounted.
func (t *Tree) Mount() string { return t.mount }

// Bounds reports whether the kernel refuses a group more threads and processes than it may have.
func (t *Tree) Bounds() bool { return slices.Contains(t.hands, pids) }

// Make makes a group, which [Group.Remove] removes.
func (t *Tree) Make(name string, limits Limits) (*Group, error) {
	g := &Group{dir: filepath.Join(t.dir, t.prefix+name), bounds: t.Bounds()}
	if err := os.Mkdir(g.dir, 0o755); err != nil { //nolint:gosec // a group's files have modes of their own
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if err := g.limit(limits, t.hands); err != nil {
		_ = os.Remove(g.dir)
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	return g, nil
}

// Group holds a process and all that it starts.
type Group struct {
	dir    string
	bounds bool
}

// limit sets the limits for which there are controllers.
func (g *Group) limit(limits Limits, controllers []string) error {
	if _, err := os.Stat(filepath.Join(g.dir, killFile)); err != nil {
		return errors.New("this kernel cannot end a group: that needs Linux 5.14")
	}
	var problems []error
	if limits.Memory > 0 && slices.Contains(controllers, memory) {
		problems = append(problems,
			write(filepath.Join(g.dir, "memory.max"), strconv.FormatInt(limits.Memory, 10)),
			write(filepath.Join(g.dir, "memory.oom.group"), "1"))
	}
	if limits.Processes > 0 && slices.Contains(controllers, pids) {
		problems = append(problems, write(filepath.Join(g.dir, "pids.max"), strconv.Itoa(limits.Processes)))
	}
	return errors.Join(problems...)
}

// Dir returns the directory of the group.
func (g *Group) Dir() string { return g.dir }

// Enter puts this process into the group with a directory.
func Enter(dir string) error { return write(filepath.Join(dir, procsFile), "0") }

// Count returns how many threads there are, those of all processes together.
func (g *Group) Count() (int, error) {
	if g.bounds {
		text, err := os.ReadFile(filepath.Join(g.dir, "pids.current"))
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(string(text)))
	}
	text, err := os.ReadFile(filepath.Join(g.dir, threadsFile))
	if err != nil {
		return 0, err
	}
	return bytes.Count(text, []byte("\n")), nil
}

// Kill ends all that is in the group, at once.
func (g *Group) Kill() { _ = write(filepath.Join(g.dir, killFile), "1") } // it may be removed already

// OutOfMemory reports whether the kernel ended a process for the memory of the group.
func (g *Group) OutOfMemory() bool {
	text, _ := os.ReadFile(filepath.Join(g.dir, "memory.events")) // without the controller there is none
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(count) != "0"
		}
	}
	return false
}

// removePause is the time between two looks at whether a group is empty: the kernel needs a
// moment to take processes away.
const removePause = 2 * time.Millisecond

// Remove ends all that is in the group and removes it, which may take so long.
func (g *Group) Remove(limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	pause := time.NewTicker(removePause)
	defer pause.Stop()
	for {
		g.Kill()
		err := removeTree(g.dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-pause.C:
		case <-deadline.C:
			return fmt.Errorf("remove the group of a process: %w", err)
		}
	}
}

// removeTree removes a group with those below it, which only a process that was granted to
// write there can have made.
func removeTree(dir string) error {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // what is not there any more is fine
	})
	err := error(syscall.ENOENT)
	for _, path := range slices.Backward(dirs) {
		err = os.Remove(path)
	}
	return err
}

func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // a group's files have modes of their own
		return err
	}
	return nil
}

// write writes to a file of the kernel's: it is there, and is never made.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
