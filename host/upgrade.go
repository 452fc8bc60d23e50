package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/runner"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// UpgradePlugin implements [Service].
func (h *Host) UpgradePlugin(ctx context.Context, r api.UpgradeRequest, tell func(api.UpgradeProgress)) (api.UpgradeProgress, error) {
	opts := supervisor.UpgradeOptions{
		Canary: r.Canary, ProbeFor: r.Probe,
		Tell: func(phase supervisor.UpgradePhase, text string) {
			tell(api.UpgradeProgress{Phase: string(phase), Text: text})
		},
	}
	if !r.Force {
		opts.Check = h.checkUpgrade
	}
	var result supervisor.UpgradeResult
	var err error
	switch r.Action {
	case api.ActionUpgrade:
		result, err = h.upgradeTo(ctx, r, opts)
	case api.ActionRollback:
		result, err = h.rollback(ctx, r.Plugin, opts)
	case api.ActionReload:
		var configs map[string]json.RawMessage
		if configs, err = h.rereadConfigs(); err == nil {
			result, err = h.supervisor.Reload(ctx, r.Plugin, configOf(configs, r.Plugin), opts)
		}
	case api.ActionPromote:
		result, err = h.supervisor.Promote(ctx, r.Plugin, opts.Tell)
		h.activate(r.Plugin, &result)
	case api.ActionAbort:
		if err = h.supervisor.Abort(r.Plugin); err == nil {
			result = supervisor.UpgradeResult{Phase: supervisor.UpgradeRolled, Why: "aborted"}
		}
	default:
		err = fmt.Errorf("action %q: %w", r.Action, task.ErrInvalid)
	}
	if errors.Is(err, supervisor.ErrRolledBack) {
		h.takeBackEvents(ctx, r.Plugin)
		err = nil
	}
	return api.UpgradeProgress{
		Phase: string(result.Phase), From: result.From, To: result.To, Instance: result.Instance, Why: result.Why,
		Text: h.upgradeText(r.Plugin),
	}, err
}

// upgradeTo replaces a plugin by an installed version, or by an executable.
func (h *Host) upgradeTo(ctx context.Context, r api.UpgradeRequest, opts supervisor.UpgradeOptions) (supervisor.UpgradeResult, error) {
	if r.Path != "" {
		level := hclog.Warn
		if !h.runsInstalled(r.Plugin) {
			level = hclog.Info // nobody approved what it replaces either
		}
		h.log.Log(level, "a plugin is replaced by an executable that nobody approved, until the host ends", logkeys.Plugin, r.Plugin, logkeys.Path, r.Path)
		return h.supervisor.Upgrade(ctx, r.Plugin, supervisor.Binary{Path: r.Path}, opts)
	}
	d, err := OpenDepot(h.opts.Home)
	if err != nil {
		return supervisor.UpgradeResult{}, err
	}
	b, err := d.Binary(r.Plugin, r.Version)
	if err != nil {
		return supervisor.UpgradeResult{}, err
	}
	if p := findPlugin(h.supervisor.Plugins(), r.Plugin); p != nil && p.Version == b.Version && p.Path == b.Path {
		return supervisor.UpgradeResult{}, fmt.Errorf("plugin %s runs %s already: %w: name another version with --to, or reload it", r.Plugin, b.Version, task.ErrInvalid)
	}
	result, err := h.supervisor.Upgrade(ctx, r.Plugin, b, opts)
	h.activate(r.Plugin, &result)
	return result, err
}

// runsInstalled reports whether a plugin runs a version that was installed.
func (h *Host) runsInstalled(plugin string) bool {
	p := findPlugin(h.supervisor.Plugins(), plugin)
	d, err := OpenDepot(h.opts.Home)
	if p == nil || err != nil {
		return false
	}
	b, err := d.Binary(plugin, p.Version)
	return err == nil && b.Path == p.Path
}

// rollback replaces a plugin by what it was before: in this run of the host, else the
// version that the lock names.
func (h *Host) rollback(ctx context.Context, plugin string, opts supervisor.UpgradeOptions) (supervisor.UpgradeResult, error) {
	result, err := h.supervisor.Rollback(ctx, plugin, opts)
	if !errors.Is(err, task.ErrNotFound) || findPlugin(h.supervisor.Plugins(), plugin) == nil {
		h.activate(plugin, &result)
		return result, err
	}
	d, openErr := OpenDepot(h.opts.Home)
	if openErr != nil {
		return result, openErr
	}
	version, previousErr := d.Previous(plugin)
	if previousErr != nil {
		return result, fmt.Errorf("%w, and no version before is installed", err)
	}
	return h.upgradeTo(ctx, api.UpgradeRequest{Plugin: plugin, Version: version}, opts)
}

