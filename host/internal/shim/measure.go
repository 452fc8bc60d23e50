package shim

import (
	"cmp"
	"fmt"
	"strings"
)

// State says what becomes of one measure.
type State string

// The states of a measure.
const (
	Enforced State = "enforced" // the kernel refuses what is not granted
	Granted  State = "granted"  // nothing is kept from the plugin
	Missing  State = "missing"  // it is not granted, and the kernel does not refuse it
	Disabled State = "off"      // the profile asks for nothing
)

// Measure is one thing that is kept from a plugin, or is not.
type Measure struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
}

// Kernel is what this machine can enforce.
type Kernel struct {
	// Landlock is the version of its interface, 0 = there is none. NoLandlock says why.
	Landlock   int    `json:"landlock_abi"`
	NoLandlock string `json:"no_landlock,omitempty"`
	// Seccomp says that system calls can be refused. NoSeccomp says why not.
	Seccomp   bool   `json:"seccomp"`
	NoSeccomp string `json:"no_seccomp,omitempty"`
	// NoNewPrivs says that programs cannot gain rights by being executed. NoPrivileges says
	// why the rights of a process cannot be given up, where the reason is another.
	NoNewPrivs   bool   `json:"no_new_privs"`
	NoPrivileges string `json:"no_privileges,omitempty"`
	// Root says that this process has the user id 0.
	Root bool `json:"root"`
}

// The versions of Landlock's interface that matter here.
const (
	abiTruncate = 3
	abiTCP      = 4
	abiScope    = 6 // signals and abstract sockets
	abiUnix     = 9 // unix sockets by their path
)

// Measures returns what of the plan the kernel enforces.
func (p *Plan) Measures(k Kernel) []Measure {
	all := []Measure{p.binary()}
	if p.Profile == Off || p.Profile == "" {
		return append(all, Measure{"isolation", Disabled, "the profile is off: the plugin may do what the host may"})
	}
	return append(all, p.privileges(k), p.files(k), p.talk(k), p.sockets(k), p.others(k), p.signals(k), p.priorities(k), p.queues(k), p.children(k), p.limits(k))
}

func (p *Plan) binary() Measure {
	m := Measure{Name: "binary", State: Enforced}
	switch {
	case p.SHA256 == "":
		m.State, m.Detail = Granted, "not compared: it is not installed from a package, so no hash is known"
	case p.Script:
		m.State, m.Detail = Missing, "a script: its hash was compared, but its interpreter opens it again"
	case p.NoLease != "":
		m.State, m.Detail = Missing, "its hash was compared, but until it is executed it can be changed by whoever may write to it: "+p.NoLease
	default:
		m.Detail = "executed is what has the SHA-256 " + p.SHA256
	}
	return m
}

func (p *Plan) privileges(k Kernel) Measure {
	if !k.NoNewPrivs {
		return Measure{"privileges", Missing, cmp.Or(k.NoPrivileges, "the kernel has no no_new_privs")}
	}
	if k.Root {
		return Measure{"privileges", Enforced, "no_new_privs, and no capabilities though the user is root"}
	}
	return Measure{"privileges", Enforced, "no_new_privs"}
}

func (p *Plan) files(k Kernel) Measure {
	m := Measure{Name: "files", State: Enforced}
	switch {
	case p.unrestricted() && len(p.Except) == 0:
		m.State, m.Detail = Granted, "reads and writes everything that the user may"
	case k.Landlock == 0:
		m.State, m.Detail = Missing, "no Landlock: "+k.NoLandlock
	case k.Landlock < abiTruncate:
		m.State, m.Detail = Missing, fmt.Sprintf("Landlock ABI %d does not keep it from truncating files: that needs %d", k.Landlock, abiTruncate)
	default:
		m.Detail = fmt.Sprintf("Landlock ABI %d: reads %s, writes %s", k.Landlock,
			p.list("system files and its own", p.Read), p.list("its own directory", p.Write))
	}
	return m
}

// list tells what is granted, and what that does not cover.
func (p *Plan) list(always string, granted []string) string {
	if isEverything(granted) {
		return "everything" + p.gaps("/")
	}
	all := []string{always}
	for _, path := range granted {
		all = append(all, path+p.gaps(path))
	}
	return strings.Join(all, ", ")
}

