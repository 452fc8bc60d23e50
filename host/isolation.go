package host

import (
	"context"
	"path/filepath"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/shim"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// LaunchPlugin makes this process a plugin, if a host started it for that, and does not
// return then. A host with [Options].Isolation starts its own executable to take rights from
// itself before it becomes the plugin: call LaunchPlugin first in main.
func LaunchPlugin() { shim.Main() }

// IsolationProfiles are the values of [Options].Isolation.
func IsolationProfiles() []string { return shim.Profiles() }

// PluginLimits are what a plugin may use of the machine. 0 = no limit, or the default.
type PluginLimits = supervisor.Limits

// isolation returns what the supervisor is to keep from plugins.
func (o Options) isolation() supervisor.Isolation {
	i := supervisor.Isolation{
		Profile: shim.Profile(o.Isolation), Profiles: make(map[string]shim.Profile), Home: o.Home, Limits: o.PluginLimits,
	}
	for name, profile := range o.PluginIsolation {
		i.Profiles[name] = shim.Profile(profile)
	}
	return i
}

func isolationInfo(f *supervisor.InForce) *api.Isolation {
	if f == nil {
		return nil
	}
	out := &api.Isolation{Profile: string(f.Profile), Env: f.Env, DataDir: f.DataDir, Memory: f.Limits.Memory}
	for _, m := range f.Measures {
		out.Measures = append(out.Measures, api.Measure{Name: m.Name, State: string(m.State), Detail: m.Detail})
	}
	return out
}

// Kernel is what a machine can enforce of the isolation of plugins.
type Kernel = shim.Kernel

// ProbeKernel asks the kernel what it can enforce.
func ProbeKernel() Kernel { return shim.Probe() }

// DiagnosePlugin is [DescribePlugin] under the isolation of these options, with nothing
// granted. Its result tells what would be kept from the plugin under a host with them.
func DiagnosePlugin(ctx context.Context, path string, opts Options) (PluginInfo, error) {
	return describePlugin(ctx, path, supervisor.Options{
		Isolation: opts.isolation(), GrantEnv: opts.PluginEnv, StandardEnv: standardEnv(), DataDir: filepath.Join(opts.Home, dataDir),
		Configs: opts.PluginConfigs,
	})
}
