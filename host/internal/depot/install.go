package depot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// InstallRequest says what to install, and what is accepted.
type InstallRequest struct {
	// Source is the file or the http(s) URL of a package, or NAME[@VERSION] of the index;
	// without a version the highest one that is no pre-release.
	Source string
	// Index is the directory or the http(s) URL of the index.json for names.
	Index string
	// Signer is the public key that must have signed, which replaces the pinned one;
	// [Unsigned] wants none. Empty = the pinned one, at a first install the package's own.
	Signer string
	// Downgrade accepts a version or a protocol below the current one.
	Downgrade bool
	// Beside leaves the current version as it is, if there is one.
	Beside bool
	// Locked installs only what the lock has already, and leaves the lock as it is.
	Locked bool
	// Approve is asked at a first install, and when there are permissions or commands that
	// were not approved; nothing is installed without a yes. nil = no.
	Approve func(ctx context.Context, o *Offer) (bool, error)
	// Progress is told how much of a download has come; total is -1 when it is not known.
	// nil = nobody is told.
	Progress func(done, total int64)
}

// Offer is what somebody is asked to approve.
type Offer struct {
	Manifest *Manifest
	Source   string
	Size     int64  // of the package, bytes
	Signer   string // who signed, verified; empty = nobody
	First    bool   // no version of the plugin is installed
	Current  string // the version that is replaced; empty at a first install
	Asks     []string
	New      []string // of Asks, what was not approved before
	Approved supervisor.Permissions
	Commands map[string]string // that were approved before: name -> what it runs, as in the lock
	// NewCommands are the names of the plugin's commands that were not approved before, or
	// run something else now.
	NewCommands []string
}

// Installation is what an install did.
type Installation struct {
	Name     string
	Version  string
	Manifest *Manifest
	Signer   string
	Already  bool   // the tree was there before
	Current  bool   // the version is the current one now
	Previous string // the version that was current before; empty = none or the same
	Dir      string
}

// Install brings a package into the depot: fetches it, compares it with the index, the
// lock and the request, unpacks it beside what is there, and writes the lock. What does
// not agree is a [*MismatchError], and nothing has changed.
func (d *Depot) Install(ctx context.Context, req InstallRequest) (*Installation, error) {
	p, err := d.fetch(ctx, &req)
	if err != nil {
		return nil, err
	}
	defer p.discard()
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	in := &install{depot: d, req: &req, pkg: p, m: p.manifest}
	if err := in.check(ctx, l); err != nil {
		return nil, err
	}
	return in.commit(ctx)
}

// install is one package on its way into the depot.
type install struct {
	depot *Depot
	req   *InstallRequest
	pkg   *pkg
	m     *Manifest

	signer  string
	digest  string
	trees   map[string]string
	hash    string // of the tree for this platform
	granted bool   // the permissions and commands were approved now
	yes     bool   // somebody was asked about this package, and said yes
	last    bool   // it is checked once more, under the lock: nobody is asked then
}

// check compares the package with the lock and asks for what is new.
func (in *install) check(ctx context.Context, l *Lock) error {
	if err := in.m.supported(); err != nil {
		return err
	}
	if _, err := in.m.Executable(in.depot.platform); err != nil {
		return err
	}
	known := l.Plugins[in.m.Name]
	if err := in.checkSigner(known); err != nil {
		return err
	}
	var err error
	if in.digest, err = in.m.Digest(); err != nil {
		return fmt.Errorf("package %s: %w", in.req.Source, err)
	}
	in.trees = in.m.treeHashes(in.pkg.manifestSum)
	in.hash, _, _ = (&Pinned{Trees: in.trees}).Tree(in.depot.platform)
	if known == nil {
		if in.req.Locked {
			return in.mismatch("plugin "+in.m.Name, "one of the lock", in.m.Version, "without --locked: "+in.again(""))
		}
		return in.approve(ctx, l)
	}
	if pinned := known.Versions[in.m.Version]; pinned != nil {
		if !in.req.Beside && !in.req.Locked { // it is to become the current one
			if err := in.checkDowngrade(known); err != nil {
				return err
			}
		}
		return in.checkPinned(ctx, l, pinned)
	}
	if in.req.Locked {
		return in.mismatch("version of "+in.m.Name, known.Version, in.m.Version, "without --locked: "+in.again(""))
	}
	if err := in.checkDowngrade(known); err != nil {
		return err
	}
	return in.approve(ctx, l)
}

func (in *install) mismatch(what, expected, found, accept string) error {
	return &MismatchError{What: what, Expected: expected, Found: found, Accept: accept}
}

