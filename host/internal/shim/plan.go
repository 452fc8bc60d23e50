package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Profile says how much of what a plugin was not granted is kept from it.
type Profile string

// The profiles.
const (
	Off     Profile = "off"     // nothing but the environment
	Default Profile = "default" // all that the kernel can do; what it cannot is told
	Strict  Profile = "strict"  // all; what the kernel cannot do is a reason not to start
)

// Profiles lists them.
func Profiles() []string { return []string{string(Off), string(Default), string(Strict)} }

// How far a plugin talks, see [Plan].Network.
const (
	networkNone     = "none"
	networkLoopback = "loopback"
	networkAny      = "any"
)

// Everything among the paths of a plan is the whole file system.
const Everything = "*"

// DefaultProcesses is how many threads and processes a plugin may have that has no limit of
// its own.
const DefaultProcesses = 4096

// defaultFiles is how many files a process may hold open that has no limit of its own.
const defaultFiles = 65536

// Plan is what one process may do.
type Plan struct {
	Profile Profile `json:"profile"`
	Path    string  `json:"path"`               // the executable, for its name and for scripts
	SHA256  string  `json:"sha256,omitempty"`   // of the executable, hex; empty = not known
	Script  bool    `json:"script,omitempty"`   // an interpreter opens Path
	NoLease string  `json:"no_lease,omitempty"` // see [Program]

	Private []string `json:"private"`           // directories that are its own
	Trees   []string `json:"trees,omitempty"`   // directories with its own program
	Read    []string `json:"read,omitempty"`    // granted paths; [Everything] = all
	Write   []string `json:"write,omitempty"`   // granted paths; [Everything] = all
	Except  []string `json:"except,omitempty"`  // what no other path covers, unless it lies within; no links
	Hidden  []string `json:"hidden,omitempty"`  // directories above Except that cannot be listed, so are not covered
	Sealed  []string `json:"sealed,omitempty"`  // what may be read, but no path covers for writing; no links
	Network string   `json:"network,omitempty"` // none, loopback or any; empty = none
	// Subprocess allows it to start processes.
	Subprocess bool `json:"subprocess,omitempty"`

	Files     int `json:"files,omitempty"`     // open files at most, 0 = 65536
	Processes int `json:"processes,omitempty"` // threads and processes at most, 0 = [DefaultProcesses], if they can be counted

	// Group is the directory of a cgroup of its own, in which it and all that it starts is
	// found; empty = none, for the reason NoGroup. Bounded says that the kernel refuses the
	// group more than Processes.
	Group   string `json:"group,omitempty"`
	NoGroup string `json:"no_group,omitempty"`
	Bounded bool   `json:"bounded,omitempty"`

	HostPID int `json:"host_pid"` // who ends it by its own end
}

// network returns how far the plugin talks.
func (p *Plan) network() string {
	if p.Network == "" {
		return networkNone
	}
	return p.Network
}

// unrestricted reports whether every path may be read and written.
func (p *Plan) unrestricted() bool { return isEverything(p.Write) }

func isEverything(paths []string) bool {
	return slices.Contains(paths, Everything) || slices.Contains(paths, "/")
}

// ErrUnenforceable is wrapped by the error of a strict plan that the kernel cannot carry out.
var ErrUnenforceable = errors.New("isolation cannot be enforced")

// Check returns an error that wraps [ErrUnenforceable] when the plan is strict and the kernel
// cannot do all of it.
func (p *Plan) Check(k Kernel) error { return refuse(p.Profile, p.Measures(k)) }

func refuse(profile Profile, measures []Measure) error {
	var missing []string
	for _, m := range measures {
		if m.State == Missing {
			missing = append(missing, m.Name+": "+m.Detail)
		}
	}
	if profile != Strict || len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w, which the profile strict demands: %s", ErrUnenforceable, strings.Join(missing, "; "))
}

// launchEnv is the variable that makes a process a shim: its plan, JSON.
const launchEnv = "TASKER_LAUNCH"

// Pending reports whether this process was started as a shim: then its main was to call
// [Main] and did not.
func Pending() bool { return os.Getenv(launchEnv) != "" }

// Command returns what to start for the plan: the executable, its arguments and its
// environment. The process needs the write end of a pipe for its report as file 3, and what
// [Open] returned as file 4.
func (p *Plan) Command(env []string) (path string, args, shimEnv []string, err error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", nil, nil, fmt.Errorf("launch plan: %w", err)
	}
	path, err = os.Executable()
	if err != nil {
		return "", nil, nil, fmt.Errorf("launch: %w", err)
	}
	return path, []string{os.Args[0]}, append([]string{launchEnv + "=" + string(text)}, env...), nil
}

// report is what a shim says: what is in force, and then, if it does not become the plugin,
// why not.
type report struct {
	Measures []Measure `json:"measures,omitempty"`
	Error    string    `json:"error,omitempty"`
	Errno    int       `json:"errno,omitempty"`   // of the execution, with Error
	Refused  bool      `json:"refused,omitempty"` // of strict
}

// errSilent is returned for a process that said nothing.
var errSilent = errors.New("the launch shim ended without a report: the program's main does not call it first")

// maxReport is more than a shim has to say, in bytes.
const maxReport = 64 << 10

// ReadReport reads what a shim says until it has become the plugin. The error of one that
// did not wraps [ErrUnenforceable] when its profile is the cause.
func ReadReport(r io.Reader) ([]Measure, error) {
	d := json.NewDecoder(io.LimitReader(r, maxReport))
	var all report
	for {
		var part report
		if err := d.Decode(&part); err != nil {
			break // the end, of whatever kind
		}
		if part.Measures != nil {
			all.Measures = part.Measures
		}
		if part.Error != "" {
			all.Error, all.Errno, all.Refused = part.Error, part.Errno, part.Refused
		}
	}
	switch {
	case all.Refused:
		return all.Measures, fmt.Errorf("%w%s", ErrUnenforceable, strings.TrimPrefix(all.Error, ErrUnenforceable.Error()))
	case all.Errno != 0:
		return all.Measures, fmt.Errorf("%s: %w", all.Error, syscall.Errno(all.Errno))
	case all.Error != "":
		return all.Measures, errors.New(all.Error)
	case all.Measures == nil:
		return nil, errSilent
	}
	return all.Measures, nil
}
