package depot

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// plugin is a plugin that a test packs.
type plugin struct {
	name        string // default greeter
	version     string // default 1.0.0
	permissions supervisor.Permissions
	content     string // of the executable
	key         *minisign.PrivateKey
	files       map[string]string // more files
}

// pack packs a plugin for two platforms into a fresh directory.
func (p plugin) pack(t *testing.T) *Package {
	t.Helper()
	return p.packInto(t, t.TempDir())
}

func (p plugin) packInto(t *testing.T, out string) *Package {
	t.Helper()
	if p.name == "" {
		p.name = "greeter"
	}
	if p.version == "" {
		p.version = "1.0.0"
	}
	dir := t.TempDir()
	here := strings.ReplaceAll(Platform(), "/", "-")
	files := map[string]string{
		here + "/tasker-plugin-" + p.name:         "this platform " + p.version + p.content,
		"plan9-386/ignored":                       "not a platform that is known: for all",
		"freebsd-riscv64/tasker-plugin-" + p.name: "another platform",
		"share/text.txt":                          "for all",
		".hidden/secret":                          "not packed",
	}
	maps.Copy(files, p.files)
	for name, content := range files {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	made, err := Pack(t.Context(), &PackRequest{Dir: dir, Out: out, Key: p.key, Describe: p.describe})
	if err != nil {
		t.Fatalf("Pack() error = %v", err)
	}
	return made
}

// describe answers as the executable would.
func (p plugin) describe(context.Context, string) (*supervisor.Manifest, error) {
	return &supervisor.Manifest{
		Name: p.name, Version: p.version, Title: "Greets <guests> & others", Permissions: p.permissions,
		Handlers:      []supervisor.Handler{{Name: "greet", Version: 1, InputSchema: []byte(`{"maximum": 1e400, "type":"object"}`), Timeout: 1500}},
		Subscriptions: []supervisor.Subscription{{Name: "all", Events: []string{"task.*"}, Order: supervisor.OrderGlobal}},
	}, nil
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) *minisign.PrivateKey {
	t.Helper()
	dir := t.TempDir()
	if _, err := GenerateKey(filepath.Join(dir, "k"), filepath.Join(dir, "k.pub"), ""); err != nil {
		t.Fatal(err)
	}
	key, err := ReadKey(filepath.Join(dir, "k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &key
}

func publicOf(key *minisign.PrivateKey) string {
	return key.Public().(minisign.PublicKey).String() //nolint:forcetypeassert,errcheck // its documentation says so
}

func newDepot(t *testing.T) *Depot {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// yes approves everything.
func yes(context.Context, *Offer) (bool, error) { return true, nil }

// install installs a package that must be accepted.
func install1(t *testing.T, d *Depot, req InstallRequest) *Installation {
	t.Helper()
	if req.Approve == nil {
		req.Approve = yes
	}
	in, err := d.Install(t.Context(), req)
	if err != nil {
		t.Fatalf("Install(%s) error = %v", req.Source, err)
	}
	return in
}

// wantMismatch checks that an error says what was expected, what was found, and how to
// accept it.
func wantMismatch(t *testing.T, err error, expected, found, accept string) {
	t.Helper()
	m, ok := errors.AsType[*MismatchError](err)
	if !ok {
		t.Fatalf("error = %v, want a MismatchError", err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"expected", m.Expected, expected}, {"found", m.Found, found}, {"accept", m.Accept, accept},
	} {
		if !strings.Contains(c.got, c.want) || c.got == "" {
			t.Errorf("%s: %q, want it to contain %q (%v)", c.what, c.got, c.want, err)
		}
	}
}

// lockText returns the lock as it lies in the home.
func lockText(t *testing.T, d *Depot) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(d.home, LockFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}

// tamper replaces the content of a read-only file.
func tamper(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(raw), info.Mode()); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit in the middle.
func flip(raw []byte) []byte {
	raw[len(raw)/2] ^= 1
	return raw
}