// activate has the lock name the version that serves now, so that the next host starts it.
func (h *Host) activate(plugin string, r *supervisor.UpgradeResult) {
	p := findPlugin(h.supervisor.Plugins(), plugin)
	if r.Phase != supervisor.UpgradeDone || p == nil {
		return
	}
	d, err := OpenDepot(h.opts.Home)
	if err != nil {
		h.log.Error("the lock does not name the version that serves", logkeys.Plugin, plugin, logkeys.Error, err)
		return
	}
	b, err := d.Binary(plugin, p.Version)
	if err != nil || b.Path != p.Path {
		return // it was not installed
	}
	if err := d.Activate(plugin, p.Version); err != nil {
		h.log.Error("the lock does not name the version that serves", logkeys.Plugin, plugin, logkeys.Error, err)
	}
}

// takeBackEvents keeps as accepted what the plugin that stays emits, and not what the one
// did that was given up.
func (h *Host) takeBackEvents(ctx context.Context, plugin string) {
	p := findPlugin(h.supervisor.Plugins(), plugin)
	if p == nil || p.Manifest == nil {
		return
	}
	if err := h.acceptEvents(context.WithoutCancel(ctx), h.handshake.declared(p.Manifest)); err != nil {
		h.log.Error("what a plugin emits is not kept", logkeys.Plugin, plugin, logkeys.Error, err)
	}
}

// upgradeText says how the last upgrade of a plugin went.
func (h *Host) upgradeText(plugin string) string {
	if p := findPlugin(h.supervisor.Plugins(), plugin); p != nil {
		return p.Upgrade
	}
	return ""
}

// rereadConfigs returns the configurations of plugins as they are now. That they cannot be read is said by
// health until they can.
func (h *Host) rereadConfigs() (map[string]json.RawMessage, error) {
	if h.opts.Reread == nil {
		return h.opts.PluginConfigs, nil
	}
	configs, err := h.opts.Reread()
	if err != nil {
		problem := "the configuration that was to be reloaded is refused, and the one before is in force: " + err.Error()
		h.misread.Store(&problem)
		return nil, fmt.Errorf("configuration: %w", err)
	}
	h.misread.Store(nil)
	return configs, nil
}

// configOf is the configuration of a plugin among those of all.
func configOf(configs map[string]json.RawMessage, plugin string) json.RawMessage {
	if c := configs[plugin]; len(c) > 0 {
		return c
	}
	return json.RawMessage("{}")
}

// ReloadPlugins replaces, one after the other, the plugins whose configuration is not what
// it was when they were started. What cannot be is logged; when no configuration can be read, all
// stays as it is.
func (h *Host) ReloadPlugins(ctx context.Context) {
	configs, err := h.rereadConfigs()
	if err != nil {
		h.log.Error("the configuration is refused, plugins keep theirs", logkeys.Error, err)
		return
	}
	for _, p := range h.supervisor.Plugins() {
		config := configOf(configs, p.Name)
		if p.State == task.PluginRefused || string(config) == string(p.Config) {
			continue
		}
		result, err := h.UpgradePlugin(ctx, api.UpgradeRequest{Plugin: p.Name, Action: api.ActionReload}, func(api.UpgradeProgress) {})
		switch {
		case err != nil:
			h.log.Error("plugin keeps its configuration", logkeys.Plugin, p.Name, logkeys.Error, err)
		case result.Phase == api.UpgradeRolled:
			h.log.Error("plugin keeps its configuration", logkeys.Plugin, p.Name, logkeys.Cause, result.Why)
		default:
			h.log.Info("plugin has its new configuration", logkeys.Plugin, p.Name, logkeys.Instance, result.Instance)
		}
	}
}

// checkUpgrade refuses a successor that offers less than what unfinished tasks need, or
// what registered templates name.
func (h *Host) checkUpgrade(ctx context.Context, old, next *supervisor.Manifest) error {
	needs, err := h.runner.Needs(ctx, next.Name)
	if err != nil {
		return err
	}
	lost := func(ref task.HandlerRef) bool { return (old == nil || offers(old, ref)) && !offers(next, ref) }
	var problems []string
	for _, ref := range slices.SortedFunc(maps.Keys(needs), compareRefs) {
		if lost(ref) {
			problems = append(problems, fmt.Sprintf("%s, which %s", ref, needText(needs[ref])))
		}
	}
	for _, e := range h.templates.List() {
		for _, ref := range e.Template.Handlers() {
			if ref.Plugin == next.Name && lost(ref) {
				problems = append(problems, fmt.Sprintf("%s, which template %s names", ref, e.Template.Ref()))
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s does not offer %s: %w: let these tasks end and have the templates name what it offers, or force it: then such steps wait until it is offered again",
		next.Name, next.Version, strings.Join(problems, "; "), task.ErrInvalid)
}

func needText(n runner.Need) string {
	if n.Tasks == 1 {
		return fmt.Sprintf("unfinished task %s needs", n.First)
	}
	return fmt.Sprintf("%d unfinished tasks need, %s the first", n.Tasks, n.First)
}

func compareRefs(a, b task.HandlerRef) int {
	return cmp.Or(cmp.Compare(a.Handler, b.Handler), cmp.Compare(a.Version, b.Version))
}
