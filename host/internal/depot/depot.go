package depot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

const (
	treesDir    = "plugins"
	downloadDir = ".download"
	mutexFile   = ".lock"

	dirMode = 0o700 // what runs with the host's rights is written by its owner only
)

// Depot keeps the plugins of one home. Its methods may be called at once, by several
// processes, too.
type Depot struct {
	home     string
	platform string
	stall    time.Duration // how long a download may bring nothing
	reserved []string      // commands that no plugin may have
}

// Open returns the depot of a home. It reads nothing and makes nothing.
func Open(home string) (*Depot, error) {
	abs, err := filepath.Abs(home)
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	return &Depot{home: abs, platform: Platform(), stall: stallTimeout}, nil
}

// Lock returns the lock; without a file it is empty.
func (d *Depot) Lock() (*Lock, error) { return readLock(d.home) }

// Dir returns the directory of a version's tree, which need not exist.
func (d *Depot) Dir(name, version string) string {
	return filepath.Join(d.home, treesDir, name, version)
}

// Installed returns the current version of each plugin of the lock, as they may be started
// on this platform. Each tree is compared with the lock: one that differs, or is missing,
// is returned with Refused set to why. The error is that of the lock.
func (d *Depot) Installed() ([]supervisor.Binary, error) {
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	out := make([]supervisor.Binary, 0, len(l.Plugins))
	for _, name := range l.Names() {
		b, err := d.binary(l, name, l.Plugins[name].Version)
		if err != nil {
			b.Refused = d.withAccept(err)
		}
		out = append(out, b)
	}
	return out, nil
}

// Binary returns one version of a plugin of the lock, compared with it: the error of a
// version that differs is a [*MismatchError]. An empty version is the current one.
func (d *Depot) Binary(name, version string) (supervisor.Binary, error) {
	l, err := d.Lock()
	if err != nil {
		return supervisor.Binary{}, err
	}
	return d.binary(l, name, version)
}

// Manifest returns the manifest of an installed version as it lies in its tree. An empty
// version is the current one.
func (d *Depot) Manifest(name, version string) (*Manifest, error) {
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	_, version, err = l.find(name, version)
	if err != nil {
		return nil, err
	}
	m, _, err := d.manifest(name, version)
	return m, err
}

// find returns a version of a plugin; an empty one is the current.
func (l *Lock) find(name, version string) (*Pinned, string, error) {
	p := l.Plugins[name]
	if p == nil {
		return nil, "", fmt.Errorf("plugin %q: %w", name, ErrNotInstalled)
	}
	if version == "" {
		version = p.Version
	}
	pinned := p.Versions[version]
	if pinned == nil {
		return nil, "", withHint(fmt.Errorf("plugin %s %s: %w; installed: %s", name, version, ErrNotInstalled, strings.Join(p.Sorted(), ", ")),
			fmt.Sprintf("install it beside the others: tasker plugin install %s@%s --index DIR|URL --beside, or its package: tasker plugin install FILE.tar.gz --beside", name, version))
	}
	return pinned, version, nil
}

// manifest reads the manifest of a tree, and its hash.
func (d *Depot) manifest(name, version string) (m *Manifest, sum string, err error) {
	raw, err := os.ReadFile(filepath.Join(d.Dir(name, version), ManifestFile))
	if err != nil {
		return nil, "", fmt.Errorf("plugin %s %s: %w", name, version, err)
	}
	if m, err = ParseManifest(raw); err != nil {
		return nil, "", fmt.Errorf("plugin %s %s: %w", name, version, err)
	}
	hash := sha256.Sum256(raw)
	return m, hex.EncodeToString(hash[:]), nil
}

// binary compares the tree of a version with the lock. With an error the result has what
// is known.
func (d *Depot) binary(l *Lock, name, version string) (supervisor.Binary, error) {
	b := supervisor.Binary{Name: name, Version: version}
	pinned, version, err := l.find(name, version)
	if err != nil {
		return b, err
	}
	b.Version, b.ManifestDigest, b.Granted = version, pinned.Manifest, &pinned.Permissions
	b.Path = d.Dir(name, version) // until the manifest says more
	want, _, ok := pinned.Tree(d.platform)
	if !ok {
		return b, &MismatchError{
			What: fmt.Sprintf("platform of %s %s", name, version), Expected: d.platform,
			Found: strings.Join(sortedKeys(pinned.Trees), ", "), Accept: "install a package that has it: tasker plugin install SOURCE",
		}
	}
	files, err := readTree(d.Dir(name, version))
	if errors.Is(err, os.ErrNotExist) {
		return b, &MismatchError{
			What: fmt.Sprintf("tree of %s %s", name, version), Expected: want, Found: "no directory " + d.Dir(name, version),
			Accept: "install what the lock says: tasker plugin install --locked",
		}
	}
	if err != nil {
		return b, err
	}
	if err := d.compareTree(name, version, want, files); err != nil {
		return b, err
	}
	m, _, err := d.manifest(name, version)
	if err != nil {
		return b, err
	}
	if err := d.compareManifest(m, name, version, pinned); err != nil {
		return b, err
	}
	executable, err := m.Executable(d.platform)
	if err != nil {
		return b, err
	}
	b.Path = filepath.Join(d.Dir(name, version), filepath.FromSlash(executable))
	b.SHA256, b.Manifest = files[executable], &m.Manifest
	return b, nil
}

