package depot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"aead.dev/minisign"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// CommandsFile is a file of a directory that is packed: the list of the commands that the
// plugin adds to the command line. It becomes part of the manifest.
const CommandsFile = "commands.json"

// PackRequest says what to pack.
type PackRequest struct {
	// Dir is a directory whose files are packed, without those whose names begin with a
	// dot; empty = none. Executables named tasker-plugin-* are found in OS-ARCH/ or
	// bin/OS-ARCH/, or as tasker-plugin-NAME-OS-ARCH; one without a platform in its name is
	// for this one, or for all when it is a script.
	Dir string
	// Binaries are executables, by platform; they win over those of Dir.
	Binaries map[string]string
	// Out is the directory for the package.
	Out string
	// Key signs the package; nil = it is not signed.
	Key *minisign.PrivateKey
	// Reserved are names that no command may have: those of the command line itself.
	Reserved []string
	// Describe asks an executable for its manifest. nil = as a host does.
	Describe func(ctx context.Context, executable string) (*supervisor.Manifest, error)
}

// Package is a package that was made.
type Package struct {
	Path      string
	Signature string // its path; empty = not signed
	SHA256    string
	Size      int64
	Manifest  *Manifest
}

// Pack makes a package: the same files give the same bytes. It starts the executable for
// this platform to ask it for its manifest.
func Pack(ctx context.Context, req *PackRequest) (*Package, error) {
	p := &packer{files: make(map[string]string), executables: make(map[string]string)}
	if err := p.collect(req); err != nil {
		return nil, err
	}
	m, err := p.describe(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, c := range m.Commands {
		if slices.Contains(req.Reserved, c.Name) {
			return nil, fmt.Errorf("%s: command %q is one of tasker's own: name it otherwise", CommandsFile, c.Name)
		}
	}
	raw, err := m.encode()
	if err != nil {
		return nil, err
	}
	if _, err := ParseManifest(raw); err != nil {
		return nil, err
	}
	out := &Package{Path: filepath.Join(req.Out, m.Name+"-"+m.Version+packageSuffix), Manifest: m}
	if err := p.write(out, raw); err != nil {
		return nil, err
	}
	if req.Key == nil {
		return out, nil
	}
	return out, sign(out, *req.Key)
}

func sign(out *Package, key minisign.PrivateKey) error {
	f, err := os.Open(out.Path)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	text, err := signFile(f, key, out.Manifest.Name+" "+out.Manifest.Version)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	out.Signature = out.Path + SignatureSuffix
	return replaceFile(out.Signature, text)
}

// packer collects what goes into a package.
type packer struct {
	files       map[string]string // path in the package -> file
	executables map[string]string // platform -> path in the package
	commands    []Command
}

// systems are the operating systems whose names are taken for platforms.
const systems = `(aix|android|darwin|dragonfly|freebsd|illumos|linux|netbsd|openbsd|solaris|windows)`

// architectures are likewise.
const architectures = `(386|amd64|arm|arm64|loong64|mips|mipsle|mips64|mips64le|ppc64|ppc64le|riscv64|s390x)`

// collect finds the files and the executables among them.
func (p *packer) collect(req *PackRequest) error {
	if req.Dir != "" {
		if err := p.collectDir(req.Dir); err != nil {
			return err
		}
	}
	for _, platform := range sortedKeys(req.Binaries) {
		file := req.Binaries[platform]
		if !validPlatform(platform) {
			return fmt.Errorf("platform %q of %s: want os/arch such as linux/amd64, or %s", platform, file, AnyPlatform)
		}
		if info, err := os.Stat(file); err != nil {
			return fmt.Errorf("pack: %w", err)
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("pack: %s is no regular file", file)
		}
		delete(p.files, p.executables[platform])
		p.executables[platform] = binDir + platformDir(platform) + "/" + filepath.Base(file)
		p.files[p.executables[platform]] = file
	}
	if len(p.executables) == 0 {
		return fmt.Errorf("%s has no executable named %sNAME, neither in itself nor in a directory such as linux-amd64", req.Dir, supervisor.BinaryPrefix)
	}
	return nil
}

func (p *packer) collectDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		info, err := root.Stat(filepath.FromSlash(name)) // of what a link within the directory leads to
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file: links to directories, sockets and devices cannot be packed", name)
		}
		return p.take(dir, name)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return nil
}

