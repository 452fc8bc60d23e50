package cli

import (
	"strings"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// lockedJSON is what the lock says of a plugin.
type lockedJSON struct {
	Version     string   `json:"version"`
	Previous    *string  `json:"previous"`
	Versions    []string `json:"versions"` // the lowest first
	Signer      *string  `json:"signer"`
	Source      string   `json:"source"`
	Permissions []string `json:"permissions"` // that were approved
	Platforms   []string `json:"platforms"`

	Commands []commandJSON `json:"commands"`
}

// commandJSON is a command that an installed plugin adds to the command line.
type commandJSON struct {
	Name        string  `json:"name"`
	Description *string `json:"description"`
	Approved    bool    `json:"approved"` // else it is not run
}

// lockOf returns what the lock of the home says, by plugin.
func lockOf(cfg *config) (map[string]*lockedJSON, error) {
	d, err := host.OpenDepot(cfg.Home)
	if err != nil {
		return nil, err
	}
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	commands, err := d.Commands()
	if err != nil {
		return nil, err
	}
	out := make(map[string]*lockedJSON, len(l.Plugins))
	for name, p := range l.Plugins {
		pinned := p.Versions[p.Version]
		out[name] = &lockedJSON{
			Version: p.Version, Previous: optional(p.Previous), Versions: p.Sorted(), Signer: optional(p.Signer), Source: pinned.Source,
			Permissions: list(host.Asks(pinned.Permissions)), Platforms: pinned.Platforms(),
			Commands: []commandJSON{},
		}
	}
	for i := range commands {
		c := &commands[i]
		if of := out[c.Plugin]; of != nil {
			of.Commands = append(of.Commands, commandJSON{c.Name, optional(c.Description), c.Approved})
		}
	}
	return out, nil
}

// withInstalled adds the plugins of the lock that are not among the found ones.
func (a *app) withInstalled(cfg *config, found []host.PluginInfo, cause string) ([]host.PluginInfo, error) {
	installed, err := host.InstalledPlugins(cfg.Home)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(found))
	for i := range found {
		known[found[i].Name] = true
	}
	for i := range installed {
		p := installed[i]
		if known[p.Name] {
			continue
		}
		if p.State != task.PluginRefused {
			p.State, p.Cause = notRunning, cause
		}
		found = append(found, p)
	}
	return found, nil
}

// versionCell is the version of a plugin in the list, and what the lock says of it.
func versionCell(p *host.PluginInfo, locked *lockedJSON) string {
	switch {
	case locked == nil:
		return orDash(p.Version)
	case p.Version == "" || p.Version == locked.Version:
		return locked.Version + " (locked)"
	default:
		return p.Version + " (lock: " + locked.Version + ")"
	}
}

// printLocked prints what the lock says of a plugin.
func (a *app) printLocked(plugin string, locked *lockedJSON) {
	if locked == nil {
		return
	}
	line := func(name, value string) { a.out.printf("%-10s %s\n", name, oneLine(value)) }
	line("locked", strings.Join(append([]string{locked.Version}, fallback(locked.Previous)...), ", before "))
	line("versions", strings.Join(locked.Versions, ", "))
	line("platforms", strings.Join(locked.Platforms, ", "))
	line("source", locked.Source)
	line("signer", orText(deref(locked.Signer), "nobody"))
	line("approved", strings.Join(nonEmpty(locked.Permissions, "nothing beyond its own data directory"), ", "))
	for _, c := range locked.Commands {
		text := "tasker " + c.Name + ": " + deref(c.Description)
		if !c.Approved {
			text += a.remedy(" (not approved: tasker plugin approve " + plugin + ")")
		}
		line("command", text)
	}
}

func fallback(s *string) []string {
	if s == nil {
		return nil
	}
	return []string{*s}
}
