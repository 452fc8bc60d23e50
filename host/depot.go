package host

import (
	"github.com/tasker-engine/tasker/host/internal/depot"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
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
	// PluginCommand is a verb that a plugin adds to the command line.
	PluginCommand = depot.Command
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

// installedPlugins are the plugins that the lock of the home says, each compared with it.
func installedPlugins(home string) ([]supervisor.Binary, error) {
	d, err := depot.Open(home)
	if err != nil {
		return nil, err
	}
	return d.Installed()
}
