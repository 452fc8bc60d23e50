package depot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

func TestInstall(t *testing.T) {
	d := newDepot(t)
	pkg := plugin{permissions: supervisor.Permissions{Network: "any"}}.pack(t)
	var offers []*Offer
	in := install1(t, d, InstallRequest{Source: pkg.Path, Approve: func(_ context.Context, o *Offer) (bool, error) {
		offers = append(offers, o)
		return true, nil
	}})
	if len(offers) != 1 || !offers[0].First || !slices.Equal(offers[0].New, []string{"network any"}) {
		t.Fatalf("offers = %+v, want one of a first install that asks for network", offers)
	}
	if !in.Current || in.Already || in.Previous != "" {
		t.Errorf("Install() = %+v, want a new current version", in)
	}
	got, err := d.Installed()
	if err != nil || len(got) != 1 || got[0].Refused != nil {
		t.Fatalf("Installed() = %+v, %v, want one plugin", got, err)
	}
	b := got[0]
	digest, err := pkg.Manifest.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != "greeter" || b.Version != "1.0.0" || b.ManifestDigest != digest || b.Granted.Network != "any" {
		t.Errorf("Installed() = %+v, want greeter 1.0.0 as packed (%s)", b, digest)
	}
	if sum, err := fileSum(b.Path); err != nil || sum != b.SHA256 {
		t.Errorf("SHA256 = %s, want %s, %v", b.SHA256, sum, err)
	}
	if info, err := os.Stat(b.Path); err != nil || info.Mode().Perm()&0o500 != 0o500 {
		t.Errorf("the executable is %v, %v; want one", info, err)
	}
	for name, want := range map[string]bool{"share/text.txt": true, "bin/freebsd-riscv64": false, ".hidden": false} {
		if _, err := os.Stat(filepath.Join(in.Dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", name, err == nil, want)
		}
	}
	before := lockText(t, d)
	if again := install1(t, d, InstallRequest{Source: pkg.Path}); !again.Already || lockText(t, d) != before {
		t.Errorf("a second install = %+v, want nothing changed", again)
	}
}

// TestUpgradeAndBack: versions lie beside each other, one is current, and there is a way back.
func TestUpgradeAndBack(t *testing.T) {
	d := newDepot(t)
	if _, err := d.Previous("greeter"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Previous() error = %v, want ErrNotInstalled", err)
	}
	install1(t, d, InstallRequest{Source: plugin{}.pack(t).Path})
	if _, err := d.Previous("greeter"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("Previous() error = %v, want ErrNoPrevious", err)
	}
	second := plugin{version: "1.1.0"}.pack(t).Path
	// Nothing new is asked for, so nobody is asked.
	in, err := d.Install(t.Context(), InstallRequest{Source: second, Beside: true})
	if err != nil || in.Current {
		t.Fatalf("Install() = %+v, %v, want a version beside the current one", in, err)
	}
	b, err := d.Binary("greeter", "")
	if err != nil || b.Version != "1.0.0" {
		t.Errorf("current = %s, %v, want 1.0.0", b.Version, err)
	}
	if b, err = d.Binary("greeter", "1.1.0"); err != nil || b.Version != "1.1.0" {
		t.Errorf("Binary(1.1.0) = %+v, %v, want it ready to be started", b, err)
	}
	for _, step := range []struct{ to, previous string }{{"1.1.0", "1.0.0"}, {"1.1.0", "1.0.0"}, {"1.0.0", "1.1.0"}} {
		if err := d.Activate("greeter", step.to); err != nil {
			t.Fatalf("Activate(%s) error = %v", step.to, err)
		}
		if got, err := d.Previous("greeter"); err != nil || got != step.previous {
			t.Errorf("Previous() = %q, %v, want %q", got, err, step.previous)
		}
	}
	if err := d.Activate("greeter", "9.0.0"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Activate(9.0.0) error = %v, want ErrNotInstalled", err)
	}
	if err := d.Remove("greeter", "1.0.0"); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove(current) error = %v, want ErrInUse", err)
	}
	if err := d.Remove("greeter", "1.1.0"); err != nil {
		t.Errorf("Remove(1.1.0) error = %v", err)
	}
	if _, err := os.Stat(d.Dir("greeter", "1.1.0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tree of what was removed: %v, want none", err)
	}
	if err := d.Remove("greeter", ""); err != nil {
		t.Errorf("Remove() error = %v", err)
	}
	if l, err := d.Lock(); err != nil || len(l.Plugins) != 0 {
		t.Errorf("Lock() = %+v, %v, want an empty one", l, err)
	}
}