func (p *Plan) talk(k Kernel) Measure {
	m := Measure{Name: "network", State: Missing}
	switch network := p.network(); {
	case network == networkAny:
		m.State, m.Detail = Granted, "any"
	case network == networkLoopback:
		m.Detail = "only this machine is granted, but the kernel's rules know ports and no addresses: other machines can be reached"
	case k.Seccomp:
		m.State, m.Detail = Enforced, "none: seccomp refuses TCP, UDP and every other kind"
	case k.Landlock >= abiTCP:
		m.Detail = "none is granted, and only TCP is refused, by Landlock; no seccomp: " + k.NoSeccomp
	default:
		m.Detail = "none is granted, and nothing is refused: " + k.NoSeccomp
	}
	return m
}

func (p *Plan) sockets(k Kernel) Measure {
	m := Measure{Name: "unix sockets", State: Enforced}
	switch {
	case p.network() == networkNone && k.Seccomp:
		m.Detail = "none: seccomp refuses to connect"
	case k.Landlock >= abiUnix && !p.unrestricted():
		m.Detail = fmt.Sprintf("Landlock ABI %d: those below granted paths", k.Landlock)
	case p.unrestricted():
		m.State, m.Detail = Granted, "all that the user may connect to"
	default:
		m.State, m.Detail = Missing, fmt.Sprintf("sockets of others that the user may connect to, such as the host's: Landlock refuses them from ABI %d on, this is %d", abiUnix, k.Landlock)
	}
	return m
}

func (p *Plan) others(k Kernel) Measure {
	switch {
	case k.Landlock > 0:
		return Measure{"other processes", Enforced, "their memory and environment, and tracing them: Landlock"}
	case k.Seccomp:
		return Measure{"other processes", Missing, "tracing them is refused, but their environment can be read: " + k.NoLandlock}
	}
	return Measure{"other processes", Missing, "their memory and environment can be read: " + k.NoLandlock}
}

func (p *Plan) signals(k Kernel) Measure {
	if k.Landlock >= abiScope {
		return Measure{"signals", Enforced, "signals and abstract sockets reach only its own processes: Landlock"}
	}
	return Measure{"signals", Missing, fmt.Sprintf("it can signal processes of the same user: Landlock refuses that from ABI %d on, this is %d", abiScope, k.Landlock)}
}

func (p *Plan) priorities(k Kernel) Measure {
	if k.Seccomp {
		return Measure{"priorities", Enforced, "priority, scheduling and processors of other processes cannot be changed: seccomp"}
	}
	return Measure{"priorities", Missing, "it can give other processes of the user less of the processors: " + k.NoSeccomp}
}

// queues is about what processes share beside files.
func (p *Plan) queues(k Kernel) Measure {
	switch {
	case p.unrestricted():
		return Measure{"shared memory", Granted, "all queues, semaphores and shared memory of the user, as all its files"}
	case k.Seccomp:
		return Measure{"shared memory", Enforced, "no queues, semaphores and shared memory of System V, no POSIX queues: seccomp refuses them"}
	}
	return Measure{"shared memory", Missing, "queues, semaphores and shared memory of the user can be reached: " + k.NoSeccomp}
}

func (p *Plan) children(k Kernel) Measure {
	switch {
	case p.Subprocess:
		return Measure{"subprocesses", Granted, "they have the plugin's rights"}
	case k.Seccomp:
		return Measure{"subprocesses", Enforced, "none: seccomp refuses them"}
	}
	return Measure{"subprocesses", Missing, "none are granted, and nothing refuses them: " + k.NoSeccomp}
}

func (p *Plan) limits(k Kernel) Measure {
	m := Measure{"limits", Enforced, fmt.Sprintf("open files %d, no core dumps", p.openFiles())}
	bound := fmt.Sprintf(", threads and processes %d", p.processes())
	switch {
	case p.Group != "" && p.Bounded:
		m.Detail += bound + ": the kernel, by its cgroup"
	case p.Group != "":
		m.Detail += bound + ": the host counts them in its cgroup, and ends it when there are more"
	case !p.Subprocess && k.Seccomp:
		m.Detail += bound + ": the host counts its threads, and ends it when there are more"
	case p.Processes > 0 && k.Root:
		m.State = Missing
		m.Detail += fmt.Sprintf("; not the limit of %d threads and processes: the kernel exempts root from it; %s", p.Processes, p.NoGroup)
	case p.Processes > 0:
		m.Detail += bound + " of its user"
	default:
		m.Detail += "; what it starts is not counted: " + p.NoGroup
	}
	return m
}

// processes returns how many threads and processes there may be.
func (p *Plan) processes() int { return cmp.Or(p.Processes, DefaultProcesses) }

// openFiles returns how many files may be open.
func (p *Plan) openFiles() int {
	if p.Files > 0 {
		return p.Files
	}
	return defaultFiles
}
