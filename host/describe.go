package host

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// DescribePlugin starts a plugin's executable, asks it for its manifest as a host does,
// and stops it. Without an error the result has everything but what only a running
// plugin has; with one, name and path. The error names the phase that failed and shows
// what the executable printed.
func DescribePlugin(ctx context.Context, path string) (PluginInfo, error) {
	return describePlugin(ctx, path, supervisor.Options{})
}

func describePlugin(ctx context.Context, path string, opts supervisor.Options) (PluginInfo, error) {
	name := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(path), ".exe"), "tasker-plugin-")
	if end, ok := ctx.Deadline(); ok { // named when it passes
		opts.StartTimeout = max(time.Until(end).Round(time.Second), time.Second)
	}
	m, err := supervisor.Describe(ctx, path, opts)
	if err != nil {
		return api.PluginInfo{Name: name, Path: path}, err
	}
	return pluginInfo(&supervisor.PluginInfo{
		Name: m.Name, Version: m.Version, Path: path, Manifest: m, Capacity: m.MaxConcurrency,
		InForce: supervisor.Would(supervisor.Binary{Name: m.Name, Path: path}, m.Permissions, opts),
	})
}
