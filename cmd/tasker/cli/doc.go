// Package cli is the tasker command as a library. [Run] is the whole of it.
//
// Commands are noun and verb (`tasker task list`); `tasker run` and `tasker serve` are
// the exceptions. There is one file per command. stdout carries the answer and stderr
// everything else; every reading command has --json, whose keys are only ever added to.
// The exit code is 0 when done, 1 when failed, 2 when used wrongly.
//
// A command asks a host.Service: the host that runs in the home, or, to read from a
// home without one, the store itself.
package cli