// TestRefused: what differs from the lock is refused with what was expected, what was
// found, and how to accept it; the lock stays as it is.
func TestRefused(t *testing.T) {
	key, other := newKey(t), newKey(t)
	tests := []struct {
		name                    string
		first, second           plugin
		spoil                   func(t *testing.T, pkg string)
		req                     InstallRequest
		expected, found, accept string
	}{
		{
			name: "not approved", second: plugin{name: "other"},
			expected: "a yes", found: "neither", accept: "--approve",
		},
		{
			name: "a new permission", second: plugin{version: "1.1.0", permissions: supervisor.Permissions{Network: "any"}},
			expected: "none", found: "network any", accept: "--approve",
		},
		{
			name: "a lower version", second: plugin{version: "0.9.0"},
			expected: "at least 1.0.0", found: "0.9.0", accept: "--downgrade",
		},
		{
			name: "other bytes under the same version", second: plugin{content: "!"},
			expected: "", found: "", accept: "tasker plugin remove greeter@1.0.0 && tasker plugin install",
		},
		{
			name: "another manifest under the same version", second: plugin{permissions: supervisor.Permissions{Subprocess: true}},
			expected: "", found: "", accept: "tasker plugin remove greeter@1.0.0 && tasker plugin install",
		},
		{
			name: "another signer", first: plugin{key: key}, second: plugin{version: "1.1.0", key: other},
			expected: publicOf(key), found: publicOf(other), accept: "--signer " + publicOf(other),
		},
		{
			name: "no signer any more", first: plugin{key: key}, second: plugin{version: "1.1.0"},
			expected: publicOf(key), found: "no signature", accept: "--signer none",
		},
		{
			name: "a signer at last", second: plugin{version: "1.1.0", key: key},
			expected: "no signer", found: publicOf(key), accept: "--signer " + publicOf(key),
		},
		{
			name: "the signature is missing", first: plugin{key: key}, second: plugin{version: "1.1.0", key: key},
			spoil:    func(t *testing.T, pkg string) { t.Helper(); remove(t, pkg+SignatureSuffix) },
			expected: publicOf(key), found: "no signature", accept: "--signer none",
		},
		{
			name: "one byte of the signature", first: plugin{key: key}, second: plugin{version: "1.1.0", key: key},
			spoil:    func(t *testing.T, pkg string) { t.Helper(); tamper(t, pkg+SignatureSuffix, flip) },
			expected: "a signature by " + publicOf(key), found: "not by it", accept: "again",
		},
		{
			name: "signed by another than was named", second: plugin{version: "1.1.0", key: key}, req: InstallRequest{Signer: publicOf(other)},
			expected: publicOf(other), found: publicOf(key), accept: "--signer " + publicOf(key),
		},
		{
			name: "not what is locked", second: plugin{version: "1.1.0"}, req: InstallRequest{Locked: true},
			expected: "1.0.0", found: "1.1.0", accept: "without --locked",
		},
		{
			name: "nothing that is locked", second: plugin{name: "other"}, req: InstallRequest{Locked: true, Approve: yes},
			expected: "one of the lock", found: "1.0.0", accept: "without --locked",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDepot(t)
			install1(t, d, InstallRequest{Source: tt.first.pack(t).Path})
			before := lockText(t, d)
			tt.req.Source = tt.second.pack(t).Path
			if tt.spoil != nil {
				tt.spoil(t, tt.req.Source)
			}
			_, err := d.Install(t.Context(), tt.req)
			wantMismatch(t, err, tt.expected, tt.found, tt.accept)
			if diff := cmp.Diff(before, lockText(t, d)); diff != "" {
				t.Errorf("the lock changed (-before +after)\n%s", diff)
			}
			if got, err := d.Installed(); err != nil || len(got) != 1 || got[0].Refused != nil || got[0].Version != "1.0.0" {
				t.Errorf("Installed() = %+v, %v, want 1.0.0 as before", got, err)
			}
		})
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// TestAccepted: what is refused is accepted when somebody says so.
func TestAccepted(t *testing.T) {
	key, other := newKey(t), newKey(t)
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: plugin{key: key}.pack(t).Path, Signer: publicOf(key)})
	for _, step := range []struct {
		name   string
		pkg    plugin
		req    InstallRequest
		signer string
	}{
		{"another signer", plugin{version: "1.1.0", key: other}, InstallRequest{Signer: publicOf(other)}, publicOf(other)},
		{"a lower version", plugin{version: "0.9.0", key: other}, InstallRequest{Downgrade: true}, publicOf(other)},
		{"no signer", plugin{version: "1.2.0"}, InstallRequest{Signer: Unsigned}, ""},
		{"a permission", plugin{version: "1.3.0", permissions: supervisor.Permissions{Env: []string{"LANG"}}}, InstallRequest{Approve: yes}, ""},
	} {
		step.req.Source = step.pkg.pack(t).Path
		in, err := d.Install(t.Context(), step.req)
		if err != nil || in.Version != step.pkg.version || !in.Current {
			t.Fatalf("%s: Install() = %+v, %v, want it current", step.name, in, err)
		}
		if l, err := d.Lock(); err != nil || l.Plugins["greeter"].Signer != step.signer {
			t.Errorf("%s: signer %q, %v, want %q", step.name, l.Plugins["greeter"].Signer, err, step.signer)
		}
	}
}

