package depot

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// Commands run as whoever types them, outside of the isolation: so each is approved by its
// name and its program, once, and no name leads to two programs.

// InstalledCommand is a command of the current version of an installed plugin.
type InstalledCommand struct {
	Command

	Plugin   string
	Version  string
	Approved bool // by the lock; else [Depot.Program] refuses it
}

// Reserve names the commands that no plugin may have: those of the command line itself. It
// is called before the depot is used.
func (d *Depot) Reserve(names ...string) { d.reserved = append(d.reserved, names...) }

// Commands lists the commands of the current versions by plugin and name. Nothing is
// compared with the lock but what it approved: [Depot.Program] does that. The error is that
// of the lock.
func (d *Depot) Commands() ([]InstalledCommand, error) {
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	var out []InstalledCommand
	for _, name := range l.Names() {
		version := l.Plugins[name].Version
		approved := l.Plugins[name].Versions[version].Commands
		commands := make(map[string]Command)
		for c, executable := range approved {
			commands[c] = Command{Name: c, Executable: executable}
		}
		if m, _, err := d.manifest(name, version); err == nil { // without one Program says what is wrong
			for _, c := range m.Commands {
				commands[c.Name] = c
			}
		}
		for _, c := range sortedKeys(commands) {
			executable, ok := approved[c]
			out = append(out, InstalledCommand{commands[c], name, version, ok && executable == commands[c].Executable})
		}
	}
	return out, nil
}

// Program returns what runs a command of an installed plugin: a file, and the arguments
// before those that were typed. The plugin's tree is compared with the lock; a command that
// nobody approved, or that two plugins have, is a [*MismatchError].
func (d *Depot) Program(plugin, command string) (path string, args []string, err error) {
	l, err := d.Lock()
	if err != nil {
		return "", nil, err
	}
	b, err := d.binary(l, plugin, "")
	if err != nil {
		return "", nil, err
	}
	m, _, err := d.manifest(plugin, b.Version)
	if err != nil {
		return "", nil, err
	}
	at := slices.IndexFunc(m.Commands, func(c Command) bool { return c.Name == command })
	if at < 0 {
		return "", nil, fmt.Errorf("plugin %s %s has no command %s: %w", plugin, b.Version, command, task.ErrNotFound)
	}
	c := m.Commands[at]
	approved := l.Plugins[plugin].Versions[b.Version].Commands
	if executable, ok := approved[command]; !ok || executable != c.Executable {
		expected := "one that was approved"
		if ok {
			expected = "that it runs " + programName(executable)
		}
		return "", nil, &MismatchError{
			What: fmt.Sprintf("command %s of %s %s", command, plugin, b.Version), Expected: expected,
			Found: "that it runs " + programName(c.Executable) + ", which nobody approved", Accept: "tasker plugin approve " + plugin,
		}
	}
	if err := l.ambiguous(command); err != nil {
		return "", nil, err
	}
	if c.Executable == "" {
		return b.Path, []string{command}, nil
	}
	return filepath.Join(d.Dir(plugin, b.Version), filepath.FromSlash(c.Executable)), nil, nil
}

// ambiguous is the error of a command that the current versions of several plugins have: no
// install brings that about, but two locks that were merged may.
func (l *Lock) ambiguous(command string) error {
	var have, removals []string
	for _, name := range l.Names() {
		p := l.Plugins[name]
		if _, ok := p.Versions[p.Version].Commands[command]; ok {
			have, removals = append(have, name), append(removals, "tasker plugin remove "+name)
		}
	}
	if len(have) < 2 {
		return nil
	}
	return &MismatchError{
		What: "command " + command, Expected: "one plugin that has it", Found: strings.Join(have, ", "),
		Accept: "keep one of them: " + strings.Join(removals, ", or "),
	}
}

