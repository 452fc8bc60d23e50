package event

import "time"

// Plugin is the part that all events about a plugin share.
type Plugin struct {
	Plugin   string `json:"plugin" doc:"name of the plugin"`
	Version  string `json:"version,omitempty" doc:"of the plugin; absent before its manifest was read"`
	Instance string `json:"instance,omitempty" doc:"process of the plugin: plugin#number"`
	Cause    string `json:"cause,omitempty" doc:"why, for people"`
}

// PluginStarted is recorded when a plugin's process was started.
type PluginStarted struct{ Plugin }

// PluginReady is recorded when a plugin takes work.
type PluginReady struct {
	Plugin

	Handlers []string `json:"handlers" doc:"that it offers: name@version"`
}

// PluginCrashed is recorded when a plugin's process ended or fell silent by itself.
type PluginCrashed struct {
	Plugin

	RetryAt time.Time `json:"retry_at,omitzero" doc:"when it is started again; absent when it is not"`
}

// PluginQuarantined is recorded when a plugin crashed too often to be started again.
type PluginQuarantined struct {
	Plugin

	Crashes int `json:"crashes" doc:"how many there were within the time that counts"`
}

// PluginStopped is recorded when a plugin was stopped on purpose.
type PluginStopped struct{ Plugin }

func pluginEvents() []declaration {
	shop := Plugin{Plugin: "shop", Version: "1.4.0", Instance: "shop#1"}
	because := func(cause string) Plugin {
		p := shop
		p.Cause = cause
		return p
	}
	return []declaration{
		{
			payload:     PluginStarted{Plugin{Plugin: "shop", Instance: "shop#1"}},
			description: "Recorded when a plugin's process was started.",
			firedBy:     supervisor, frequency: "once per process",
		},
		{
			payload:     PluginReady{Plugin: shop, Handlers: []string{"charge@2", "ship@1"}},
			description: "Recorded when a plugin takes work.",
			firedBy:     supervisor, frequency: "at most once per process",
		},
		{
			payload:     PluginCrashed{Plugin: because("exit status 2"), RetryAt: exampleTime().Add(time.Second)},
			description: "Recorded when a plugin's process ended or fell silent by itself.",
			firedBy:     supervisor, frequency: "at most once per process",
		},
		{
			payload:     PluginQuarantined{Plugin: because("exit status 2"), Crashes: 5},
			description: "Recorded when a plugin crashed too often to be started again.",
			firedBy:     supervisor, frequency: "once per quarantine, until an operator resumes the plugin",
		},
		{
			payload:     PluginStopped{because("stopped")},
			description: "Recorded when a plugin was stopped on purpose.",
			firedBy:     supervisor, frequency: "at most once per process",
		},
	}
}
