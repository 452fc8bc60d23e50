package depot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// ManifestFile is the name of the manifest in a package and in its tree.
const ManifestFile = "manifest.json"

// manifestFormat is the version of the form of manifest.json.
const manifestFormat = 1

// AnyPlatform stands for all platforms: an executable that is a script.
const AnyPlatform = "any"

// Limits of a package.
const (
	maxManifest = 4 << 20 // bytes
	maxFiles    = 20_000
	maxPath     = 240     // bytes
	maxPackage  = 1 << 30 // bytes, packed
	maxUnpacked = 4 << 30 // bytes, all files
	maxCommands = 32
)

// Manifest is manifest.json: what the plugin declares, and what the package adds.
type Manifest struct {
	supervisor.Manifest

	Format   int    `json:"format"`           // 1
	Protocol int    `json:"protocol"`         // major version of the wire
	Signer   string `json:"signer,omitempty"` // minisign public key; empty = the package is not signed
	// Executables are paths in the tree, by platform ("linux/amd64", or "any").
	Executables map[string]string `json:"executables"`
	Files       map[string]File   `json:"files"` // by path in the tree; manifest.json is not one
	Commands    []Command         `json:"commands,omitempty"`
}

// File is one file of a package.
type File struct {
	SHA256     string `json:"sha256"` // hex
	Size       int64  `json:"size"`
	Executable bool   `json:"executable,omitempty"`
}

// Command is a verb that a plugin adds to the command line.
type Command struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Executable is a path in the tree; empty = the plugin's executable for the platform.
	Executable string `json:"executable,omitempty"`
}

// Platform is the platform of this process, "linux/amd64".
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// ParseManifest reads and checks manifest.json. Keys that it does not know are ignored.
// The error lists every problem.
func ParseManifest(raw []byte) (*Manifest, error) {
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("%w: %s has %d bytes, want at most %d", ErrPackage, ManifestFile, len(raw), maxManifest)
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrPackage, ManifestFile, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s: more than one JSON value", ErrPackage, ManifestFile)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrPackage, ManifestFile, err)
	}
	return m, nil
}

// validate checks what the depot relies on. What the plugin declares of handlers and
// events is checked when its process says the same.
func (m *Manifest) validate() error {
	var problems []error
	failf := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if m.Format != manifestFormat {
		failf("format %d: this tasker reads format %d", m.Format, manifestFormat)
	}
	if m.Protocol < 1 {
		failf("protocol %d: want at least 1", m.Protocol)
	}
	if !validName(m.Name) {
		failf("name %q: want [a-z][a-z0-9-]{0,31}, and not %s...", m.Name, supervisor.BinaryPrefix)
	}
	if !validVersion(m.Version) {
		failf("version %q: want semver such as 1.2.3", m.Version)
	}
	if m.Signer != "" {
		if _, err := parseKey(m.Signer); err != nil {
			failf("signer: %w", err)
		}
	}
	problems = append(problems, m.checkFiles()...)
	problems = append(problems, m.checkExecutables()...)
	problems = append(problems, m.checkCommands()...)
	return errors.Join(problems...)
}

