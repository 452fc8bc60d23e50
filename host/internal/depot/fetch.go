package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// abandonedAfter is how old a part of a download gets before it is removed.
const abandonedAfter = 7 * 24 * time.Hour

// fetch brings the package of a request into a file of the home, sealed, and checks that
// it is the one that was asked for.
func (d *Depot) fetch(ctx context.Context, req *InstallRequest) (*pkg, error) {
	if isURL(req.Source) {
		return d.fetchURL(ctx, req.Source, nil, req.Progress)
	}
	name, version, isName := parseRef(req.Source)
	if _, err := os.Stat(req.Source); err == nil || !isName {
		return d.fetchFile(req.Source, nil, req.Progress)
	}
	p, err := d.fetchNamed(ctx, req, name, version)
	if err != nil {
		return nil, err
	}
	if p.manifest.Name != name || version != "" && p.manifest.Version != version {
		p.discard()
		return nil, &MismatchError{
			What: "package " + p.source, Expected: req.Source, Found: p.manifest.Name + " " + p.manifest.Version,
			Accept: "if that is what you want, install it by its own name, or by its file",
		}
	}
	return p, nil
}

// parseRef takes NAME[@VERSION] apart.
func parseRef(ref string) (name, version string, ok bool) {
	name, version, at := strings.Cut(ref, "@")
	return name, version, validName(name) && (!at || validVersion(version))
}

// fetchNamed finds the package of a plugin in the index, or where the lock says that it
// came from.
func (d *Depot) fetchNamed(ctx context.Context, req *InstallRequest, name, version string) (*pkg, error) {
	if req.Index != "" {
		return d.fetchIndexed(ctx, req, name, version)
	}
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	pinned, _, err := l.find(name, version)
	if err != nil || !req.Locked && version == "" {
		return nil, withHint(fmt.Errorf("%q is no file, and no index was named that may have it", req.Source),
			"tasker plugin install "+req.Source+" --index DIR|URL, or name a package: tasker plugin install FILE.tar.gz")
	}
	if isURL(pinned.Source) {
		return d.fetchURL(ctx, pinned.Source, nil, req.Progress)
	}
	return d.fetchFile(pinned.Source, nil, req.Progress)
}

func (d *Depot) fetchIndexed(ctx context.Context, req *InstallRequest, name, version string) (*pkg, error) {
	x, err := OpenIndex(ctx, req.Index)
	if err != nil {
		return nil, err
	}
	if req.Locked && version == "" {
		if l, err := d.Lock(); err == nil && l.Plugins[name] != nil {
			version = l.Plugins[name].Version
		}
	}
	e, err := x.Find(name, version, d.platform)
	if err != nil {
		return nil, withHint(err, "tasker plugin search "+name+" --index "+redact(req.Index))
	}
	at, err := e.locate(req.Index)
	if err != nil {
		return nil, err
	}
	if isURL(at) {
		return d.fetchURL(ctx, at, e, req.Progress)
	}
	return d.fetchFile(at, e, req.Progress)
}

// fetchFile copies a package of a file system: others may write to theirs while ours is
// looked at.
func (d *Depot) fetchFile(name string, e *Entry, progress func(done, total int64)) (*pkg, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	from, err := openRegular(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(err, "name a package, FILE.tar.gz; or a plugin of an index: tasker plugin install NAME --index DIR|URL")
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }() // it was only read
	p, err := d.newPkg(abs)
	if err != nil {
		return nil, err
	}
	if err := p.copy(from, abs, e, progress); err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// copy takes the content and the signature of a package that lies in a file.
func (p *pkg) copy(from *os.File, name string, e *Entry, progress func(done, total int64)) error {
	n, err := io.Copy(p.file, io.LimitReader(from, maxPackage+1))
	if err != nil {
		return fmt.Errorf("package: %w", err)
	}
	if progress != nil {
		progress(n, n)
	}
	if err := p.sealAs(e); err != nil {
		return err
	}
	p.signature, err = readSignature(name + SignatureSuffix)
	return err
}

// readSignature reads the signature beside a package; nil when there is none.
func readSignature(name string) ([]byte, error) {
	f, err := openRegular(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSignature+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if len(raw) > maxSignature {
		return nil, fmt.Errorf("signature %s: more than %d bytes", name, maxSignature)
	}
	return raw, nil
}

// sealAs seals what must be the package of an entry; nil is any package.
func (p *pkg) sealAs(e *Entry) error {
	if err := p.digest(); err != nil {
		return err
	}
	if e != nil && p.sum != e.SHA256 {
		return &MismatchError{
			What: fmt.Sprintf("SHA-256 of package %s %s", e.Name, e.Version), Expected: e.SHA256 + " (index)", Found: p.sum,
			Accept: "if the package is right and the index is not: tasker plugin index DIR",
		}
	}
	return p.readManifest()
}

// newPkg makes an empty package in the directory of downloads.
func (d *Depot) newPkg(source string) (*pkg, error) {
	dir := filepath.Join(d.home, treesDir, downloadDir)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	sweep(filepath.Join(dir, "*"), time.Now().Add(-abandonedAfter))
	f, err := os.CreateTemp(dir, "*.part")
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return &pkg{file: f, temporary: true, source: source}, nil
}

// sweep removes what was left behind before a time, as far as it can.
func sweep(pattern string, before time.Time) {
	left, err := filepath.Glob(pattern)
	if err != nil {
		return // a home whose name is a bad pattern keeps it
	}
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.ModTime().Before(before) {
			_ = os.RemoveAll(name) // the next sweep tries again
		}
	}
}
