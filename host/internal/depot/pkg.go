package depot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"aead.dev/minisign"
)

// pkg is a package in an open file. It is hashed once, by seal, and unpacked from the same
// file: nobody else may write to it in between.
type pkg struct {
	file      *os.File
	temporary bool   // the file is ours: it lies in the directory of downloads
	source    string // where it came from, for the lock and for messages
	signature []byte // minisign; nil = none

	size        int64
	sum         string           // SHA-256 of the whole, hex
	hashed      *minisign.Reader // knows the hash that signatures are of
	manifest    *Manifest
	manifestSum string // SHA-256, hex
}

// openPkg opens a package as it lies, to look into it.
func openPkg(name string) (*pkg, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	p := &pkg{file: f, source: name}
	if err := p.seal(); err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// openRegular opens a file that must be a regular one: not a pipe that nobody writes to.
func openRegular(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: no regular file", name, ErrPackage)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	return f, nil
}

// discard closes the file, and removes one that was fetched.
func (p *pkg) discard() {
	_ = p.file.Close() // what was read has been compared
	if p.temporary {
		_ = os.Remove(p.file.Name()) // one that is left is removed by a later install
	}
}

// seal hashes the file, as it is from now on, and reads its manifest.
func (p *pkg) seal() error {
	if err := p.digest(); err != nil {
		return err
	}
	return p.readManifest()
}

func (p *pkg) readManifest() error {
	return p.read(func(r *packageReader) error {
		p.manifest, p.manifestSum = r.manifest, r.manifestSum
		return nil
	})
}

// digest hashes the file.
func (p *pkg) digest() error {
	info, err := p.file.Stat()
	if err != nil {
		return fmt.Errorf("package: %w", err)
	}
	if p.size = info.Size(); p.size > maxPackage {
		return fmt.Errorf("%s: %w: %d bytes, want at most %d", p.source, ErrPackage, p.size, int64(maxPackage))
	}
	sum := sha256.New()
	p.hashed = minisign.NewReader(io.TeeReader(p.content(), sum))
	if _, err := io.Copy(io.Discard, p.hashed); err != nil {
		return fmt.Errorf("package: %w", err)
	}
	p.sum = hex.EncodeToString(sum.Sum(nil))
	return nil
}

func (p *pkg) content() io.Reader { return io.NewSectionReader(p.file, 0, p.size) }

// signedBy reports whether the signature is by the key.
func (p *pkg) signedBy(signer string) (bool, error) {
	key, err := parseKey(signer)
	if err != nil {
		return false, err
	}
	return p.hashed.Verify(key, p.signature), nil
}

// unpack writes the files for a platform into a new directory.
func (p *pkg) unpack(dir, platform string) error {
	return p.read(func(r *packageReader) error {
		if r.manifestSum != p.manifestSum {
			return fmt.Errorf("%w: it changed while it was read", ErrPackage)
		}
		return r.unpack(dir, platform)
	})
}

func (p *pkg) read(use func(*packageReader) error) error {
	r, err := newPackageReader(bufio.NewReaderSize(p.content(), 1<<16))
	if err == nil {
		err = use(r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.source, err)
	}
	return nil
}

// packageReader reads a package: the manifest first, then the files.
type packageReader struct {
	tar         *tar.Reader
	zip         *gzip.Reader
	raw         []byte // the manifest as it is
	manifest    *Manifest
	manifestSum string
}

// newPackageReader reads the beginning of a package and its manifest.
func newPackageReader(in *bufio.Reader) (*packageReader, error) {
	zip, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: gzip: %w", ErrPackage, err)
	}
	zip.Multistream(false)
	r := &packageReader{zip: zip, tar: tar.NewReader(zip)}
	head, err := r.next()
	if err != nil {
		return nil, err
	}
	if head == nil || head.Name != ManifestFile {
		return nil, fmt.Errorf("%w: the first entry is not %s", ErrPackage, ManifestFile)
	}
	if head.Size > maxManifest {
		return nil, fmt.Errorf("%w: %s has %d bytes, want at most %d", ErrPackage, ManifestFile, head.Size, maxManifest)
	}
	if r.raw, err = io.ReadAll(r.tar); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPackage, err)
	}
	if r.manifest, err = ParseManifest(r.raw); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(r.raw)
	r.manifestSum = hex.EncodeToString(sum[:])
	return r, nil
}

// next returns the next entry, nil at the end. Only regular files are taken.
func (r *packageReader) next() (*tar.Header, error) {
	head, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: tar: %w", ErrPackage, err)
	}
	if head.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("%w: entry %.200q is no regular file (type %q): links and devices are not taken", ErrPackage, head.Name, head.Typeflag)
	}
	return head, nil
}

// unpack writes the manifest and the files of a platform into a new directory. Every file
// must be one of the manifest, once, in order, with the hash that it says; none may lack.
func (r *packageReader) unpack(dir, platform string) error {
	if err := os.Mkdir(dir, dirMode); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	err = r.unpackFiles(root, platform)
	return errors.Join(err, root.Close())
}

func (r *packageReader) unpackFiles(root *os.Root, platform string) error {
	if err := writeFile(root, ManifestFile, bytes.NewReader(r.raw), File{SHA256: r.manifestSum, Size: int64(len(r.raw))}); err != nil {
		return err
	}
	for _, name := range sortedKeys(r.manifest.Files) {
		head, err := r.next()
		if err != nil {
			return err
		}
		if head == nil {
			return fmt.Errorf("%w: file %q is missing", ErrPackage, name)
		}
		if head.Name != name {
			return fmt.Errorf("%w: entry %.200q where the manifest has file %q", ErrPackage, head.Name, name)
		}
		out := root
		if !r.manifest.belongs(name, platform) {
			out = nil // of another platform: only compared
		}
		if err := writeFile(out, name, r.tar, r.manifest.Files[name]); err != nil {
			return err
		}
	}
	if head, err := r.next(); err != nil || head != nil {
		if head != nil {
			err = fmt.Errorf("%w: entry %.200q is not in the manifest", ErrPackage, head.Name)
		}
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(r.zip, maxManifest)); err != nil { // to the checksum
		return fmt.Errorf("%w: gzip: %w", ErrPackage, err)
	}
	return nil
}

// writeFile writes a new file and compares it; without a root it only compares.
func writeFile(root *os.Root, name string, in io.Reader, want File) error {
	hash := sha256.New()
	out := io.Writer(hash)
	var f *os.File
	if root != nil {
		mode := os.FileMode(0o444)
		if want.Executable {
			mode = 0o555
		}
		if dir := path.Dir(name); dir != "." {
			if err := root.MkdirAll(filepath.FromSlash(dir), dirMode); err != nil {
				return fmt.Errorf("unpack: %w", err)
			}
		}
		var err error
		if f, err = root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		out = io.MultiWriter(hash, f)
	}
	n, err := io.Copy(out, io.LimitReader(in, want.Size+1))
	if f != nil { // not synced: a tree that a crash leaves behind incomplete is refused by its hash
		err = errors.Join(err, f.Close())
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	switch {
	case err != nil:
		return fmt.Errorf("unpack %s: %w", name, err)
	case n > want.Size:
		return fmt.Errorf("%w: file %q has more than the %d bytes of the manifest", ErrPackage, name, want.Size)
	case sum != want.SHA256:
		return fmt.Errorf("%w: %w", ErrPackage, &MismatchError{What: "SHA-256 of " + name, Expected: want.SHA256, Found: sum, Accept: damaged})
	}
	return nil
}

// damaged is what to do about a package that is not what it says of itself.
const damaged = "get the package again: it is damaged or was tampered with, and cannot be accepted"
