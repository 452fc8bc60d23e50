package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) pluginCommand() *cobra.Command {
	return a.noun("plugin", "See what plugins offer and how they are",
		a.pluginListCommand(), a.pluginDescribeCommand(), a.pluginLogsCommand(), a.pluginCrashesCommand(),
		a.pluginUpgradeCommand(), a.pluginRollbackCommand(), a.pluginReloadCommand(), a.pluginResumeCommand(), a.pluginVerifyCommand(), a.pluginTopCommand(),
		a.pluginPackCommand(), a.pluginKeygenCommand(), a.pluginInstallCommand(), a.pluginRemoveCommand(), a.pluginLockCommand(),
		a.pluginVerifyLockCommand(), a.pluginSearchCommand(), a.pluginIndexCommand(), a.pluginApproveCommand(),
		a.pluginNewCommand(), a.pluginDevCommand(), a.pluginDocsCommand(), a.pluginRecordCommand(), a.pluginReplayCommand(), a.pluginDoctorCommand(),
	)
}

// pluginPrefix begins the name of every plugin's executable.
const pluginPrefix = "tasker-plugin-"

// describeTimeout is how long a plugin has to hand over its manifest.
const describeTimeout = 10 * time.Second

// notRunning is the state of a plugin that was asked for its manifest without a host.
const notRunning task.PluginState = "not_running"

// plugins returns the plugins of the host that runs in the home; without one, what the
// executables in the plugin directories say of themselves.
func (a *app) plugins(ctx context.Context, cfg *config) ([]host.PluginInfo, error) {
	client, err := a.running(ctx, cfg)
	if err == nil {
		defer func() { _ = client.Close() }() // nothing was written
		found, err := client.Plugins(ctx)
		if err != nil {
			return nil, err
		}
		return a.withInstalled(cfg, found, "the host runs without it: tasker plugin upgrade, or restart the host")
	}
	if !errors.Is(err, host.ErrNoHost) {
		return nil, err
	}
	a.note("no host is running in %s: this is what the executables say of themselves", cfg.Home)
	found, err := a.executables(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return a.withInstalled(cfg, found, "")
}

// executables returns what the executables in the plugin directories say of themselves.
func (a *app) executables(ctx context.Context, cfg *config) ([]host.PluginInfo, error) {
	a.warnOfMissing(cfg)
	var found []host.PluginInfo
	for _, dir := range cfg.PluginDirs {
		paths, err := filepath.Glob(filepath.Join(dir, pluginPrefix+"*"))
		if err != nil {
			return nil, fmt.Errorf("plugin directory %s: %w", dir, err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				found = append(found, describe(ctx, path, cfg.hostOptions()))
			}
		}
	}
	slices.SortStableFunc(found, func(a, b host.PluginInfo) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// plugin finds one plugin by name.
func (a *app) plugin(ctx context.Context, cfg *config, name string) (*host.PluginInfo, error) {
	found, err := a.plugins(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return pluginOf(found, name)
}

func pluginOf(found []host.PluginInfo, name string) (*host.PluginInfo, error) {
	var known []string
	for i := range found {
		if found[i].Name == name {
			return &found[i], nil
		}
		known = append(known, found[i].Name)
	}
	return nil, withHint(fmt.Errorf("plugin %q: %w%s", name, task.ErrNotFound, didYouMean(name, known)), "tasker plugin list")
}

// describe starts an executable to ask it for its manifest. What is no plugin is shown
// as refused.
func describe(ctx context.Context, path string, opts host.Options) host.PluginInfo {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	p, err := host.DiagnosePlugin(ctx, path, opts)
	p.State = notRunning
	if err != nil {
		p.State, p.Cause = task.PluginRefused, err.Error()
	}
	return p
}