// TestDowngradeToAKnownVersion: that a version is in the lock does not make it current again
// unasked; beside the current one it may be installed again.
func TestDowngradeToAKnownVersion(t *testing.T) {
	d := newDepot(t)
	old := plugin{}.pack(t).Path
	install1(t, d, InstallRequest{Source: old})
	install1(t, d, InstallRequest{Source: plugin{version: "1.1.0"}.pack(t).Path})
	_, err := d.Install(t.Context(), InstallRequest{Source: old, Approve: yes})
	wantMismatch(t, err, "at least 1.1.0", "1.0.0", "--downgrade")
	if in := install1(t, d, InstallRequest{Source: old, Beside: true}); in.Current || !in.Already {
		t.Errorf("beside: %+v, want it there already and not current", in)
	}
	if in := install1(t, d, InstallRequest{Source: old, Downgrade: true}); !in.Current {
		t.Errorf("with Downgrade: %+v, want it current", in)
	}
}

// TestTamperedPackage: no byte of a package can be changed without being noticed before
// anything is installed.
func TestTamperedPackage(t *testing.T) {
	key := newKey(t)
	signed, unsigned := plugin{key: key}.pack(t), plugin{}.pack(t)
	for _, pkg := range []*Package{signed, unsigned} {
		raw, err := os.ReadFile(pkg.Path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range raw {
			if at > 8 && at%97 != 0 && pkg == unsigned {
				continue // each would take long under the race detector
			}
			if at%31 != 0 && pkg == signed {
				continue
			}
			name := filepath.Join(t.TempDir(), filepath.Base(pkg.Path))
			spoilt := bytes.Clone(raw)
			spoilt[at] ^= 1
			write(t, name, string(spoilt))
			if pkg.Signature != "" {
				copyFile(t, pkg.Signature, name+SignatureSuffix)
			}
			d := newDepot(t)
			_, err := d.Install(t.Context(), InstallRequest{Source: name, Approve: yes})
			if err == nil {
				b, err := d.Binary("greeter", "") // bytes that gzip ignores: the tree is the same
				if err != nil || pkg == signed || !sameTree(t, pkg, b) {
					t.Errorf("byte %d of %d flipped: installed, %v", at, len(raw), err)
				}
				continue
			}
			if _, err := os.Stat(d.Dir("greeter", "1.0.0")); err == nil {
				t.Errorf("byte %d of %d flipped: a tree was left", at, len(raw))
			}
		}
	}
}

// sameTree reports whether what is installed is what was packed.
func sameTree(t *testing.T, pkg *Package, b supervisor.Binary) bool {
	t.Helper()
	name, err := pkg.Manifest.Executable(Platform())
	if err != nil {
		t.Fatal(err)
	}
	return pkg.Manifest.Files[name].SHA256 == b.SHA256
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(raw))
}