// checkSigner finds who must have signed, and whether that one has.
func (in *install) checkSigner(known *Locked) error {
	want := in.m.Signer
	if known != nil {
		want = known.Signer
	}
	if in.req.Signer != "" {
		want = in.req.Signer
	}
	if in.req.Signer == Unsigned {
		return nil
	}
	what := "signer of " + in.m.Name + " " + in.m.Version
	accept := in.again("--signer") + " "
	if want == "" {
		if in.m.Signer != "" { // the lock knows the plugin as unsigned: from now on it is signed
			return in.mismatch(what, signerName(want), in.m.Signer, accept+in.m.Signer)
		}
		return nil
	}
	if in.m.Signer == "" && len(in.pkg.signature) == 0 {
		return in.mismatch(what, want, "no signature: the package is not signed", "if that is what you want: "+accept+Unsigned)
	}
	if len(in.pkg.signature) == 0 {
		return in.mismatch(what, want, "no signature: it is signed by "+in.m.Signer+", but beside it there is no "+path.Base(filepath.ToSlash(in.pkg.source))+SignatureSuffix,
			"get that file, too; or without the proof of who made it: "+accept+Unsigned)
	}
	if in.m.Signer != want && in.m.Signer != "" {
		return in.mismatch(what, want, in.m.Signer, accept+in.m.Signer)
	}
	ok, err := in.pkg.signedBy(want)
	if err != nil {
		return err
	}
	if !ok {
		return in.mismatch(what, "a signature by "+want, "one that is not by it, or of another package", "get the package again; do not accept it")
	}
	in.signer = want
	return nil
}

// checkPinned compares a package with the version of the lock that it claims to be.
func (in *install) checkPinned(ctx context.Context, l *Lock, pinned *Pinned) error {
	again := fmt.Sprintf("tasker plugin remove %s@%s && %s", in.m.Name, in.m.Version, in.again(""))
	if p := l.Plugins[in.m.Name]; p != nil && p.Version == in.m.Version && len(p.Versions) > 1 { // the current one goes with all others only
		again = fmt.Sprintf("give it another version; or remove all that are installed: tasker plugin remove %s && %s", in.m.Name, in.again(""))
	}
	if in.digest != pinned.Manifest {
		return in.mismatch(fmt.Sprintf("manifest of %s %s", in.m.Name, in.m.Version), pinned.Manifest, in.digest, again)
	}
	want, _, ok := pinned.Tree(in.depot.platform)
	if !ok && in.req.Locked {
		return in.mismatch(fmt.Sprintf("platform of %s %s", in.m.Name, in.m.Version), strings.Join(sortedKeys(pinned.Trees), ", "),
			in.depot.platform, "without --locked: "+in.again(""))
	}
	if ok && want != in.hash {
		return in.mismatch(fmt.Sprintf("tree of %s %s", in.m.Name, in.m.Version), want, in.hash, again)
	}
	accept := "without --locked: " + in.again("--approve")
	if in.req.Locked {
		return notApproved(in.m, pinned.Permissions, pinned.Commands, accept)
	}
	if notApproved(in.m, pinned.Permissions, pinned.Commands, accept) != nil {
		return in.approve(ctx, l)
	}
	return nil
}

// checkDowngrade refuses what is older than the current version.
func (in *install) checkDowngrade(known *Locked) error {
	if in.req.Downgrade {
		return nil
	}
	accept := in.again("--downgrade")
	if compareVersions(in.m.Version, known.Version) < 0 {
		return in.mismatch("version of "+in.m.Name, "at least "+known.Version, in.m.Version, accept)
	}
	if current := known.Versions[known.Version]; in.m.Protocol < current.Protocol {
		return in.mismatch("protocol of "+in.m.Name+" "+in.m.Version, fmt.Sprintf("at least version %d", current.Protocol),
			fmt.Sprintf("version %d", in.m.Protocol), accept)
	}
	return nil
}

// approve asks for what was not approved before.
func (in *install) approve(ctx context.Context, l *Lock) error {
	if err := in.depot.clash(l, in.m); err != nil {
		return err
	}
	known := l.Plugins[in.m.Name]
	o := &Offer{
		Manifest: in.m, Source: in.pkg.source, Size: in.pkg.size, Signer: in.signer, First: known == nil, Asks: Asks(in.m.Permissions),
	}
	if known != nil {
		o.Current = known.Version
		pinned := known.Versions[in.m.Version] // what counts is what was approved of this version
		if pinned == nil {
			pinned = known.Versions[known.Version]
		}
		o.Approved, o.Commands = pinned.Permissions, pinned.Commands
	}
	o.New, o.NewCommands = Beyond(in.m.Permissions, o.Approved), newCommands(in.m, o.Commands)
	if in.granted = true; known != nil && len(o.New) == 0 && len(o.NewCommands) == 0 {
		return nil
	}
	if in.yes {
		return nil
	}
	if in.req.Approve == nil || in.last {
		return in.refused(o)
	}
	var err error
	if in.yes, err = in.req.Approve(ctx, o); err != nil || in.yes {
		return err
	}
	return in.refused(o)
}

