package supervisor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/cgroup"
	"github.com/tasker-engine/tasker/host/internal/shim"
)

// Isolation says what of the machine is kept from plugins that were not granted it.
type Isolation struct {
	// Profile is for all plugins, Profiles are exceptions. Empty = [shim.Off]. Any other
	// demands that main calls [shim.Main] first.
	Profile  shim.Profile
	Profiles map[string]shim.Profile
	// Home is the host's own directory: no permission covers it, but for what in it the
	// operator names to a plugin. Empty = none.
	Home string
	// Limits are those of single plugins.
	Limits map[string]Limits
}

// Limits are what the processes of a plugin may use. 0 = no limit, or the default.
type Limits struct {
	Memory    int64 // resident, bytes
	Files     int   // open files of one process, default 65536
	Processes int   // threads and processes together, default [shim.DefaultProcesses]
}

func (l Limits) processes() int { return cmp.Or(l.Processes, shim.DefaultProcesses) }

// profile returns the profile of a plugin.
func (i Isolation) profile(plugin string) shim.Profile {
	profile, ok := i.Profiles[plugin]
	if !ok {
		profile = i.Profile
	}
	if profile == "" {
		return shim.Off
	}
	return profile
}

func (i Isolation) validate() error {
	var problems []error
	check := func(profile shim.Profile) {
		if profile != "" && !slices.Contains(shim.Profiles(), string(profile)) {
			problems = append(problems, fmt.Errorf("isolation %q: want off, default or strict", profile))
		}
	}
	check(i.Profile)
	for _, profile := range i.Profiles {
		check(profile)
	}
	for name, l := range i.Limits {
		if l.Memory < 0 || l.Files < 0 || l.Processes < 0 {
			problems = append(problems, fmt.Errorf("limits of plugin %s: want more than 0", name))
		}
	}
	if shim.Pending() {
		problems = append(problems, errors.New("this process was started to launch a plugin: main has to call host.LaunchPlugin first"))
	}
	return errors.Join(problems...)
}

// grant is what a process gets beside what every plugin has.
type grant struct {
	env         []string // names, sorted
	permissions Permissions
	read, write []grantedPath // what the permissions mean with this configuration
}

func (g grant) equal(other grant) bool {
	a, b := g.permissions, other.permissions
	return slices.Equal(g.env, other.env) && slices.Equal(g.read, other.read) && slices.Equal(g.write, other.write) &&
		a.Network == b.Network && a.Subprocess == b.Subprocess
}

// grantOf returns what a plugin gets with a configuration: of what was approved, or of what
// it asks for when it was not installed.
func (o Options) grantOf(b Binary, m *Manifest, config json.RawMessage) grant {
	wanted := m.Permissions
	if b.Granted != nil {
		wanted = *b.Granted
	}
	g := grant{env: o.grantedEnv(m.Name, wanted.Env)}
	if o.Isolation.profile(m.Name) != shim.Off {
		g.permissions = wanted
		if g.permissions.Network == "none" {
			g.permissions.Network = "" // two words for one thing
		}
		dir := filepath.Join(o.DataDir, m.Name)
		g.read, g.write = pathsOf(wanted.FSRead, config, g.env, dir), pathsOf(wanted.FSWrite, config, g.env, dir)
	}
	return g
}

// firstGrant returns what a plugin gets before it said anything: what was approved, else
// nothing.
func (o Options) firstGrant(b Binary, config json.RawMessage) grant {
	if b.Granted == nil {
		return grant{}
	}
	return o.grantOf(b, &Manifest{Name: b.Name}, config)
}

// InForce is what of the machine is kept from a process, and how.
type InForce struct {
	Profile  shim.Profile
	Measures []shim.Measure
	Env      []string // the names of the variables that it sees, sorted
	DataDir  string
	// SocketDir has, while a process starts, a directory with its socket.
	SocketDir string
	// Granted are the permissions beside the environment; with the profile off they mean
	// nothing.
	Granted Permissions
	Limits  Limits
}

// tmpDir is the directory for temporary files in a plugin's data directory.
const tmpDir = ".tmp"

// isolate prepares what the process may do. It returns the error of what is never started.
func (l *launch) isolate() error {
	profile := l.opts.Isolation.profile(l.plugin)
	if l.binary.SHA256 == "" && profile == shim.Off {
		return nil
	}
	program, err := shim.Open(l.binary.Path, l.binary.SHA256)
	if err != nil {
		return refuse(err)
	}
	l.process.program = program
	plan := l.plan()
	if err := l.files(plan, profile != shim.Off && shim.Supported); err != nil {
		return refuse(err)
	}
	if err := plan.Check(shim.Probe()); err != nil {
		return refuse(l.wayOut(err))
	}
	if profile == shim.Off || !shim.Supported {
		return nil
	}
	l.process.plan = plan
	l.join(plan)
	if err := privateDir(filepath.Join(l.dataDir(), tmpDir)); err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	return nil
}