// TestTamperedTree: whatever changes in an installed tree is noticed, named, and accepted
// by the command that the message names.
func TestTamperedTree(t *testing.T) {
	executable := "bin/" + platformDir(Platform()) + "/tasker-plugin-greeter"
	tests := []struct {
		name   string
		change func(t *testing.T, dir string)
		found  string
	}{
		{"one byte of the executable", func(t *testing.T, dir string) { t.Helper(); tamper(t, filepath.Join(dir, executable), flip) }, executable + " is changed"},
		{"one byte of another file", func(t *testing.T, dir string) { t.Helper(); tamper(t, filepath.Join(dir, "share/text.txt"), flip) }, "share/text.txt is changed"},
		{"a file more", func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "share/lib.so"), "") }, "share/lib.so is new"},
		{"a file less", func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, "share/text.txt")) }, "share/text.txt is missing"},
		{"a manifest with a permission", func(t *testing.T, dir string) {
			t.Helper()
			tamper(t, filepath.Join(dir, ManifestFile), func(raw []byte) []byte {
				return bytes.Replace(raw, []byte(`"permissions": {}`), []byte(`"permissions": {"network": "any"}`), 1)
			})
		}, "manifest.json is another"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDepot(t)
			in := install1(t, d, InstallRequest{Source: plugin{}.pack(t).Path})
			l, err := d.Lock()
			if err != nil {
				t.Fatal(err)
			}
			want, _, _ := l.Plugins["greeter"].Versions["1.0.0"].Tree(Platform())
			tt.change(t, in.Dir)
			got, err := d.Installed()
			if err != nil || len(got) != 1 {
				t.Fatalf("Installed() = %v, %v, want one plugin", got, err)
			}
			wantMismatch(t, got[0].Refused, want, tt.found, "tasker plugin lock greeter@1.0.0")
			if !strings.Contains(got[0].Refused.Error(), "tasker --home "+d.home+" plugin lock greeter@1.0.0") {
				t.Errorf("the cause %q does not say how to accept it", got[0].Refused)
			}
			if err := d.Activate("greeter", "1.0.0"); err == nil {
				t.Error("Activate() error = nil, want the mismatch")
			}
			if _, err := d.Relock("greeter", ""); err != nil {
				t.Fatalf("Relock() error = %v", err)
			}
			_, err = d.Binary("greeter", "")
			if strings.Contains(tt.name, "permission") { // the manifest is accepted, its permission is not
				wantMismatch(t, err, "none", "network any", "tasker plugin approve greeter@1.0.0")
				if added, approveErr := d.Approve("greeter", ""); approveErr != nil || !slices.Equal(added, []string{"network any"}) {
					t.Errorf("Approve() = %v, %v, want network any", added, approveErr)
				}
				_, err = d.Binary("greeter", "")
			}
			if err != nil {
				t.Errorf("after it was accepted: %v", err)
			}
		})
	}
}

