package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// kernelJSON is what the machine can enforce.
type kernelJSON struct {
	Landlock     int    `json:"landlock_abi"` // 0 = there is none
	NoLandlock   string `json:"no_landlock,omitempty"`
	Seccomp      bool   `json:"seccomp"`
	NoSeccomp    string `json:"no_seccomp,omitempty"`
	NoNewPrivs   bool   `json:"no_new_privs"`
	NoPrivileges string `json:"no_privileges,omitempty"` // why rights could not be given up
	Root         bool   `json:"root"`
}

// measureJSON is one thing that is kept from a plugin, or is not.
type measureJSON struct {
	Name   string `json:"name"`
	State  string `json:"state"` // enforced, granted, missing or off
	Detail string `json:"detail"`
}

// diagnosisJSON is a plugin of `plugin doctor --json`.
type diagnosisJSON struct {
	Name     string           `json:"name"`
	Version  string           `json:"version,omitempty"`
	Path     string           `json:"path"`
	State    task.PluginState `json:"state"`
	Cause    string           `json:"cause,omitempty"`
	PID      int              `json:"pid,omitempty"`
	Profile  string           `json:"profile,omitempty"`
	Measures []measureJSON    `json:"measures"`
	Env      []string         `json:"env"`
	DataDir  string           `json:"data_dir,omitempty"`
	Sockets  string           `json:"socket_dir,omitempty"`
	Memory   int64            `json:"memory_limit,omitempty"` // bytes
}

func (a *app) pluginDoctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor [PLUGIN]",
		Short: "Tell what of the machine is kept from plugins",
		Long: `Tell what of the machine is kept from each plugin, and what is not, and why: what the kernel
really gave to the processes of the host that runs in the home. What has no process, or if
there is no host, is shown as it would be: plugins of the plugin directories with all that
they ask for, installed ones with what was approved.

  enforced  the kernel refuses what the plugin was not granted
  granted   the plugin asked for it, and has it
  missing   it is not granted, and this kernel does not refuse it
  off       the profile asks for nothing

The profiles (off, default, strict) and the limits are set in tasker.yaml, see
docs/isolation.md.

--json prints {"kernel", "plugins"}. Where the kernel lacks something, no_landlock, no_seccomp
and no_privileges (to give up rights) say why.`,
		Example: `  tasker plugin doctor
  tasker plugin doctor http --json`,
		Args:              args(0, 1),
		ValidArgsFunction: a.completePlugins,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		found, err := a.diagnosed(c.Context(), cfg, given)
		if err != nil {
			return err
		}
		kernel := host.ProbeKernel()
		if *asJSON {
			out := struct {
				Kernel  kernelJSON      `json:"kernel"`
				Plugins []diagnosisJSON `json:"plugins"`
			}{kernelJSON(kernel), make([]diagnosisJSON, 0, len(found))}
			for i := range found {
				out.Plugins = append(out.Plugins, newDiagnosis(&found[i]))
			}
			return a.printJSON(out)
		}
		a.out.printf("kernel: %s\n", kernelText(kernel))
		for i := range found {
			a.printDiagnosis(&found[i])
		}
		return nil
	}
	return c
}

// diagnosed returns one plugin, or all.
func (a *app) diagnosed(ctx context.Context, cfg *config, given []string) ([]host.PluginInfo, error) {
	var found []host.PluginInfo
	if len(given) == 0 {
		all, err := a.plugins(ctx, cfg)
		if err != nil {
			return nil, err
		}
		found = all
	} else {
		p, err := a.plugin(ctx, cfg, given[0])
		if err != nil {
			return nil, err
		}
		found = []host.PluginInfo{*p}
	}
	unknown := func(p host.PluginInfo) bool { return p.Isolation == nil }
	if !slices.ContainsFunc(found, unknown) {
		return found, nil
	}
	installed, err := host.DiagnoseInstalled(cfg.hostOptions())
	if err != nil {
		return nil, err
	}
	for i := range found {
		for j := range installed {
			if p := &installed[j]; unknown(found[i]) && p.Name == found[i].Name && p.Path == found[i].Path {
				found[i].Isolation = p.Isolation
			}
		}
	}
	return found, nil
}

func kernelText(k host.Kernel) string {
	var parts []string
	if k.Landlock > 0 {
		parts = append(parts, fmt.Sprintf("Landlock ABI %d", k.Landlock))
	} else {
		parts = append(parts, "no Landlock ("+k.NoLandlock+")")
	}
	if k.Seccomp {
		parts = append(parts, "seccomp")
	} else {
		parts = append(parts, "no seccomp ("+k.NoSeccomp+")")
	}
	if !k.NoNewPrivs {
		parts = append(parts, "no giving up of rights ("+k.NoPrivileges+")")
	}
	if k.Root {
		parts = append(parts, "user root")
	}
	return strings.Join(parts, ", ")
}

func newDiagnosis(p *host.PluginInfo) diagnosisJSON {
	d := diagnosisJSON{
		Name: p.Name, Version: p.Version, Path: p.Path, State: p.State, Cause: p.Cause, PID: p.PID,
		Measures: []measureJSON{}, Env: []string{},
	}
	if i := p.Isolation; i != nil {
		d.Profile, d.DataDir, d.Sockets, d.Memory = i.Profile, i.DataDir, i.SocketDir, i.Memory
		d.Env = append(d.Env, i.Env...)
		for _, m := range i.Measures {
			d.Measures = append(d.Measures, measureJSON(m))
		}
	}
	return d
}

func (a *app) printDiagnosis(p *host.PluginInfo) {
	title := strings.TrimSpace(p.Name + " " + p.Version)
	if p.PID != 0 {
		title += fmt.Sprintf(", process %d", p.PID)
	}
	a.out.printf("\n%s (%s): %s\n", title, p.State, p.Path)
	if p.Isolation == nil {
		a.out.printf("  %s\n", firstLine("nothing is known: "+cmp.Or(p.Cause, "it was not started yet")))
		return
	}
	if p.PID == 0 {
		a.out.printf("  %s\n  it would get:\n", firstLine(cmp.Or(p.Cause, "no process of it runs")))
	}
	t := table{head: []string{"  WHAT", "STATE", "DETAIL"}}
	t.add("  profile", p.Isolation.Profile, "")
	for _, m := range p.Isolation.Measures {
		t.add("  "+m.Name, m.State, m.Detail)
	}
	if p.Isolation.Memory > 0 {
		t.add("  memory", "watched", fmt.Sprintf("%d MiB: the host measures it, the kernel does not", p.Isolation.Memory>>20)) //nolint:mnd // bytes
	}
	t.add("  environment", "", strings.Join(p.Isolation.Env, " "))
	t.add("  data directory", "", p.Isolation.DataDir)
	if p.Isolation.SocketDir != "" {
		t.add("  socket directory", "", p.Isolation.SocketDir+": one below it per start, removed when the host is connected")
	}
	t.print(a.out)
}
