package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// installedJSON is one element of what `plugin install --json` prints.
type installedJSON struct {
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Current  bool    `json:"current"`
	Previous *string `json:"previous"` // the version that was current before
	Already  bool    `json:"already"`  // its tree was there before
	Signer   *string `json:"signer"`
	Dir      string  `json:"dir"`

	Commands []string `json:"commands"` // that it adds to the command line, all approved
}

func newInstalledJSON(in *host.Installation) installedJSON {
	return installedJSON{
		Name: in.Name, Version: in.Version, Current: in.Current, Previous: optional(in.Previous), Already: in.Already,
		Signer: optional(in.Signer), Dir: in.Dir, Commands: commandNames(in.Manifest),
	}
}

// installFlags are the flags of `plugin install`.
type installFlags struct {
	index, signer             string
	approve, locked           bool
	downgrade, beside, asJSON bool
}

func (a *app) pluginInstallCommand() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install [SOURCE | NAME[@VERSION]...]",
		Short: "Install plugins from packages",
		Long: `Install plugins into the home: a file or an http(s) URL of a package, or a name that the index
has, in its highest version unless one is named. It shows what the plugin offers, which
events it will see, which commands it adds to the command line and which permissions it asks
for, and wants a yes, on a terminal, or --approve. What was approved, the hashes of the files
for all platforms and the signer are written to tasker.plugins.lock in the home; the host
starts what the lock says.

Versions lie beside each other in plugins/NAME/VERSION and are never overwritten. A host
that runs is told of another version by ` + "`tasker plugin upgrade`" + `. What differs from the lock is
refused: other bytes under the same version, another signer, a permission or a command that
nobody approved, a lower version or protocol; the message says how to accept it. So is a
command whose name tasker has itself, or another plugin: that nothing accepts.

With --locked exactly what the lock says is installed, all of it when no name is given,
from where it came or from --index, and the lock is not changed: for CI and for another
machine.

--json prints an array of {"name", "version", "current", "previous", "already", "signer",
"dir", "commands"}.`,
		Example: `  tasker plugin install dist/greeter-1.0.0.tar.gz
  tasker plugin install greeter@1.2.0 --index https://plugins.example.com --approve
  tasker plugin install --locked --index /mnt/mirror`,
		Args:              args(0, -1),
		ValidArgsFunction: a.completeInstalled,
	}
	c.Flags().StringVar(&f.index, "index", "", "`DIR|URL` of the index that knows where packages are")
	c.Flags().BoolVar(&f.approve, "approve", false, "approve what is shown, do not ask")
	c.Flags().BoolVar(&f.locked, "locked", false, "install what the lock says and nothing else")
	c.Flags().StringVar(&f.signer, "signer", "", "minisign public `KEY`, or a file with one, that must have signed; none takes what is not signed")
	c.Flags().BoolVar(&f.downgrade, "downgrade", false, "take a version or a protocol lower than the current one")
	c.Flags().BoolVar(&f.beside, "beside", false, "leave the current version as it is")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON instead of text")
	c.RunE = func(c *cobra.Command, given []string) error { return a.installPlugins(c, given, &f) }
	return c
}

func (a *app) installPlugins(c *cobra.Command, given []string, f *installFlags) error {
	cfg, d, err := a.depot(c)
	if err != nil {
		return err
	}
	signer, err := host.ReadSigner(f.signer)
	if err != nil {
		return err
	}
	if len(given) == 0 {
		if !f.locked {
			return usageOf(c, errors.New("name what to install, or --locked for all that the lock says"))
		}
		if given, err = lockedRefs(d); err != nil {
			return err
		}
	}
	out := make([]installedJSON, 0, len(given))
	for _, source := range given {
		bar := a.newBar(source)
		in, err := d.Install(c.Context(), host.InstallRequest{
			Source: source, Index: f.index, Signer: signer, Downgrade: f.downgrade, Beside: f.beside, Locked: f.locked, Progress: bar.update,
			Approve: func(_ context.Context, o *host.Offer) (bool, error) { bar.close(); return a.approveOffer(o, f.approve) },
		})
		bar.close()
		if err != nil {
			return err
		}
		out = append(out, newInstalledJSON(in))
		a.noteInstalled(c.Context(), cfg, in)
	}
	if f.asJSON {
		return a.printJSON(out)
	}
	return nil
}

