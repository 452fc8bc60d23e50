package cli

import (
	"encoding/json"
	"fmt"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

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