// take takes one file of a directory.
func (p *packer) take(dir, name string) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if name == CommandsFile {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&p.commands); err != nil {
			return fmt.Errorf("%s: want a list of {name, description, executable}: %w", CommandsFile, err)
		}
		return nil
	}
	if name == ManifestFile {
		return nil // it is made anew
	}
	inDir := regexp.MustCompile(`^(?:bin/)?` + systems + `[-_]` + architectures + `/(.+)$`)
	inName := regexp.MustCompile(`^(?:bin/)?(` + supervisor.BinaryPrefix + `[a-z0-9-]+?)[-_]` + systems + `[-_]` + architectures + `(\.exe)?$`)
	to, platform := name, ""
	if at := inDir.FindStringSubmatch(name); at != nil {
		platform = at[1] + "/" + at[2]
		to = binDir + platformDir(platform) + "/" + at[3]
		if !strings.HasPrefix(at[3], supervisor.BinaryPrefix) {
			platform = ""
		}
	} else if at := inName.FindStringSubmatch(name); at != nil {
		platform = at[2] + "/" + at[3]
		to = binDir + platformDir(platform) + "/" + at[1] + at[4]
	} else if strings.HasPrefix(name, supervisor.BinaryPrefix) && !strings.Contains(name, "/") {
		var err error
		if platform, err = platformOf(file); err != nil {
			return err
		}
		if platform != AnyPlatform {
			to = binDir + platformDir(platform) + "/" + name
		}
	}
	if other, taken := p.files[to]; taken {
		return fmt.Errorf("%s and %s are both %s of the package", other, file, to)
	}
	p.files[to] = file
	if platform == "" {
		return nil
	}
	if other, taken := p.executables[platform]; taken {
		return fmt.Errorf("%s and %s are both executables for %s", other, to, platform)
	}
	p.executables[platform] = to
	return nil
}

// platformOf says for which platform an executable is whose name does not tell.
func platformOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	head := make([]byte, 2)
	_, err = io.ReadFull(f, head)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if string(head) == "#!" {
		return AnyPlatform, nil
	}
	return Platform(), nil
}

// describe makes the manifest: what the executable says, and the hashes of the files.
func (p *packer) describe(ctx context.Context, req *PackRequest) (*Manifest, error) {
	native, ok := p.executables[Platform()]
	if !ok {
		native, ok = p.executables[AnyPlatform]
	}
	if !ok {
		return nil, fmt.Errorf("no executable for %s: it is asked for its manifest; there are %s", Platform(), strings.Join(sortedKeys(p.executables), ", "))
	}
	ask := req.Describe
	if ask == nil {
		ask = func(ctx context.Context, executable string) (*supervisor.Manifest, error) {
			return supervisor.Describe(ctx, executable, supervisor.Options{})
		}
	}
	said, err := ask(ctx, p.files[native])
	if err != nil {
		return nil, fmt.Errorf("ask %s for its manifest: %w", p.files[native], err)
	}
	if err := supervisor.CheckPointers(said); err != nil {
		return nil, fmt.Errorf("pack %s: %w", said.Name, err)
	}
	m := &Manifest{
		Manifest: *said, Format: manifestFormat, Protocol: pluginv1.ProtocolVersion, Executables: p.executables,
		Files: make(map[string]File, len(p.files)), Commands: p.commands,
	}
	if req.Key != nil {
		m.Signer = req.Key.Public().(minisign.PublicKey).String() //nolint:forcetypeassert,errcheck // its documentation says so
	}
	started := sortedValues(p.executables)
	for name, file := range p.files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("pack: %w", err)
		}
		sum, err := fileSum(file)
		if err != nil {
			return nil, err
		}
		m.Files[name] = File{SHA256: sum, Size: info.Size(), Executable: info.Mode().Perm()&0o100 != 0 || slices.Contains(started, name)}
	}
	return m, nil
}

func sortedValues(m map[string]string) []string {
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, m[k])
	}
	return out
}

// write writes the package. One of the same name with other content stays as it is.
func (p *packer) write(out *Package, manifest []byte) error {
	if err := os.MkdirAll(filepath.Dir(out.Path), 0o750); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(out.Path), ".pack-*")
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone once it was renamed
	sum := sha256.New()
	err = p.archive(io.MultiWriter(f, sum), out.Manifest, manifest)
	if err == nil {
		out.Size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("pack %s: %w", out.Path, err)
	}
	out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if old, err := fileSum(out.Path); err == nil && old != out.SHA256 {
		return &MismatchError{
			What: "package " + out.Path, Expected: "none, or SHA-256 " + out.SHA256, Found: old,
			Accept: "raise the plugin's version, or remove the file: rm " + out.Path,
		}
	}
	if err := os.Rename(f.Name(), out.Path); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// archive writes the tar.gz: the manifest, then the files in order, without times, owners
// and what else would differ from machine to machine.
func (p *packer) archive(w io.Writer, m *Manifest, manifest []byte) error {
	zip, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	out := tar.NewWriter(zip)
	if err := addEntry(out, ManifestFile, 0o644, int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return err
	}
	for _, name := range sortedKeys(m.Files) {
		if err := p.add(out, name, m.Files[name]); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), zip.Close())
}

func (p *packer) add(out *tar.Writer, name string, file File) error {
	f, err := os.Open(p.files[name])
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if file.Executable {
		mode = 0o755
	}
	sum := sha256.New()
	err = addEntry(out, name, mode, file.Size, io.TeeReader(f, sum))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != file.SHA256 {
		return fmt.Errorf("%s changed while it was packed", p.files[name])
	}
	return nil
}

func addEntry(out *tar.Writer, name string, mode, size int64, content io.Reader) error {
	head := &tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Mode: mode, Size: size, Format: tar.FormatPAX}
	if err := out.WriteHeader(head); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}

// fileSum is the SHA-256 of a file, hex.
func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("pack: %w", err)
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("pack: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
