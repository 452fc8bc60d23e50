package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// unanswered are names of plugins and subscriptions that nobody has, each with its place. They may be
// installed later, so that they are no errors; but mostly they are slips of the pen.
type unanswered struct {
	plugins       []string // what names a plugin that is not installed
	subscriptions []string // what names a subscription that its plugin has not
}

// unanswered returns what the configuration and the registered templates name in vain. It
// is known once each plugin that is being started has told its name.
func (h *Host) unanswered() (found unanswered, known bool) {
	select {
	case <-h.supervisor.Discovered():
	default:
		return unanswered{}, false
	}
	plugins := h.supervisor.Plugins()
	if slices.ContainsFunc(plugins, func(p supervisor.PluginInfo) bool { return p.Manifest == nil && isStarting(&p) }) {
		return unanswered{}, false
	}
	configured := make(map[string]bool)
	for name := range h.opts.PluginConfigs {
		configured[name] = true
	}
	for name := range h.opts.PluginEnv {
		configured[name] = true
	}
	for name := range h.opts.StartTimeouts {
		configured[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		if findPlugin(plugins, name) == nil {
			found.plugins = append(found.plugins, fmt.Sprintf("%s: plugins.%s: %s", configSource, name, notInstalled(plugins, name)))
		}
	}
	for i := range h.opts.Subscriptions {
		found.bind(plugins, configSource, &h.opts.Subscriptions[i])
	}
	for _, e := range h.templates.List() {
		for i := range e.Template.Subscriptions {
			s := &e.Template.Subscriptions[i]
			found.bind(plugins, "template "+e.Template.Ref().String(),
				&Subscriber{Subscriber: s.Subscriber, Disabled: s.Disabled, Position: s.Position})
		}
	}
	return found, true
}

// bind adds a binding, when nobody has what it is about.
func (u *unanswered) bind(plugins []supervisor.PluginInfo, source string, s *Subscriber) {
	if s.Disabled {
		return
	}
	if s.Position != "" {
		source = s.Position
	}
	plugin, name := subscriberName(s.Subscriber)
	switch p := findPlugin(plugins, plugin); {
	case p == nil:
		u.plugins = append(u.plugins, fmt.Sprintf("%s: subscriber %s: %s", source, s.Subscriber, notInstalled(plugins, plugin)))
	case p.Manifest == nil: // it cannot be started, which is told elsewhere
	default:
		if s, problem := subscriptionOf(p.Manifest, name); s == nil {
			u.subscriptions = append(u.subscriptions, source+": "+problem)
		}
	}
}

// notInstalled says that a plugin is not there, and which name was probably meant.
func notInstalled(plugins []supervisor.PluginInfo, name string) string {
	names := make([]string, len(plugins))
	for i := range plugins {
		names[i] = plugins[i].Name
	}
	text := fmt.Sprintf("no plugin %q is installed", name)
	if near := nearest(name, names); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return text
}

// warnOfAbsent tells once which plugins are named and not installed, when it is known
// which there are. Of subscriptions that a plugin has not, the binder warns.
func (h *Host) warnOfAbsent(ctx context.Context) {
	select {
	case <-h.supervisor.Discovered():
	case <-ctx.Done():
		return
	}
	for {
		rung := h.settled.next()
		if found, known := h.unanswered(); known {
			if len(found.plugins) > 0 {
				h.log.Warn("plugins are named that are not installed: nothing comes of what is said of them", logkeys.Problems, strings.Join(found.plugins, "; "))
			}
			return
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return
		}
	}
}
