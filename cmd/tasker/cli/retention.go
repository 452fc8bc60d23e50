package cli

import (
	"encoding/json"
	"fmt"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// retentionSettings are the keys about how long finished tasks are kept; `retention.rules`,
// which is no single value, is treated apart.
func retentionSettings() []setting {
	return []setting{
		retentionAge("complete", "task is complete", func(c *config) *keepFor { return &c.Retention.Complete }),
		retentionAge("error", "task ended in error", func(c *config) *keepFor { return &c.Retention.Error }),
		retentionAge("cancelled", "task was cancelled", func(c *config) *keepFor { return &c.Retention.Cancelled }),
		retentionAge("resolved_manually", "task was closed by hand", func(c *config) *keepFor { return &c.Retention.ResolvedManually }),
		{
			key: "retention.last", value: func(c *config) any { return &c.Retention.Last },
			check: func(c *config) error {
				if c.Retention.Last < 0 {
					return fmt.Errorf("%d: want 0 or more", c.Retention.Last)
				}
				return nil
			},
			help: "How many finished tasks of each template are kept at most in each status, the newest. `0` means any number.",
		},
		{
			key: "retention.export", value: func(c *config) any { return &c.Retention.Export }, dir: true,
			help: "A directory to which tasks are written before they are removed: one JSON document a line, as `tasker task show --json` prints it, with results, in files by day. What cannot be written is not removed. Empty means none.",
		},
	}
}

// retentionAge is the setting of how long tasks are kept that ended in one way.
func retentionAge(status, what string, value func(*config) *keepFor) setting {
	return setting{
		key: "retention." + status, value: func(c *config) any { return value(c) },
		check: func(c *config) error {
			if age := *value(c); age < 0 {
				return fmt.Errorf("%s: want 0 or more", age)
			}
			return nil
		},
		help: "How long after a " + what + " it is removed with everything but its events, and not before its idempotency key has expired. `0` or `forever` keeps it.",
	}
}

// options turns the configuration into a host's.
func (r *retentionConfig) options() host.Retention {
	return host.Retention{
		Keep: template.Retention{
			Complete: task.Duration(r.Complete), Error: task.Duration(r.Error), Cancelled: task.Duration(r.Cancelled),
			ResolvedManually: task.Duration(r.ResolvedManually), Last: r.Last,
		},
		Rules: r.Rules, Export: r.Export,
		Document: func(v *task.View) ([]byte, error) { return json.Marshal(newTaskJSON(v)) },
	}
}

// ruleSetting is an entry of retention.rules as it could be written.
type ruleSetting struct {
	Template         string `json:"template"`
	Complete         string `json:"complete,omitempty"`
	Error            string `json:"error,omitempty"`
	Cancelled        string `json:"cancelled,omitempty"`
	ResolvedManually string `json:"resolved_manually,omitempty"`
	Last             int    `json:"last,omitempty"`
}

func newRuleSetting(r *template.RetentionRule) ruleSetting {
	age := func(d task.Duration) string {
		switch d {
		case 0:
			return ""
		case template.Forever:
			return forever
		default:
			return d.Std().String()
		}
	}
	return ruleSetting{
		Template: r.Template, Complete: age(r.Complete), Error: age(r.Error), Cancelled: age(r.Cancelled),
		ResolvedManually: age(r.ResolvedManually), Last: r.Last,
	}
}
