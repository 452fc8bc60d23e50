package event

import (
	"encoding/json"
	"slices"
	"strings"
)

// Custom is what is known of an event that is not Tasker's own: a plugin declares it, or
// a template.
type Custom struct {
	Name        string // "orders.shipped": the plugin or template that fires it, and the event
	Version     uint32 // of the payload's shape, from 1; 0 for a template's event
	Description string
	Schema      json.RawMessage // JSON Schema of the payload; nil = any JSON
	Example     json.RawMessage // a payload; nil = none is known
	FiredBy     []string        // "plugin orders", "template shop/order"
	Immediate   bool            // recorded at once and not with the attempt's success

	// On is, for a template's event, the event of the catalog that it is recorded with and
	// whose payload it has; Step is its step, empty when On is about tasks.
	On, Step string
}

// Entry returns the event's entry of the catalog. It has no version of Tasker.
func (c Custom) Entry() Entry {
	category, _, _ := strings.Cut(c.Name, ".")
	e := Entry{
		Name: c.Name, Category: category, Description: c.Description, Version: c.Version, PayloadSchema: c.Schema,
		Example: c.Example, FiredBy: slices.Clone(c.FiredBy), Frequency: "each time that an attempt emits it and succeeds",
	}
	switch {
	case c.On != "":
		source, _ := Lookup(c.On)
		if e.PayloadSchema == nil {
			e.PayloadSchema = source.PayloadSchema
		}
		if e.Example == nil {
			e.Example = source.Example
		}
		e.Frequency = "with each " + c.On
		if c.Step != "" {
			e.Frequency += " of the step " + c.Step
		}
		if c.On == NameStepFailed {
			e.Frequency += " that is final"
		}
	case c.Immediate:
		e.Frequency = "each time that an attempt emits it, at once"
	}
	if e.PayloadSchema == nil {
		e.PayloadSchema = json.RawMessage(`{}`)
	}
	return e
}