// depot opens the depot of the home.
func (a *app) depot(c *cobra.Command) (*config, *host.Depot, error) {
	cfg, err := a.config(c)
	if err != nil {
		return nil, nil, err
	}
	d, err := host.OpenDepot(cfg.Home)
	if err == nil {
		d.Reserve(reserved(c.Root())...)
	}
	return cfg, d, err
}

// lockedRefs returns the current versions of the lock.
func lockedRefs(d *host.Depot) ([]string, error) {
	l, err := d.Lock()
	if err != nil {
		return nil, err
	}
	var refs []string
	for _, name := range l.Names() {
		refs = append(refs, name+"@"+l.Plugins[name].Version)
	}
	return refs, nil
}

// approveOffer shows what a plugin offers and asks for, and gets a yes or no. Without a
// terminal it is no.
func (a *app) approveOffer(o *host.Offer, approved bool) (bool, error) {
	a.printOffer(o)
	if approved {
		return true, nil
	}
	if f, ok := a.stdin.(*os.File); !ok || !isTerminal(f) {
		return false, nil
	}
	return true, a.ask1("install it?")
}

// printOffer goes to stderr: stdout is for what was installed.
func (a *app) printOffer(o *host.Offer) {
	m := o.Manifest
	a.note("%s %s from %s (%s)", m.Name, m.Version, printable(o.Source, false), size(o.Size))
	line := func(name string, values []string) {
		for i, v := range values {
			if i > 0 {
				name = ""
			}
			a.note("  %-13s %s", name, printable(v, false))
		}
	}
	if m.Description != "" || m.Title != "" {
		line("is", []string{cut(oneLine(strings.TrimSpace(m.Title+" "+m.Description)), maxShownCause)})
	}
	if o.Current != "" {
		line("replaces", []string{o.Current})
	}
	line("signed by", []string{orText(o.Signer, "nobody")})
	line("runs on", []string{strings.Join(m.Platforms(), ", ")})
	var handlers, events, emits, commands []string
	for _, h := range m.Handlers {
		handlers = append(handlers, strings.TrimSuffix(m.Name+"/"+h.Ref()+": "+oneLine(h.Description), ": "))
	}
	for _, s := range m.Subscriptions {
		text := strings.Join(s.Events, ", ") + " (subscription " + s.Name
		if s.Bound {
			text += ", once it is bound"
		}
		events = append(events, text+")")
	}
	for _, e := range m.Emits {
		emits = append(emits, e.Name)
	}
	for _, v := range m.Commands {
		text := "tasker " + v.Name + ": " + oneLine(v.Description) + " (runs as you do, outside of the isolation"
		if !o.First && slices.Contains(o.NewCommands, v.Name) {
			text += "; new: not approved before"
		}
		commands = append(commands, text+")")
	}
	line("handlers", handlers)
	line("sees events", events)
	line("emits", emits)
	line("commands", commands)
	var asks []string
	for _, ask := range o.Asks {
		if !o.First && slices.Contains(o.New, ask) {
			ask += " (new: not approved before)"
		}
		asks = append(asks, ask)
	}
	line("asks for", nonEmpty(asks, "nothing beyond its own data directory"))
}

// noteInstalled says what became of an install, and what comes next.
func (a *app) noteInstalled(ctx context.Context, cfg *config, in *host.Installation) {
	switch {
	case in.Already && in.Previous == "":
		a.note("%s %s: already installed", in.Name, in.Version)
	case !in.Current:
		a.note("%s %s: installed beside the current version", in.Name, in.Version)
	case in.Previous != "":
		a.note("%s %s: installed, was %s", in.Name, in.Version, in.Previous)
	default:
		a.note("%s %s: installed", in.Name, in.Version)
	}
	if commands := commandNames(in.Manifest); in.Current && len(commands) > 0 && (!in.Already || in.Previous != "") {
		a.note("%s adds: tasker %s", in.Name, strings.Join(commands, ", tasker "))
	}
	client, err := a.running(ctx, cfg)
	if err != nil {
		return // no host runs: the next one will take it
	}
	_ = client.Close() // nothing was written
	if !in.Already || in.Previous != "" {
		a.note("hint: %s", a.remedy("the running host takes it with: tasker plugin upgrade "+in.Name))
	}
}

// commandNames are the commands that a plugin adds to the command line.
func commandNames(m *host.PackageManifest) []string {
	names := make([]string, 0, len(m.Commands))
	for _, c := range m.Commands {
		names = append(names, c.Name)
	}
	return names
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func nonEmpty(list []string, other string) []string {
	if len(list) == 0 {
		return []string{other}
	}
	return list
}
