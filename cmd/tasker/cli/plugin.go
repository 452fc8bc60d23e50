package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
		a.pluginResumeCommand(),
	)
}

// pluginPrefix begins the name of every plugin's executable.
const pluginPrefix = "tasker-plugin-"

// describeTimeout is how long a plugin has to print its manifest.
const describeTimeout = 5 * time.Second

// notRunning is the state of a plugin that was asked for its manifest without a host.
const notRunning task.PluginState = "not_running"

// plugins returns the plugins of the host that runs in the home; without one, what the
// executables in the plugin directories say of themselves.
func (a *app) plugins(ctx context.Context, cfg *config) ([]host.PluginInfo, error) {
	client, err := a.running(ctx, cfg)
	if err == nil {
		defer func() { _ = client.Close() }() // nothing was written
		return client.Plugins(ctx)
	}
	if !errors.Is(err, host.ErrNoHost) {
		return nil, err
	}
	a.note("no host is running in %s: this is what the executables say of themselves", cfg.Home)
	var found []host.PluginInfo
	for _, dir := range cfg.PluginDirs {
		paths, err := filepath.Glob(filepath.Join(dir, pluginPrefix+"*"))
		if err != nil {
			return nil, fmt.Errorf("plugin directory %s: %w", dir, err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				found = append(found, describe(ctx, path))
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
	var known []string
	for i := range found {
		if found[i].Name == name {
			return &found[i], nil
		}
		known = append(known, found[i].Name)
	}
	return nil, withHint(fmt.Errorf("plugin %q: %w%s", name, task.ErrNotFound, didYouMean(name, known)), "tasker plugin list")
}

// described is the part of `--describe` that is shown.
type described struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Handlers []struct {
		Name           string          `json:"name"`
		Version        uint32          `json:"version"`
		Description    string          `json:"description"`
		Idempotent     string          `json:"idempotent"`
		MaxConcurrency int             `json:"max_concurrency"`
		InputSchema    json.RawMessage `json:"input_schema"`
		ConfigSchema   json.RawMessage `json:"config_schema"`
		OutputSchema   json.RawMessage `json:"output_schema"`
	} `json:"handlers"`
	MaxConcurrency int `json:"max_concurrency"`
}

// describe asks an executable for its manifest. What is no plugin is shown as refused.
func describe(ctx context.Context, path string) host.PluginInfo {
	name := strings.TrimPrefix(filepath.Base(path), pluginPrefix)
	if runtime.GOOS == "windows" {
		name = strings.TrimSuffix(name, ".exe")
	}
	p := host.PluginInfo{Name: name, Path: path, State: notRunning}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--describe")
	cmd.WaitDelay = time.Second // a child of the plugin may keep its output open
	out, err := cmd.Output()
	var d described
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(out)).Decode(&d)
	}
	if err == nil && d.Name == "" {
		err = errors.New("no name in its manifest")
	}
	if err != nil {
		p.State, p.Cause = task.PluginRefused, "does not answer --describe as a plugin does: "+err.Error()
		return p
	}
	p.Name, p.Version, p.Manifest, p.Capacity = d.Name, d.Version, bytes.TrimSpace(out), d.MaxConcurrency
	for _, h := range d.Handlers {
		p.Handlers = append(p.Handlers, host.HandlerInfo{
			Name: h.Name, Version: h.Version, Description: h.Description, Idempotent: task.Idempotency(h.Idempotent),
			MaxConcurrency: h.MaxConcurrency, InputSchema: h.InputSchema, ConfigSchema: h.ConfigSchema,
			OutputSchema: h.OutputSchema,
		})
	}
	return p
}
