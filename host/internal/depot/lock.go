package depot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// LockFile is the name of the lock in a home.
const LockFile = "tasker.plugins.lock"

// lockFormat is the version of the form of the lock.
const lockFormat = 2

// lockFormatBefore is the one before, in which no commands were approved. It is read, and
// written as the current one with the next change.
const lockFormatBefore = 1

const maxLock = 16 << 20 // bytes

// Lock says which plugins were approved. It is made to be kept under version control:
// sorted, one fact per line, the same on all platforms.
type Lock struct {
	Format  int                `json:"format"`  // 2
	Plugins map[string]*Locked `json:"plugins"` // by name
}

// Locked is one plugin of a lock.
type Locked struct {
	Version  string             `json:"version"`            // the current one
	Previous string             `json:"previous,omitempty"` // the one before, to go back to
	Signer   string             `json:"signer,omitempty"`   // minisign public key; empty = packages are not signed
	Versions map[string]*Pinned `json:"versions"`           // all that were approved and not removed
}

// Pinned is one version of a plugin of a lock.
type Pinned struct {
	Source      string                 `json:"source"`             // where the package came from
	Protocol    int                    `json:"protocol"`           // major version of the wire
	Manifest    string                 `json:"manifest"`           // digest of what the plugin declares
	Permissions supervisor.Permissions `json:"permissions"`        // that were approved
	Commands    map[string]string      `json:"commands,omitempty"` // that were approved: name -> path of what it runs, "" = the plugin's executable
	Trees       map[string]string      `json:"trees"`              // SHA-256 of the unpacked tree, by platform
}

// Names returns the plugins of the lock, sorted.
func (l *Lock) Names() []string { return sortedKeys(l.Plugins) }

// Sorted returns the versions of a plugin, the lowest first.
func (p *Locked) Sorted() []string {
	versions := sortedKeys(p.Versions)
	slices.SortStableFunc(versions, compareVersions)
	return versions
}

// compareVersions compares two versions that are semver.
func compareVersions(a, b string) int {
	return semver.MustParse(a).Compare(semver.MustParse(b))
}

// Platforms returns the platforms whose trees are known, sorted.
func (p *Pinned) Platforms() []string { return sortedKeys(p.Trees) }

// Tree returns the hash of the tree for a platform, and for which platform it is.
func (p *Pinned) Tree(platform string) (hash, of string, ok bool) {
	for _, of := range []string{platform, AnyPlatform} {
		if hash, ok := p.Trees[of]; ok {
			return hash, of, true
		}
	}
	return "", platform, false
}

// ParseLock reads and checks a lock. It is strict: what it does not know it cannot keep.
func ParseLock(raw []byte) (*Lock, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLock, err)
	}
	if head.Format != lockFormat && head.Format != lockFormatBefore {
		return nil, fmt.Errorf("%w: format %d: this tasker reads formats %d and %d", ErrLock, head.Format, lockFormatBefore, lockFormat)
	}
	l := new(Lock)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLock, err)
	}
	if l.Plugins == nil {
		l.Plugins = make(map[string]*Locked)
	}
	var problems []error
	for _, name := range l.Names() {
		if err := l.Plugins[name].validate(name); err != nil {
			problems = append(problems, fmt.Errorf("%w: plugin %q: %w", ErrLock, name, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if l.Format == lockFormatBefore && l.hasCommands() {
		return nil, fmt.Errorf("%w: %w", ErrLock, errCommands)
	}
	l.Format = lockFormat
	return l, nil
}

func (l *Lock) hasCommands() bool {
	for _, p := range l.Plugins {
		for _, pinned := range p.Versions {
			if len(pinned.Commands) > 0 {
				return true
			}
		}
	}
	return false
}

func (p *Locked) validate(name string) error {
	switch {
	case !validName(name):
		return errors.New("want a name [a-z][a-z0-9-]{0,31}")
	case p == nil:
		return errors.New("want an object")
	case p.Versions[p.Version] == nil:
		return fmt.Errorf("version %q is not among its versions", p.Version)
	case p.Previous != "" && p.Versions[p.Previous] == nil:
		return fmt.Errorf("previous version %q is not among its versions", p.Previous)
	}
	if p.Signer != "" {
		if _, err := parseKey(p.Signer); err != nil {
			return fmt.Errorf("signer: %w", err)
		}
	}
	for version, pinned := range p.Versions {
		if err := pinned.validate(version); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pinned) validate(version string) error {
	switch {
	case !validVersion(version):
		return fmt.Errorf("version %q: want semver such as 1.2.3", version)
	case p == nil:
		return fmt.Errorf("version %s: want an object", version)
	case p.Protocol < 1:
		return fmt.Errorf("version %s: protocol %d: want at least 1", version, p.Protocol)
	case !validHash(p.Manifest):
		return fmt.Errorf("version %s: manifest %q: want 64 hex digits", version, p.Manifest)
	case len(p.Trees) == 0:
		return fmt.Errorf("version %s: want at least one tree", version)
	}
	for platform, hash := range p.Trees {
		if !validPlatform(platform) || !validHash(hash) {
			return fmt.Errorf("version %s: tree %q of %q: want 64 hex digits of a platform", version, hash, platform)
		}
	}
	if err := p.checkApprovedCommands(); err != nil {
		return fmt.Errorf("version %s: %w", version, err)
	}
	return nil
}

// readLock reads the lock of a home; one that does not exist is empty.
func readLock(home string) (*Lock, error) {
	name := filepath.Join(home, LockFile)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{Format: lockFormat, Plugins: make(map[string]*Locked)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lock: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxLock+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the lock: %w", err)
	}
	if len(raw) > maxLock {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrLock, maxLock)
	}
	l, err := ParseLock(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// writeLock replaces the lock of a home in one step.
func writeLock(home string, l *Lock) error {
	raw, err := encodeJSON(l) // maps are sorted by key
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(home, LockFile), raw)
}

// replaceFile writes a file beside another and renames it over that one.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone once it was renamed
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
