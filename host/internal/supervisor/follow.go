package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

// errInHome is returned for a path that cannot be granted for writing without the home.
var errInHome = errors.New("no plugin is granted the tasker home")

// missingDir is the mode of a directory that is made because a plugin is to write there.
const missingDir = 0o750

// files fills in which paths the process may read and write, as they are now: links are
// followed, what is not there is left out. With create, directories that are to be written
// are made. The error says what of the configuration cannot be granted.
func (l *launch) files(plan *shim.Plan, create bool) error {
	home := realPath(l.opts.Isolation.Home)
	if home != "" {
		plan.Except, plan.Hidden = []string{home}, hiddenAbove(home)
	}
	ways := paths{home: home, own: l.ownDirs()}
	var err error
	if plan.Write, err = ways.write(l.granted.write, create); err != nil {
		return fmt.Errorf("plugin %s: %w", l.plugin, err)
	}
	plan.Read = ways.read(l.granted.read)
	return nil
}

// hiddenAbove returns the directories above another that the host cannot list. The process
// cannot find out itself: it may list none of them.
func hiddenAbove(dir string) (hidden []string) {
	for up := filepath.Dir(dir); up != dir; dir, up = up, filepath.Dir(up) {
		if _, err := os.ReadDir(up); err != nil {
			hidden = append(hidden, up)
		}
	}
	return hidden
}

// ownDirs returns where the plugin may write, and so put links.
func (l *launch) ownDirs() []string {
	dirs := []string{l.dataDir(), realPath(l.dataDir())}
	for _, g := range l.granted.write {
		if g.path == shim.Everything {
			return []string{"/"}
		}
		dirs = append(dirs, g.path, realPath(g.path))
	}
	return dirs
}

// realPath returns where a path leads, or the path if it leads nowhere.
func realPath(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// paths finds out where granted paths lead.
type paths struct {
	home string   // empty = there is none
	own  []string // directories that the plugin may write
}

func (p paths) write(granted []grantedPath, create bool) ([]string, error) {
	var found []string
	for _, g := range granted {
		if g.path == shim.Everything {
			return []string{shim.Everything}, nil
		}
		kind, _ := splitEntry(g.entry)
		if kind != "" && p.home != "" && within(p.home, realPath(g.path)) {
			return nil, fmt.Errorf("%s in its configuration: %s: %w, which is %s: name a directory beside or below it",
				strings.TrimPrefix(strings.TrimPrefix(g.entry, byConfigDir), byConfig), g.path, errInHome, p.home)
		}
		path, ok := p.follow(g.path, create && kind != "")
		if ok && p.mayHave(g, path) {
			found = append(found, path)
		}
	}
	return distinct(found), nil
}

func (p paths) read(granted []grantedPath) []string {
	var found []string
	for _, g := range granted {
		if g.path == shim.Everything {
			return []string{shim.Everything}
		}
		if path, ok := p.follow(g.path, false); ok && p.mayHave(g, path) {
			found = append(found, path)
		}
	}
	return distinct(found)
}

// mayHave reports whether a path is outside of the home, or the operator wrote it.
func (p paths) mayHave(g grantedPath, path string) bool {
	return p.home == "" || !within(path, p.home) || g.byOperator() && path != p.home
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// maxLinks is how many links a path may have before it counts as a circle.
const maxLinks = 40

// follow returns where a path leads. It leads nowhere through a directory that the plugin
// may write: what lies there it has already, and a link that it puts there must not give it
// more. With create, directories that are missing are made.
func (p paths) follow(path string, create bool) (string, bool) {
	rest := strings.Split(filepath.Clean(path), "/")
	at := "/"
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		if slices.ContainsFunc(p.own, func(dir string) bool { return within(at, dir) }) {
			return "", false
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if create && errors.Is(err, fs.ErrNotExist) {
			if err = os.Mkdir(next, missingDir); err == nil {
				info, err = os.Lstat(next)
			}
		}
		if err != nil {
			return "", false
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return "", false
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, true
}
