// Package conform checks that a plugin keeps the wire: it starts the plugin's program as
// a host does, speaks to it in raw frames, and judges what comes back. It knows nothing
// of the plugin's language or SDK, and it uses no part of the host's own plugin
// machinery: it is a second implementation of docs/plugin-wire.md, which each check names
// the place of.
//
// [Run] is all that others call. checks.go lists the checks; process.go, handshake.go and
// session.go start a plugin, work.go and delivery.go keep the books of its two kinds of
// streams, sample.go and fixtures.go find inputs for its handlers. The files check_*.go
// have the checks themselves, by group.
//
// A check never judges speed. What must happen has [Options].Patience to do so.
package conform
