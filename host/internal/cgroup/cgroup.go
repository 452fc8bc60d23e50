// Package cgroup gives each plugin process a control group of its own (version 2), where the
// group of this process was delegated to it: there all that a plugin starts is found, counted
// and ended, whatever session or parent it went to, and the kernel bounds it where the
// controllers are there.
package cgroup

import "errors"

// ErrNone is wrapped by errors that say why there are no groups.
var ErrNone = errors.New("no cgroup")

// Limits bound a group as a whole. 0 = no limit.
type Limits struct {
	Memory    int64 // bytes, of all kinds that are charged to the group
	Processes int   // threads and processes
}

// The controllers that groups are given where there are any.
const (
	memory = "memory"
	pids   = "pids"
)
