// Package depot keeps the plugins of a home: packages that were unpacked, and the lock
// that says which of them were approved.
//
// The files of a home that are the depot's:
//
//	tasker.plugins.lock        what was approved: versions, hashes, signers, permissions
//	plugins/NAME/VERSION/      the tree of a package; never overwritten
//	plugins/.lock              held by who changes the lock
//	plugins/.download/         parts of downloads
//
// A package is a tar.gz of a tree whose first entry is manifest.json: what the plugin
// declares, the executable for each platform, and the SHA-256 of each file. What lies
// below bin/OS-ARCH/ is for that platform only, everything else for all; so the hashes of
// the trees for all platforms follow from one manifest, and the lock holds them all.
//
// Trust rests on the lock. What it pins (the tree, the manifest, the signer, the
// permissions, the protocol) is compared whenever a package is installed and whenever the
// installed plugins are asked for; what differs is a [MismatchError] with what was
// expected, what was found, and the command that accepts it.
package depot