func (m *Manifest) checkFiles() (problems []error) {
	if len(m.Files) > maxFiles {
		return []error{fmt.Errorf("%d files: want at most %d", len(m.Files), maxFiles)}
	}
	folded := make(map[string]string, len(m.Files))
	total := int64(0)
	for _, name := range sortedKeys(m.Files) {
		f := m.Files[name]
		if err := checkPath(name); err != nil {
			problems = append(problems, err)
			continue
		}
		if other, taken := folded[strings.ToLower(name)]; taken {
			problems = append(problems, fmt.Errorf("files %q and %q differ only in case", other, name))
		}
		folded[strings.ToLower(name)] = name
		if !validHash(f.SHA256) {
			problems = append(problems, fmt.Errorf("file %q: sha256 %q: want 64 hex digits", name, f.SHA256))
		}
		if f.Size < 0 || f.Size > maxUnpacked {
			problems = append(problems, fmt.Errorf("file %q: size %d: want 0 to %d", name, f.Size, int64(maxUnpacked)))
		} else if total += f.Size; total > maxUnpacked {
			return append(problems, fmt.Errorf("files: want at most %d bytes in all", int64(maxUnpacked)))
		}
	}
	for name := range folded {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if file, ok := folded[dir]; ok {
				problems = append(problems, fmt.Errorf("file %q is a directory of another", file))
			}
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

func (m *Manifest) checkExecutables() (problems []error) {
	if len(m.Executables) == 0 {
		return []error{errors.New("executables: want at least one platform")}
	}
	for _, platform := range sortedKeys(m.Executables) {
		name := m.Executables[platform]
		switch f, ok := m.Files[name]; {
		case !validPlatform(platform):
			problems = append(problems, fmt.Errorf("platform %q: want os/arch such as linux/amd64, or %s", platform, AnyPlatform))
		case !ok:
			problems = append(problems, fmt.Errorf("executable %q of %s is not among the files", name, platform))
		case !f.Executable:
			problems = append(problems, fmt.Errorf("executable %q of %s is not marked as executable", name, platform))
		case !m.belongs(name, platform):
			problems = append(problems, fmt.Errorf("executable %q of %s lies below the directory of another platform", name, platform))
		}
	}
	return problems
}

func (m *Manifest) checkCommands() (problems []error) {
	if len(m.Commands) > maxCommands {
		problems = append(problems, fmt.Errorf("%d commands: want at most %d", len(m.Commands), maxCommands))
	}
	seen := make(map[string]bool, len(m.Commands))
	for _, c := range m.Commands {
		if !task.ValidPluginName(c.Name) || seen[c.Name] {
			problems = append(problems, fmt.Errorf("command %q: want a name [a-z][a-z0-9-]{0,31}, once", c.Name))
		}
		seen[c.Name] = true
		if f := m.Files[c.Executable]; c.Executable != "" && !f.Executable {
			problems = append(problems, fmt.Errorf("command %q: executable %q is not among the executable files", c.Name, c.Executable))
		}
	}
	return problems
}

// Executable returns the path in the tree of the executable for a platform.
func (m *Manifest) Executable(platform string) (string, error) {
	for _, p := range []string{platform, AnyPlatform} {
		if name, ok := m.Executables[p]; ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s %s has no executable for %s, only for %s", m.Name, m.Version, platform, strings.Join(m.Platforms(), ", "))
}

// Platforms returns the platforms that have an executable, sorted.
func (m *Manifest) Platforms() []string { return sortedKeys(m.Executables) }

// belongs reports whether a file is part of the tree of a platform: it is unless it lies
// below bin/OS-ARCH/ of another one.
func (m *Manifest) belongs(name, platform string) bool {
	dir, _, ok := strings.Cut(strings.TrimPrefix(name, binDir), "/")
	if !ok || !strings.HasPrefix(name, binDir) {
		return true
	}
	for p := range m.Executables {
		if p != platform && p != AnyPlatform && dir == platformDir(p) {
			return false
		}
	}
	return true
}

// binDir is where the files of single platforms lie, one directory each.
const binDir = "bin/"

// platformDir is the name of a platform's directory: "linux-amd64".
func platformDir(platform string) string { return strings.ReplaceAll(platform, "/", "-") }

// encode returns the manifest as canonical JSON: keys sorted, numbers as they are, one
// line feed at the end.
func (m *Manifest) encode() ([]byte, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest of %s: %w", m.Name, err)
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("encode the manifest of %s: %w", m.Name, err)
	}
	return encodeJSON(doc)
}

// encodeJSON writes a document for people and for diffs.
func encodeJSON(doc any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return out.Bytes(), nil
}

// supported checks that this host speaks the plugin's protocol.
func (m *Manifest) supported() error {
	if m.Protocol == pluginv1.ProtocolVersion {
		return nil
	}
	return &MismatchError{
		What: fmt.Sprintf("protocol of %s %s", m.Name, m.Version), Expected: fmt.Sprintf("version %d", pluginv1.ProtocolVersion),
		Found: fmt.Sprintf("version %d", m.Protocol), Accept: "use a tasker and a plugin of the same protocol",
	}
}

// checkPath checks the path of a file in a package: relative, clean, with slashes, and
// with nothing in it that some system would read differently.
func checkPath(name string) error {
	switch {
	case name == ManifestFile:
		return fmt.Errorf("path %q: the manifest does not list itself", name)
	case name == "" || len(name) > maxPath || !utf8.ValidString(name):
		return fmt.Errorf("path %.80q: want 1 to %d bytes of UTF-8", name, maxPath)
	case path.IsAbs(name) || path.Clean(name) != name || name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return fmt.Errorf("path %q: want one within the package, without \".\" and \"..\"", name)
	case strings.ContainsAny(name, `\:*?"<>|`) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("path %q: want none of \\ : * ? \" < > | and no control characters", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") {
			return fmt.Errorf("path %q: want no part that ends in a dot or a blank", name)
		}
	}
	return nil
}

func validName(name string) bool {
	return task.ValidPluginName(name) && !strings.HasPrefix(name, supervisor.BinaryPrefix)
}

func validVersion(version string) bool {
	_, err := semver.StrictNewVersion(version)
	return err == nil && len(version) <= 100
}

func validHash(hash string) bool {
	raw, err := hex.DecodeString(hash)
	return err == nil && len(raw) == sha256.Size && strings.ToLower(hash) == hash
}

func validPlatform(platform string) bool {
	return platform == AnyPlatform || regexp.MustCompile(`^[a-z0-9]{1,20}/[a-z0-9]{1,20}$`).MatchString(platform)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