// compareTree compares the hash of a tree with the one of the lock. Which files differ is
// what the manifest in the tree says; it is no proof, the manifest may be what differs.
func (d *Depot) compareTree(name, version, want string, files map[string]string) error {
	got := treeHash(files)
	if got == want {
		return nil
	}
	found := got
	if m, sum, err := d.manifest(name, version); err == nil {
		platform := d.platform
		if _, ok := m.Executables[platform]; !ok {
			platform = AnyPlatform
		}
		if what := differences(m.tree(platform, sum), files); what != "" {
			found += " (" + what + ")"
		} else {
			found += " (" + ManifestFile + " is another)"
		}
	}
	return &MismatchError{
		What: fmt.Sprintf("tree of %s %s", name, version), Expected: want, Found: found,
		Accept: fmt.Sprintf("accept what lies there: tasker plugin lock %[1]s@%[2]s; or get what the lock says: tasker plugin remove --tree %[1]s@%[2]s && tasker plugin install --locked %[1]s@%[2]s",
			name, version),
	}
}

// compareManifest compares what the manifest of a tree says with the lock.
func (d *Depot) compareManifest(m *Manifest, name, version string, pinned *Pinned) error {
	if m.Name != name || m.Version != version {
		return &MismatchError{
			What: "manifest in " + d.Dir(name, version), Expected: name + " " + version, Found: m.Name + " " + m.Version,
			Accept: fmt.Sprintf("tasker plugin remove %s@%s", name, version),
		}
	}
	digest, err := m.Digest()
	if err != nil {
		return fmt.Errorf("plugin %s %s: %w", name, version, err)
	}
	if digest != pinned.Manifest {
		return &MismatchError{
			What: fmt.Sprintf("manifest of %s %s", name, version), Expected: pinned.Manifest, Found: digest,
			Accept: fmt.Sprintf("accept what lies there: tasker plugin lock %s@%s", name, version),
		}
	}
	if m.Protocol != pinned.Protocol {
		return &MismatchError{
			What: fmt.Sprintf("protocol of %s %s", name, version), Expected: fmt.Sprintf("version %d", pinned.Protocol),
			Found: fmt.Sprintf("version %d", m.Protocol), Accept: fmt.Sprintf("accept what lies there: tasker plugin lock %s@%s", name, version),
		}
	}
	if err := m.supported(); err != nil {
		return err
	}
	// Its commands are nothing that a host runs: they need no approval for a start.
	return notApproved(m, pinned.Permissions, m.programs(), fmt.Sprintf("tasker plugin approve %s@%s", name, version))
}

// Activate makes an installed version the current one; the one that was current becomes
// the previous. It is compared with the lock first. Nothing changes when it is current.
func (d *Depot) Activate(name, version string) error {
	return d.change(func(l *Lock) error {
		if _, err := d.binary(l, name, version); err != nil {
			return err
		}
		l.Plugins[name].activate(version)
		return nil
	})
}

func (p *Locked) activate(version string) {
	if p.Version == version || version == "" {
		return
	}
	p.Previous, p.Version = p.Version, version
}

// Previous returns the version that was current before the current one.
func (d *Depot) Previous(name string) (string, error) {
	l, err := d.Lock()
	if err != nil {
		return "", err
	}
	if _, _, err := l.find(name, ""); err != nil {
		return "", err
	}
	if l.Plugins[name].Previous == "" {
		return "", fmt.Errorf("plugin %s: %w", name, ErrNoPrevious)
	}
	return l.Plugins[name].Previous, nil
}

// change changes the lock, alone: f works on what was read, and what it leaves is written.
func (d *Depot) change(f func(*Lock) error) error {
	return d.alone(func() error {
		l, err := d.Lock()
		if err != nil {
			return err
		}
		if err := f(l); err != nil {
			return err
		}
		return writeLock(d.home, l)
	})
}

// alone calls f while no other call, of no other process, changes the lock or the trees.
func (d *Depot) alone(f func() error) error {
	trees := filepath.Join(d.home, treesDir)
	if err := os.MkdirAll(trees, dirMode); err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(trees, mutexFile)).Lock()
	if err != nil {
		return fmt.Errorf("depot: %w", err)
	}
	defer unlock()
	return f()
}
