package host

import (
	"context"

	"aead.dev/minisign"

	"github.com/tasker-engine/tasker/host/internal/depot"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// The plugins that are installed in a home, and the packages that they come from.
type (
	// Depot keeps the installed plugins of a home; see [OpenDepot].
	Depot = depot.Depot
	// DepotLock says which plugins were approved.
	DepotLock = depot.Lock
	// DepotIndex lists packages.
	DepotIndex = depot.Index
	// DepotEntry is one version of a plugin in an index.
	DepotEntry = depot.Entry
	// InstallRequest says what to install, and what is accepted.
	InstallRequest = depot.InstallRequest
	// Offer is what somebody is asked to approve.
	Offer = depot.Offer
	// Installation is what an install did.
	Installation = depot.Installation
	// PackageManifest is the manifest.json of a package.
	PackageManifest = depot.Manifest
	// PackRequest says what to pack.
	PackRequest = depot.PackRequest
	// Package is a package that was made.
	Package = depot.Package
	// PluginFinding is what became of comparing an installed plugin with the lock.
	PluginFinding = depot.Finding
	// PluginRelocked is what a lock was made to say of an installed plugin.
	PluginRelocked = depot.Relocked
	// PluginCommand is a verb that a plugin adds to the command line.
	PluginCommand = depot.Command
	// InstalledCommand is a command of the current version of an installed plugin.
	InstalledCommand = depot.InstalledCommand
	// PluginBinary is an installed plugin as it may be started.
	PluginBinary = supervisor.Binary
	// PluginPermissions are what a plugin needs from the machine.
	PluginPermissions = supervisor.Permissions
	// MismatchError says that something is not what the lock, the index or the operator
	// expects, and has the command that accepts it as its hint.
	MismatchError = depot.MismatchError
)

// Errors of a [Depot] that callers tell apart.
var (
	ErrNotInstalled = depot.ErrNotInstalled
	ErrNoPrevious   = depot.ErrNoPrevious
)

// OpenDepot returns the depot of a home, which need not exist.
func OpenDepot(home string) (*Depot, error) { return depot.Open(home) }

// Pack makes a package: the same files give the same bytes. It starts the executable for
// this platform to ask it for its manifest.
func Pack(ctx context.Context, req *PackRequest) (*Package, error) { return depot.Pack(ctx, req) }

// OpenIndex reads the index of a directory or of a web server.
func OpenIndex(ctx context.Context, at string) (*DepotIndex, error) { return depot.OpenIndex(ctx, at) }

// BuildIndex lists the packages of a directory and writes the list as its index.json.
func BuildIndex(dir string) (*DepotIndex, error) { return depot.BuildIndex(dir) }

// GenerateSigningKey makes a key pair in minisign's format and writes it into two new
// files; the private key is encrypted unless the password is empty. It returns the public
// key as one word.
func GenerateSigningKey(private, public, password string) (string, error) {
	return depot.GenerateKey(private, public, password)
}

// ReadSigningKey reads a private key; password is asked for when it is encrypted.
func ReadSigningKey(file string, password func() (string, error)) (minisign.PrivateKey, error) {
	return depot.ReadKey(file, password)
}

// ReadSigner returns the public key that a text is or names: the key itself, or a file
// that holds it. Empty and "none" are returned as they are.
func ReadSigner(text string) (string, error) { return depot.ReadSigner(text) }

// Platform is the platform of this process, "linux/amd64".
func Platform() string { return depot.Platform() }

// Asks returns what permissions allow, one phrase each.
func Asks(p PluginPermissions) []string { return depot.Asks(p) }

// InstalledPlugins returns the plugins that the lock of a home says, by what their packages
// declare: none is started. One that is not what the lock says is refused, with the cause.
func InstalledPlugins(home string) ([]PluginInfo, error) {
	return listInstalled(home, func(supervisor.Binary) *supervisor.InForce { return nil })
}

// listInstalled returns what is known of the installed plugins, and what would be in force.
func listInstalled(home string, inForce func(supervisor.Binary) *supervisor.InForce) ([]PluginInfo, error) {
	binaries, err := installedPlugins(home)
	if err != nil {
		return nil, err
	}
	d, err := depot.Open(home)
	if err != nil {
		return nil, err
	}
	out := make([]PluginInfo, 0, len(binaries))
	for _, b := range binaries {
		known := supervisor.PluginInfo{Name: b.Name, Version: b.Version, Path: b.Path, State: task.PluginStopped, InForce: inForce(b)}
		if m, err := d.Manifest(b.Name, b.Version); err == nil {
			known.Manifest, known.Capacity = &m.Manifest, m.MaxConcurrency
		}
		if b.Refused != nil {
			known.State, known.Cause = task.PluginRefused, b.Refused.Error()
		}
		info, err := pluginInfo(&known)
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// installedPlugins are the plugins that the lock of the home says, each compared with it.
func installedPlugins(home string) ([]supervisor.Binary, error) {
	d, err := depot.Open(home)
	if err != nil {
		return nil, err
	}
	return d.Installed()
}
