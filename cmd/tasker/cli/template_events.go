package cli

import (
	"encoding/json"
	"strings"

	"github.com/tasker-engine/tasker/host/template"
)

// templateBindingJSON is a subscription of a template in `template check|show --json`.
type templateBindingJSON struct {
	Subscriber string          `json:"subscriber"`
	Events     []string        `json:"events"` // null: all that the subscriber declares
	Filter     *string         `json:"filter"`
	Config     json.RawMessage `json:"config"`
	Enabled    bool            `json:"enabled"`
}

// templateEventJSON is an event that a template publishes.
type templateEventJSON struct {
	Name        string  `json:"name"`
	On          string  `json:"on"`
	Step        *string `json:"step"`
	Description *string `json:"description"`
}

// newBindingsJSON returns the effective subscriptions of a template, in their order.
func newBindingsJSON(t *template.Template) []templateBindingJSON {
	out := []templateBindingJSON{}
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		b := templateBindingJSON{
			Subscriber: s.Subscriber, Events: s.Events, Filter: optional(s.Filter), Config: s.Config, Enabled: !s.Disabled,
		}
		if b.Config == nil {
			b.Config = json.RawMessage("null")
		}
		out = append(out, b)
	}
	return out
}

func newTemplateEventsJSON(t *template.Template) []templateEventJSON {
	out := []templateEventJSON{}
	for _, e := range t.Events {
		out = append(out, templateEventJSON{Name: e.Name, On: e.On, Step: optional(string(e.Step)), Description: optional(e.Description)})
	}
	return out
}

// bindingLines says for people what subscribers get of a template, a line for each.
func bindingLines(bindings []templateBindingJSON) []string {
	var lines []string
	for _, b := range bindings {
		events := "all that it declares"
		if b.Events != nil {
			events = strings.Join(b.Events, ", ")
		}
		line := b.Subscriber + ": " + events
		if b.Filter != nil {
			line += ", if " + strings.Join(strings.Fields(*b.Filter), " ")
		}
		if string(b.Config) != "null" {
			line += ", with " + string(b.Config)
		}
		if !b.Enabled {
			line += ", switched off"
		}
		lines = append(lines, oneLine(line))
	}
	return lines
}

// templateEventLines says for people what events a template publishes.
func templateEventLines(events []templateEventJSON) []string {
	var lines []string
	for _, e := range events {
		line := e.Name + ": on " + e.On
		if e.Step != nil {
			line += " of " + *e.Step
		}
		if e.Description != nil {
			line += ". " + *e.Description
		}
		lines = append(lines, oneLine(line))
	}
	return lines
}

// workflowNotes says which subscriptions wait for events that are not recorded.
func workflowNotes(t *template.Template, recorded bool) []string {
	var notes []string
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		for _, e := range s.Events {
			if !recorded && !s.Disabled && strings.HasPrefix(e, "workflow.") {
				notes = append(notes, s.Position+": note: "+e+" is recorded only with the setting events.workflow: true")
			}
		}
	}
	return notes
}