// wayOut adds to the error of a strict profile that asks too much what can be done.
func (l *launch) wayOut(err error) error {
	if !errors.Is(err, shim.ErrUnenforceable) {
		return err
	}
	return fmt.Errorf("%w; to start it without that, set plugins.%s.isolation: %s", err, l.plugin, shim.Default)
}

// join gives the process a cgroup of its own, where the host can make one.
func (l *launch) join(plan *shim.Plan) {
	if plan.Group == "" {
		return
	}
	limits := l.opts.Isolation.Limits[l.plugin]
	group, err := l.groups.Make(l.instance, cgroup.Limits{Memory: memoryHard * limits.Memory, Processes: limits.processes()})
	if err != nil {
		plan.Group, plan.Bounded, plan.NoGroup = "", false, err.Error()
		return
	}
	l.process.group, plan.Group = group, group.Dir()
}

// plan returns what the process may do; its socket directory is not known yet, and which
// files, [launch.files] says.
func (l *launch) plan() *shim.Plan {
	granted, limits := l.granted.permissions, l.opts.Isolation.Limits[l.plugin]
	p := &shim.Plan{
		Profile: l.opts.Isolation.profile(l.plugin), Path: l.binary.Path, SHA256: l.binary.SHA256, Script: l.process.program.Script, NoLease: l.process.program.NoLease,
		Private: []string{l.dataDir()}, Network: granted.Network, Subprocess: granted.Subprocess,
		Files: limits.Files, Processes: limits.Processes, HostPID: os.Getpid(),
	}
	if tree := packageTree(l.binary); tree != "" {
		p.Trees = []string{tree}
	}
	switch {
	case l.groups != nil:
		// Whoever may write there can leave its group.
		p.Group, p.Bounded, p.Sealed = l.groups.Dir(), l.groups.Bounds(), []string{l.groups.Mount()}
	case l.noGroups != nil:
		p.NoGroup = l.noGroups.Error()
	}
	return p
}

// packageTree returns the directory of an installed plugin, empty for any other.
func packageTree(b Binary) string {
	if b.Version == "" {
		return ""
	}
	for dir := filepath.Dir(b.Path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if filepath.Base(dir) == b.Version {
			return dir
		}
	}
	return ""
}

// environment returns the variables of the process.
func (l *launch) environment() []string {
	env := scrubbedEnv(l.granted.env)
	if l.opts.Isolation.profile(l.plugin) != shim.Off && shim.Supported {
		env = append(slices.DeleteFunc(env, isVariable("TMPDIR")), "TMPDIR="+filepath.Join(l.dataDir(), tmpDir))
	}
	if limit := l.opts.Isolation.Limits[l.plugin].Memory; limit > 0 {
		// The collector of a Go program works harder before the limit is reached.
		env = append(slices.DeleteFunc(env, isVariable("GOMEMLIMIT")), "GOMEMLIMIT="+strconv.FormatInt(limit/10*9, 10))
	}
	return env
}

func isVariable(name string) func(string) bool {
	return func(kv string) bool { return strings.HasPrefix(kv, name+"=") }
}

// inForce tells what is kept from the process.
func (l *launch) inForce() *InForce {
	f := &InForce{
		Profile: l.opts.Isolation.profile(l.plugin), DataDir: l.dataDir(), Granted: l.granted.permissions,
		Limits: l.opts.Isolation.Limits[l.plugin], Measures: l.process.measures(), SocketDir: l.opts.RunDir,
	}
	for _, kv := range l.environment() {
		name, _, _ := strings.Cut(kv, "=")
		f.Env = append(f.Env, name)
	}
	slices.Sort(f.Env)
	if f.Measures == nil {
		plan := l.plan()
		_ = l.files(plan, false) // what it refuses was refused before a start
		f.Measures = plan.Measures(shim.Probe())
	}
	return f
}

// Would tells what would be in force for a plugin that asks for these permissions.
func Would(b Binary, asked Permissions, opts Options) *InForce {
	opts = opts.withDefaults()
	m := &Manifest{Name: b.Name, Permissions: asked}
	l := &launch{launcher: launcher{opts: opts}, binary: b, plugin: b.Name, granted: opts.grantOf(b, m, opts.config(b.Name)), process: &process{}}
	l.groups, l.noGroups = cgroup.Find()
	if program, err := shim.Open(b.Path, b.SHA256); err == nil {
		l.process.program = program
		l.process.closeFile()
	}
	return l.inForce()
}