// TestLocked: another home with the same lock gets the same plugins, and only these.
func TestLocked(t *testing.T) {
	packages := t.TempDir()
	pkg := plugin{permissions: supervisor.Permissions{Network: "any"}}.packInto(t, packages)
	plugin{version: "2.0.0"}.packInto(t, packages)
	if _, err := BuildIndex(packages); err != nil {
		t.Fatal(err)
	}
	first, second := newDepot(t), newDepot(t)
	install1(t, first, InstallRequest{Source: pkg.Path})
	write(t, filepath.Join(second.home, LockFile), lockText(t, first))

	got, err := second.Installed()
	if err != nil || len(got) != 1 {
		t.Fatalf("Installed() = %v, %v, want one plugin", got, err)
	}
	wantMismatch(t, got[0].Refused, "", "no directory", "tasker plugin install --locked")
	for _, req := range []InstallRequest{{Source: "greeter", Index: packages}, {Source: "greeter@1.0.0"}} {
		req.Locked = true
		if in, err := second.Install(t.Context(), req); err != nil || in.Version != "1.0.0" {
			t.Fatalf("Install(%+v) = %+v, %v, want 1.0.0", req, in, err)
		}
		if lockText(t, second) != lockText(t, first) {
			t.Error("an install with Locked changed the lock")
		}
		if _, err := second.Binary("greeter", ""); err != nil {
			t.Errorf("Binary() error = %v", err)
		}
		if err := second.RemoveTree("greeter", "1.0.0"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlatforms: the lock knows the hashes of the trees for all platforms, whichever one it
// was written on.
func TestPlatforms(t *testing.T) {
	pkg := plugin{files: map[string]string{"linux-s390x/tasker-plugin-greeter": "s390x", "linux-s390x/lib.so": "s390x"}}.pack(t)
	first := newDepot(t)
	install1(t, first, InstallRequest{Source: pkg.Path})
	for _, platform := range []string{"freebsd/riscv64", "linux/s390x"} {
		d := newDepot(t)
		d.platform = platform
		write(t, filepath.Join(d.home, LockFile), lockText(t, first))
		if _, err := d.Install(t.Context(), InstallRequest{Source: pkg.Path, Locked: true}); err != nil {
			t.Errorf("%s: Install() error = %v", platform, err)
		}
		if b, err := d.Binary("greeter", ""); err != nil || !strings.Contains(b.Path, platformDir(platform)) {
			t.Errorf("%s: Binary() = %+v, %v", platform, b, err)
		}
	}
	d := newDepot(t)
	d.platform = "linux/none"
	if _, err := d.Install(t.Context(), InstallRequest{Source: pkg.Path, Approve: yes}); err == nil || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("Install() error = %v, want one that names the platforms", err)
	}
}

// TestSwappedPackage: what is unpacked is what was verified, whatever becomes of the file
// while somebody is asked.
func TestSwappedPackage(t *testing.T) {
	key := newKey(t)
	made, other := plugin{key: key}.pack(t), plugin{content: "!"}.pack(t)
	d := newDepot(t)
	in := install1(t, d, InstallRequest{Source: made.Path, Approve: func(context.Context, *Offer) (bool, error) {
		copyFile(t, other.Path, made.Path)
		return true, nil
	}})
	b, err := d.Binary("greeter", "")
	if err != nil || in.Signer != publicOf(key) || !sameTree(t, made, b) {
		t.Errorf("Install() = %+v, %v, want what was signed", in, err)
	}
}

// TestInstallMeanwhile: what another install changed while somebody was asked counts.
func TestInstallMeanwhile(t *testing.T) {
	d := newDepot(t)
	key := newKey(t)
	_, err := d.Install(t.Context(), InstallRequest{Source: plugin{}.pack(t).Path, Approve: func(context.Context, *Offer) (bool, error) {
		install1(t, d, InstallRequest{Source: plugin{version: "2.0.0", key: key}.pack(t).Path})
		return true, nil
	}})
	wantMismatch(t, err, publicOf(key), "no signature", "--signer none")
	if l, err := d.Lock(); err != nil || l.Plugins["greeter"].Version != "2.0.0" || len(l.Plugins["greeter"].Versions) != 1 {
		t.Errorf("Lock() = %+v, %v, want 2.0.0 alone", l, err)
	}
}

// TestOtherBytesOfTheCurrentVersion: what is to be typed works, also with another version beside.
func TestOtherBytesOfTheCurrentVersion(t *testing.T) {
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: plugin{}.pack(t).Path})
	install1(t, d, InstallRequest{Source: plugin{version: "1.1.0"}.pack(t).Path, Beside: true})
	other := InstallRequest{Source: plugin{content: "!"}.pack(t).Path}
	_, err := d.Install(t.Context(), other)
	wantMismatch(t, err, "", "", "tasker plugin remove greeter && tasker plugin install")
	if err := d.Remove("greeter", ""); err != nil {
		t.Fatal(err)
	}
	if in := install1(t, d, other); !in.Current || in.Version != "1.0.0" {
		t.Errorf("installed %+v, want 1.0.0 to be current", in)
	}
}