// refused says what nobody approved.
func (in *install) refused(o *Offer) error {
	what, accept := in.m.Name+" "+in.m.Version, in.again("--approve")
	if o.First {
		return in.mismatch("plugin "+what, "a yes on a terminal or --approve", "neither", accept)
	}
	return notApproved(in.m, o.Approved, o.Commands, accept)
}

// again is the command that installs with other flags.
func (in *install) again(flags string) string {
	command := "tasker plugin install " + in.req.Source
	if in.req.Index != "" {
		command += " --index " + in.req.Index
	}
	return strings.TrimSpace(command + " " + flags)
}

// commit unpacks the package and writes the lock.
func (in *install) commit(ctx context.Context) (*Installation, error) {
	out := &Installation{
		Name: in.m.Name, Version: in.m.Version, Manifest: in.m, Signer: in.signer, Dir: in.depot.Dir(in.m.Name, in.m.Version),
	}
	err := in.depot.change(func(l *Lock) error {
		in.last = true // another install may have changed the lock while somebody was asked
		err := in.check(ctx, l)
		if err != nil {
			return err
		}
		if out.Already, err = in.place(out.Dir); err != nil {
			return err
		}
		if in.req.Locked {
			out.Current = l.Plugins[in.m.Name] != nil && l.Plugins[in.m.Name].Version == in.m.Version
			return nil
		}
		in.enter(l, out)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// enter writes the version into the lock.
func (in *install) enter(l *Lock, out *Installation) {
	p := l.Plugins[in.m.Name]
	if p == nil {
		p = &Locked{Version: in.m.Version, Versions: make(map[string]*Pinned)}
		l.Plugins[in.m.Name] = p
	}
	p.Signer = in.signer
	pinned := p.Versions[in.m.Version]
	if pinned == nil {
		pinned = &Pinned{Source: in.pkg.source, Protocol: in.m.Protocol, Manifest: in.digest, Trees: in.trees}
		p.Versions[in.m.Version] = pinned
	}
	if in.granted {
		pinned.Permissions, pinned.Commands = in.m.Permissions, in.m.programs()
	}
	for platform, hash := range in.trees {
		if _, ok := pinned.Trees[platform]; !ok {
			pinned.Trees[platform] = hash
		}
	}
	if before := p.Version; !in.req.Beside && before != in.m.Version {
		p.activate(in.m.Version)
		out.Previous = before
	}
	out.Current = p.Version == in.m.Version
}

// stagePrefix begins the names of directories for trees that come or go.
const stagePrefix = ".stage-"

// sweepStages removes what installs and removals left that did not end. The caller is alone.
func (d *Depot) sweepStages() { sweep(filepath.Join(d.home, treesDir, stagePrefix+"*"), time.Now()) }

// place unpacks the package into its directory, unless the same tree lies there.
func (in *install) place(dir string) (already bool, err error) {
	files, err := readTree(dir)
	switch {
	case err == nil && treeHash(files) == in.hash:
		return true, nil
	case err == nil:
		return false, in.mismatch(fmt.Sprintf("tree of %s %s", in.m.Name, in.m.Version), in.hash, treeHash(files)+" in "+dir,
			fmt.Sprintf("tasker plugin remove --tree %s@%s, then install again", in.m.Name, in.m.Version))
	case !errors.Is(err, os.ErrNotExist):
		return false, err
	}
	in.depot.sweepStages()
	stage, err := os.MkdirTemp(filepath.Join(in.depot.home, treesDir), stagePrefix+"*")
	if err != nil {
		return false, fmt.Errorf("install: %w", err)
	}
	defer func() { _ = os.RemoveAll(stage) }() // gone once it was renamed
	tree := filepath.Join(stage, "tree")
	if err := in.pkg.unpack(tree, in.depot.platform); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
		return false, fmt.Errorf("install: %w", err)
	}
	if err := os.Rename(tree, dir); err != nil {
		return false, fmt.Errorf("install: %w", err)
	}
	return false, nil
}
