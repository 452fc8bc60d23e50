package depot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Remove removes a version of a plugin, its tree and its place in the lock; without a
// version the whole plugin. The current version can only be removed with the plugin, or
// when it is the only one.
func (d *Depot) Remove(name, version string) error {
	return d.alone(func() error {
		l, err := d.Lock()
		if err != nil {
			return err
		}
		dir, err := d.remove(l, name, version)
		if err != nil {
			return err
		}
		// In this order: a crash in between leaves a tree that nobody starts, not a lock
		// that names a plugin without one.
		if err := writeLock(d.home, l); err != nil {
			return err
		}
		return d.removeTree(dir)
	})
}

// remove takes a version out of a lock, and returns the directory that goes with it.
func (d *Depot) remove(l *Lock, name, version string) (dir string, err error) {
	if _, _, err := l.find(name, version); err != nil {
		if d.left(name, version) {
			return d.Dir(name, version), nil
		}
		return "", err
	}
	p := l.Plugins[name]
	if version == "" || len(p.Versions) == 1 {
		delete(l.Plugins, name)
		return d.Dir(name, ""), nil
	}
	if version == p.Version {
		return "", withHint(fmt.Errorf("plugin %s %s is the current version: %w", name, version, ErrInUse),
			fmt.Sprintf("remove the whole plugin: tasker plugin remove %s; or make another version current first: tasker plugin upgrade %s --to VERSION", name, name))
	}
	if p.Previous == version {
		p.Previous = ""
	}
	delete(p.Versions, version)
	return d.Dir(name, version), nil
}

// left reports whether there are files of a version, or of a plugin, that the lock does not
// have: an install or a removal did not end.
func (d *Depot) left(name, version string) bool {
	if !validName(name) || version != "" && !validVersion(version) {
		return false
	}
	_, err := os.Stat(d.Dir(name, version))
	return err == nil
}

// RemoveTree removes the tree of a version and leaves the lock as it is: an install with
// Locked brings back what the lock says. The lock need not have it.
func (d *Depot) RemoveTree(name, version string) error {
	return d.alone(func() error {
		l, err := d.Lock()
		if err != nil {
			return err
		}
		_, found, err := l.find(name, version)
		if err == nil {
			version = found
		} else if version == "" || !d.left(name, version) {
			return err
		}
		return d.removeTree(d.Dir(name, version))
	})
}

// removeTree removes a directory of trees. It is moved out of the way first: half a tree is
// nowhere, and what is left is swept by the next call or install.
func (d *Depot) removeTree(dir string) error {
	d.sweepStages()
	stage, err := os.MkdirTemp(filepath.Join(d.home, treesDir), stagePrefix+"*")
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	err = os.Rename(dir, filepath.Join(stage, "tree"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, os.RemoveAll(stage)); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// Approve approves all that an installed version asks for, and its commands, and returns
// what was new, one phrase each. Its tree must be what the lock says.
func (d *Depot) Approve(name, version string) (added []string, err error) {
	err = d.change(func(l *Lock) error {
		pinned, version, err := l.find(name, version)
		if err != nil {
			return err
		}
		m, _, err := d.manifest(name, version)
		if err != nil {
			return err
		}
		added = append(Beyond(m.Permissions, pinned.Permissions), phrases(newCommands(m, pinned.Commands))...)
		if err := d.clash(l, m); err != nil {
			return err
		}
		pinned.Permissions, pinned.Commands = m.Permissions, m.programs()
		_, err = d.binary(l, name, version)
		return err // with one nothing is written
	})
	return added, err
}

// Relocked is what a lock was made to say.
type Relocked struct {
	Name     string
	Version  string
	Platform string
	Before   string // hash of the tree; empty = none
	After    string
	Manifest bool // the digest of the manifest changed, too
}

// Relock makes the lock say what lies in the tree of a version; an empty version is the
// current one. With platforms that the manifest has and the lock has not, their hashes are
// added. Permissions and commands are not approved by it. Nothing is returned for what was right.
func (d *Depot) Relock(name, version string) (changed []Relocked, err error) {
	err = d.change(func(l *Lock) error {
		pinned, version, err := l.find(name, version)
		if err != nil {
			return err
		}
		changed, err = d.relock(pinned, name, version)
		return err
	})
	return changed, err
}

func (d *Depot) relock(pinned *Pinned, name, version string) ([]Relocked, error) {
	m, sum, err := d.manifest(name, version)
	if err != nil {
		return nil, err
	}
	if m.Name != name || m.Version != version {
		return nil, d.compareManifest(m, name, version, pinned)
	}
	if err := m.supported(); err != nil {
		return nil, err
	}
	files, err := readTree(d.Dir(name, version))
	if err != nil {
		return nil, err
	}
	digest, err := m.Digest()
	if err != nil {
		return nil, fmt.Errorf("plugin %s %s: %w", name, version, err)
	}
	trees := m.treeHashes(sum)
	native := d.platform
	if _, ok := trees[native]; !ok {
		native = AnyPlatform
	}
	trees[native] = treeHash(files) // what lies there, whatever the manifest says
	var changed []Relocked
	for _, platform := range sortedKeys(trees) {
		before := pinned.Trees[platform]
		if before != trees[platform] {
			changed = append(changed, Relocked{
				Name: name, Version: version, Platform: platform, Before: before, After: trees[platform], Manifest: digest != pinned.Manifest,
			})
		}
	}
	pinned.Trees, pinned.Manifest, pinned.Protocol = trees, digest, m.Protocol
	return changed, nil
}

// Finding is what became of comparing one version of a plugin with the lock.
type Finding struct {
	Name    string
	Version string
	Current bool
	Err     error // nil = it is what the lock says
	Absent  bool  // Err is that there is no tree, as of a version that is not current may be
}

// Verify compares every version of the lock with its tree, and names trees that the lock
// does not have.
func (d *Depot) Verify() ([]Finding, error) {
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, name := range l.Names() {
		for _, version := range l.Plugins[name].Sorted() {
			_, err := d.binary(l, name, version)
			if err == nil {
				err = d.verifyCommands(l, name, version)
			}
			_, stat := os.Stat(d.Dir(name, version))
			out = append(out, Finding{
				Name: name, Version: version, Current: version == l.Plugins[name].Version, Err: err, Absent: errors.Is(stat, os.ErrNotExist),
			})
		}
	}
	strays, err := d.strays(l)
	return append(out, strays...), err
}

// strays lists the trees that the lock does not have.
func (d *Depot) strays(l *Lock) ([]Finding, error) {
	dirs, err := filepath.Glob(filepath.Join(d.home, treesDir, "*", "*", ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	var out []Finding
	for _, dir := range dirs {
		tree := filepath.Dir(dir)
		name, version := filepath.Base(filepath.Dir(tree)), filepath.Base(tree)
		if strings.HasPrefix(name, ".") {
			continue
		}
		if _, _, err := l.find(name, version); err != nil {
			out = append(out, Finding{Name: name, Version: version, Err: &MismatchError{
				What: "tree " + tree, Expected: "one of the lock", Found: name + " " + version, Accept: fmt.Sprintf("install it from its package, or remove it: tasker plugin remove --tree %s@%s", name, version),
			}})
		}
	}
	return out, nil
}
