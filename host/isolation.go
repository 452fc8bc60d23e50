package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	out := &api.Isolation{Profile: string(f.Profile), Env: f.Env, DataDir: f.DataDir, SocketDir: f.SocketDir, Memory: f.Limits.Memory}
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
	diagnosis, err := opts.diagnosis()
	if err != nil {
		return PluginInfo{Path: path}, err
	}
	return describePlugin(ctx, path, diagnosis)
}

// DiagnoseInstalled is [InstalledPlugins], and its result tells what would be kept from each
// under a host with these options, with what was approved.
func DiagnoseInstalled(opts Options) ([]PluginInfo, error) {
	diagnosis, err := opts.diagnosis()
	if err != nil {
		return nil, err
	}
	return listInstalled(opts.Home, func(b supervisor.Binary) *supervisor.InForce {
		if b.Refused != nil || b.Granted == nil {
			return nil
		}
		return supervisor.Would(b, *b.Granted, diagnosis)
	})
}

// diagnosis returns what of the options says what is kept from plugins.
func (o Options) diagnosis() (supervisor.Options, error) {
	var err error
	if o.Home, err = filepath.Abs(o.Home); err != nil {
		return supervisor.Options{}, fmt.Errorf("home: %w", err)
	}
	sockets, err := api.RuntimeDir(o.Home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a home that is not there yet has none
		return supervisor.Options{}, err
	}
	return supervisor.Options{
		Isolation: o.isolation(), GrantEnv: o.PluginEnv, StandardEnv: standardEnv(), DataDir: filepath.Join(o.Home, dataDir), RunDir: sockets,
		Configs: o.PluginConfigs,
	}, nil
}