// TestBesideAsks: a version beside the current one asks for what is new, too, and that it was
// approved there says nothing of the current one.
func TestBesideAsks(t *testing.T) {
	d := newDepot(t)
	install1(t, d, InstallRequest{Source: plugin{}.pack(t).Path})
	network := supervisor.Permissions{Network: "any"}
	req := InstallRequest{Source: plugin{version: "1.1.0", permissions: network}.pack(t).Path, Beside: true}
	_, err := d.Install(t.Context(), req)
	wantMismatch(t, err, "none", "network any", "--approve")
	install1(t, d, req)
	_, err = d.Install(t.Context(), InstallRequest{Source: plugin{version: "1.2.0", permissions: network}.pack(t).Path})
	wantMismatch(t, err, "none", "network any", "--approve")
}

// TestInstallsAtOnce: installs of several plugins at once lose none.
func TestInstallsAtOnce(t *testing.T) {
	d := newDepot(t)
	var wait sync.WaitGroup
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		source := plugin{name: name}.pack(t).Path
		wait.Go(func() {
			if _, err := d.Install(t.Context(), InstallRequest{Source: source, Approve: yes}); err != nil {
				t.Errorf("Install(%s) error = %v", name, err)
			}
		})
	}
	wait.Wait()
	if l, err := d.Lock(); err != nil || !slices.Equal(l.Names(), names) {
		t.Errorf("Names() = %v, %v, want %v", l.Names(), err, names)
	}
	if left, err := filepath.Glob(filepath.Join(d.home, treesDir, ".stage-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v; want nothing", left, err)
	}
}

// TestLeftTree: the tree of an install that a crash ended is in nobody's way.
func TestLeftTree(t *testing.T) {
	d := newDepot(t)
	source := plugin{}.pack(t).Path
	write(t, filepath.Join(d.Dir("greeter", "1.0.0"), "half"), "x")
	write(t, filepath.Join(d.home, treesDir, ".stage-1", "tree", "x"), "x")
	_, err := d.Install(t.Context(), InstallRequest{Source: source, Approve: yes})
	wantMismatch(t, err, "", "greeter", "tasker plugin remove --tree greeter@1.0.0")
	if err := d.RemoveTree("greeter", "1.0.0"); err != nil {
		t.Fatalf("RemoveTree() error = %v", err)
	}
	install1(t, d, InstallRequest{Source: source})
	if _, err := d.Binary("greeter", ""); err != nil {
		t.Errorf("Binary() error = %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(d.home, treesDir, ".stage-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v; want nothing", left, err)
	}
}
