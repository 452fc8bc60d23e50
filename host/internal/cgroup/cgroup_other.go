//go:build !linux

package cgroup

import (
	"fmt"
	"time"
)

// Tree is the group below which others are made.
type Tree struct{}

// Find returns an error: only Linux has groups.
func Find() (*Tree, error) {
	return nil, fmt.Errorf("%w: only Linux has them", ErrNone)
}

// Prepare does nothing.
func (*Tree) Prepare(string) error { return nil }

// Dir returns "".
func (*Tree) Dir() string { return "" }

// Mount returns "".
func (*Tree) Mount() string { return "" }

// Bounds reports false.
func (*Tree) Bounds() bool { return false }

// Make returns an error.
func (*Tree) Make(string, Limits) (*Group, error) { return nil, ErrNone }

// Enter returns an error.
func Enter(string) error { return ErrNone }

// Group holds a process and all that it starts.
type Group struct{}

// Dir returns "".
func (*Group) Dir() string { return "" }

// Count returns an error.
func (*Group) Count() (int, error) { return 0, ErrNone }

// Kill does nothing.
func (*Group) Kill() {}

// OutOfMemory reports false.
func (*Group) OutOfMemory() bool { return false }

// Remove does nothing.
func (*Group) Remove(time.Duration) error { return nil }
