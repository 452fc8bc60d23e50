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
	return d.change(func(l *Lock) error {
		_, _, err := l.find(name, version)
		if err != nil {
			return err
		}
		p := l.Plugins[name]
		if version == "" || len(p.Versions) == 1 {
			delete(l.Plugins, name)
			return removeTree(filepath.Join(d.home, treesDir, name))
		}
		if version == p.Version {
			return fmt.Errorf("plugin %s %s is the current version: %w; remove the whole plugin, or make another version current first", name, version, ErrInUse)
		}
		if p.Previous == version {
			p.Previous = ""
		}
		delete(p.Versions, version)
		return removeTree(d.Dir(name, version))
	})
}

// RemoveTree removes the tree of a version and leaves the lock as it is: an install with
// Locked brings back what the lock says. The lock need not have it.
func (d *Depot) RemoveTree(name, version string) error {
	return d.change(func(l *Lock) error {
		_, found, err := l.find(name, version)
		if err == nil {
			version = found
		} else if _, stat := os.Stat(d.Dir(name, version)); stat != nil || !validName(name) || !validVersion(version) {
			return err // what an install left that did not end may go
		}
		return removeTree(d.Dir(name, version))
	})
}

func removeTree(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// Approve approves all that an installed version asks for, and returns what was new. Its
// tree must be what the lock says.
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
		before := pinned.Permissions
		added = Beyond(m.Permissions, before)
		pinned.Permissions = m.Permissions
		if _, err := d.binary(l, name, version); err != nil {
			pinned.Permissions = before
			return err
		}
		return nil
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
// added. Permissions are not approved by it. Nothing is returned for what was right.
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
				What: "tree " + tree, Expected: "one of the lock", Found: name + " " + version, Accept: "install it from its package, or remove it: rm -r " + tree,
			}})
		}
	}
	return out, nil
}
