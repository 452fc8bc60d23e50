package cli

import (
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host"
)

// Values of plugins.NAME.start.
const (
	startAlways = "always"
	startLazy   = "lazy"
)

// restConfig says when a plugin has no process.
type restConfig struct {
	Start    string        // empty = always
	IdleStop time.Duration // 0 = never
}

// restKeys are the keys below plugins.NAME that are about it, with their help.
func restKeys() []struct{ key, help string } {
	return []struct{ key, help string }{
		{"start", "When it is started: `always`, with the host, or `lazy`, when a step or an event wants it. What it declares has to be known: a plugin that was not installed, or that has subscriptions, is started with the host the first time, and again when its file has changed. Default `always`."},
		{"idle_stop", "How long it may have nothing to do before its process is stopped, such as `10m`; a step or an event that wants it starts it again, which costs no attempt. Events of `plugin.*`, `subscriber.*` and `host.*` wake nobody. Default: never."},
	}
}

// set reads one of the keys from a text.
func (r *restConfig) set(key, text string) (err error) {
	if key == "start" {
		r.Start = text
		return oneOf(text, startAlways, startLazy)
	}
	if r.IdleStop, err = time.ParseDuration(text); err != nil {
		return fmt.Errorf("%q: want a duration such as 10m", text)
	}
	return positive(r.IdleStop)
}

// option returns what the host is told, and whether there is anything to tell.
func (r *restConfig) option() (host.PluginRest, bool) {
	rest := host.PluginRest{Lazy: r.Start == startLazy, After: r.IdleStop}
	return rest, rest != (host.PluginRest{})
}

// show lists what is set.
func (r *restConfig) show(prefix, origin string) (lines []settingJSON) {
	if r.Start != "" {
		lines = append(lines, settingJSON{prefix + ".start", r.Start, origin})
	}
	if r.IdleStop > 0 {
		lines = append(lines, settingJSON{prefix + ".idle_stop", r.IdleStop.String(), origin})
	}
	return lines
}