// clash refuses commands whose names are taken: by the command line itself, or by another
// plugin in whichever version, as each may become the current one.
func (d *Depot) clash(l *Lock, m *Manifest) error {
	refuse := func(c Command, found, accept string) error {
		return &MismatchError{
			What: fmt.Sprintf("command %s of %s %s", c.Name, m.Name, m.Version), Expected: "a name that is not taken", Found: found, Accept: accept,
		}
	}
	for _, c := range m.Commands {
		if slices.Contains(d.reserved, c.Name) {
			return refuse(c, "one of tasker's own commands", "nothing accepts it: its author gives it another name in "+CommandsFile+" and packs it again")
		}
		for _, name := range l.Names() {
			p := l.Plugins[name]
			for _, version := range p.Sorted() {
				if _, taken := p.Versions[version].Commands[c.Name]; !taken || name == m.Name {
					continue
				}
				accept := "tasker plugin remove " + name
				if version != p.Version {
					accept += "@" + version
				}
				return refuse(c, "the command of "+name+" "+version, "to have this one instead of that: "+accept)
			}
		}
	}
	return nil
}

// programs returns what the commands run, by name, as the lock approves it.
func (m *Manifest) programs() map[string]string {
	if len(m.Commands) == 0 {
		return nil
	}
	out := make(map[string]string, len(m.Commands))
	for _, c := range m.Commands {
		out[c.Name] = c.Executable
	}
	return out
}

// newCommands returns the names of the commands that nobody approved as they are, sorted.
func newCommands(m *Manifest, approved map[string]string) []string {
	var out []string
	for name, executable := range m.programs() {
		if was, ok := approved[name]; !ok || was != executable {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// programName is what a command runs, as people are told.
func programName(executable string) string {
	if executable == "" {
		return "the plugin's executable"
	}
	return executable
}

// phrases are commands as people are told what was approved of them: "command tally".
func phrases(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, "command "+name)
	}
	return out
}

// notApproved says which permissions and commands of a plugin nobody approved; nil = all
// were. accept is the command that does.
func notApproved(m *Manifest, permissions supervisor.Permissions, commands map[string]string, accept string) error {
	beyond, fresh := Beyond(m.Permissions, permissions), newCommands(m, commands)
	var what []string
	if len(beyond) > 0 {
		what = append(what, "permissions")
	}
	if len(fresh) > 0 {
		what = append(what, "commands")
	}
	if len(what) == 0 {
		return nil
	}
	var approved []string
	if len(beyond) > 0 {
		approved = Asks(permissions)
	}
	if len(fresh) > 0 {
		approved = append(approved, phrases(slices.Sorted(maps.Keys(commands)))...)
	}
	found := beyond
	for _, name := range fresh {
		phrase := "command " + name
		if _, ok := commands[name]; ok { // known, and now it runs something else
			phrase += " by " + programName(m.programs()[name])
		}
		found = append(found, phrase)
	}
	return &MismatchError{
		What: fmt.Sprintf("%s of %s %s", strings.Join(what, " and "), m.Name, m.Version), Expected: orNone(strings.Join(approved, ", ")),
		Found: "also " + strings.Join(found, ", "), Accept: accept,
	}
}

// verifyCommands compares the commands of a version with what the lock approved of it. The
// host does not: it starts a plugin without running its commands.
func (d *Depot) verifyCommands(l *Lock, name, version string) error {
	m, _, err := d.manifest(name, version)
	if err != nil {
		return err
	}
	pinned := l.Plugins[name].Versions[version]
	problems := []error{notApproved(m, pinned.Permissions, pinned.Commands, fmt.Sprintf("tasker plugin approve %s@%s", name, version))}
	if version == l.Plugins[name].Version {
		for _, c := range sortedKeys(pinned.Commands) {
			problems = append(problems, l.ambiguous(c))
		}
	}
	for _, err := range problems {
		if err != nil {
			return err // one says what to do next; the next call says the rest
		}
	}
	return nil
}

// checkApprovedCommands checks what a lock says of commands.
func (p *Pinned) checkApprovedCommands() error {
	for _, name := range sortedKeys(p.Commands) {
		if !task.ValidPluginName(name) {
			return fmt.Errorf("command %q: want a name [a-z][a-z0-9-]{0,31}", name)
		}
		if executable := p.Commands[name]; executable != "" {
			if err := checkPath(executable); err != nil {
				return fmt.Errorf("command %q: %w", name, err)
			}
		}
	}
	return nil
}

// errCommands is the error of a lock that is older than the approval of commands, and has some.
var errCommands = errors.New("format 1 has no commands")
