package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/template"
)

func (a *app) configCommand() *cobra.Command {
	return a.noun("config", "What is set, and where", a.configShowCommand())
}

// settingJSON is one line of `config show --json`.
type settingJSON struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"` // "default", the file, the variable's name, or "flag --name"
}

func (a *app) configShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Print every effective value and where it comes from",
		Long: `Print every effective value and where it comes from: a flag, an environment variable,
the file tasker.yaml in the home, or the default. No key has to be set.

Texts in the configurations of plugins are hidden, for they may be secrets; --reveal
prints them.

--json prints an array of {"key", "value", "origin"}.`,
		Example: `  tasker config show
  TASKER_GRACE=5s tasker config show --home /var/lib/tasker`,
		Args: args(0, 0),
	}
	hostFlags(c)
	c.Flags().String("health-addr", "", "loopback address for /livez and /readyz")
	reveal := c.Flags().Bool("reveal", false, "print the texts in the configurations of plugins, secrets among them")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		lines := cfg.show(*reveal)
		if *asJSON {
			return a.printJSON(lines)
		}
		t := table{head: []string{"KEY", "VALUE", "ORIGIN"}}
		for _, l := range lines {
			t.add(l.Key, showValue(l.Value), l.Origin)
		}
		t.print(a.out)
		return nil
	}
	return c
}

// hidden stands for a text that may be a secret.
const hidden = "***"

// hidePluginConfig returns a plugin's configuration with every text in it hidden. Which of
// them are secrets says the plugin's schema, which is not at hand without the plugin.
func hidePluginConfig(config json.RawMessage) any {
	var doc any
	if json.Unmarshal(config, &doc) != nil {
		return hidden // no configuration that was read is broken
	}
	return hide(doc)
}

func hide(doc any) any {
	switch doc := doc.(type) {
	case string:
		return hidden
	case []any:
		out := make([]any, len(doc))
		for i, v := range doc {
			out[i] = hide(v)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(doc))
		for k, v := range doc {
			out[k] = hide(v)
		}
		return out
	default:
		return doc
	}
}

// show lists the effective values; reveal prints what hide hides.
func (cfg *config) show(reveal bool) []settingJSON {
	var lines []settingJSON
	for _, s := range settings() {
		lines = append(lines, settingJSON{Key: s.key, Value: s.show(cfg), Origin: cfg.origins[s.key]})
	}
	for i := range cfg.Retention.Rules {
		key := fmt.Sprintf("retention.rules[%d]", i)
		lines = append(lines, settingJSON{key, newRuleSetting(&cfg.Retention.Rules[i]), cfg.origins["retention.rules"]})
	}
	for i := range cfg.Subscriptions {
		key := fmt.Sprintf("subscriptions[%d]", i)
		lines = append(lines, settingJSON{key, newSubscriptionSetting(&cfg.Subscriptions[i]), cfg.origins["subscriptions"]})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Plugins)) {
		p := cfg.Plugins[name]
		origin := cfg.origins["plugins"]
		if p.Config != nil {
			var value any = p.Config
			if !reveal {
				value = hidePluginConfig(p.Config)
			}
			lines = append(lines, settingJSON{"plugins." + name + ".config", value, origin})
		}
		if p.Env != nil {
			lines = append(lines, settingJSON{"plugins." + name + ".env", p.Env, origin})
		}
		if p.StartTimeout > 0 {
			lines = append(lines, settingJSON{"plugins." + name + ".start_timeout", p.StartTimeout.String(), origin})
		}
		lines = append(lines, p.Rest.show("plugins."+name, origin)...)
		lines = append(lines, p.showIsolation("plugins."+name, origin)...)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Commands)) {
		lines = append(lines, settingJSON{"commands." + name + ".access", string(cfg.Commands[name].Access), cfg.origins["commands"]})
	}
	return lines
}

// subscriptionSetting is an entry of subscriptions as it could be written.
type subscriptionSetting struct {
	Subscriber string          `json:"subscriber"`
	Template   string          `json:"template,omitempty"`
	Events     []string        `json:"events,omitempty"`
	Filter     string          `json:"filter,omitempty"`
	Config     json.RawMessage `json:"config,omitempty"`
	Enabled    bool            `json:"enabled"`
}

func newSubscriptionSetting(s *template.HostSubscription) subscriptionSetting {
	return subscriptionSetting{
		Subscriber: s.Subscriber, Template: s.Template, Events: s.Events, Filter: s.Filter, Config: s.Config, Enabled: !s.Disabled,
	}
}

// showValue prints a value for people.
func showValue(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" {
			return "-"
		}
		return v
	case []string:
		if len(v) == 0 {
			return "-"
		}
		return strings.Join(v, ", ")
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // filters are full of && and >
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(text.String())
}
