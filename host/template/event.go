package template

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// eventSpec is an event of a template as it was written.
type eventSpec struct {
	at          pos
	name        name
	on          string
	step        name
	description string
}

// eventKeys are the keys of an event that a template publishes.
func eventKeys() []key[eventSpec] {
	return []key[eventSpec]{
		{"name", func(d *decoder, e *eventSpec, n *node) {
			if d.want("name", n, kindText) {
				e.name = name{text: n.text, at: n.at}
			}
		}},
		{"on", func(d *decoder, e *eventSpec, n *node) { readWord(d, "on", n, &e.on, EventSources()...) }},
		{"step", func(d *decoder, e *eventSpec, n *node) {
			if d.want("step", n, kindText) {
				e.step = name{text: n.text, at: n.at}
			}
		}},
		{"description", func(d *decoder, e *eventSpec, n *node) { d.readText("description", n, &e.description) }},
	}
}

// readEvents reads the events that a template publishes.
func readEvents(d *decoder, t *templateSpec, n *node) {
	if !d.want("events", n, kindList) {
		return
	}
	if len(n.items) > MaxEvents {
		d.add(n.items[MaxEvents].at, "", "%d events: the limit is %d", len(n.items), MaxEvents)
		return
	}
	keys := eventKeys()
	for _, item := range n.items {
		e := eventSpec{at: item.at}
		if !object(d, "an event", item, keys, &e) {
			continue
		}
		for _, required := range []string{"name", "on"} {
			if item.get(required).isNull() {
				d.add(e.at, "", "an event has no %q", required)
			}
		}
		t.events = append(t.events, e)
	}
}

// events checks the events against the template as a whole and makes them.
func (d *decoder) events(spec *templateSpec) []Event {
	var events []Event
	first := make(map[string]int)
	for i := range spec.events {
		e := &spec.events[i]
		if e.name.text != "" && spec.name != nil {
			if message, hint := checkEventName(e.name.text, spec.name.text); message != "" {
				d.add(e.name.at, hint, "%s", message)
			}
		}
		if line, twice := first[e.name.text]; twice && e.name.text != "" {
			d.add(e.name.at, "", "a second event %s: the first one is at line %d", e.name.text, line)
		} else {
			first[e.name.text] = e.at.line
		}
		d.checkEventStep(spec, e)
		events = append(events, Event{Name: e.name.text, On: e.on, Step: task.StepName(e.step.text), Description: e.description})
	}
	return events
}

// checkEventStep checks the step of an event, which those of steps need.
func (d *decoder) checkEventStep(spec *templateSpec, e *eventSpec) {
	ofStep := strings.HasPrefix(e.on, "step.")
	switch {
	case e.on == "":
	case ofStep && e.step.text == "":
		d.add(e.at, "write step: and the name of a step", "event %s: %s needs a step", orUnnamed(e.name.text), e.on)
	case !ofStep && e.step.text != "":
		d.add(e.step.at, "remove it", "event %s: %s is of the task and has no step", orUnnamed(e.name.text), e.on)
	case ofStep && !slices.ContainsFunc(spec.steps, func(s stepSpec) bool { return s.name.text == e.step.text }):
		d.add(e.step.at, d.suggest.hint(e.step.text, stepNames(spec.steps)), "event %s: unknown step %q", orUnnamed(e.name.text), e.step.text)
	}
}

func stepNames(steps []stepSpec) iter.Seq[string] { return otherNames(steps, "") }

// checkEventName returns what is wrong with the name of an event of a template, and what
// to do about it.
func checkEventName(s, template string) (message, hint string) {
	family, rest, dotted := strings.Cut(s, ".")
	switch {
	case event.Reserved(template):
		return fmt.Sprintf("event %s: the events of a template called %s would be taken for Tasker's own", s, template),
			"give the template another name"
	case dotted && family != template:
		return fmt.Sprintf("event %s: the events of a template begin with its name", s), fmt.Sprintf("write %s.%s", template, rest)
	case len(s) > MaxEventName || !eventForm.MatchString(s):
		return fmt.Sprintf("event %q: want the name of the template, a dot, and lower-case letters, digits and _, at most %d characters together",
			s, MaxEventName), ""
	}
	return "", ""
}

// checkEvents checks the events of a template that no file holds.
func (t *Template) checkEvents() error {
	if len(t.Events) > MaxEvents {
		return fmt.Errorf("%d events: the limit is %d", len(t.Events), MaxEvents)
	}
	t.Events = slices.Clone(t.Events)
	seen := make(map[string]bool, len(t.Events))
	for _, e := range t.Events {
		if message, _ := checkEventName(e.Name, t.Name); message != "" {
			return fmt.Errorf("%s", message)
		}
		if seen[e.Name] {
			return fmt.Errorf("event %s: a second event of that name", e.Name)
		}
		seen[e.Name] = true
		if !slices.Contains(EventSources(), e.On) {
			return fmt.Errorf("event %s: on %q: want %s", e.Name, e.On, alternatives(EventSources()))
		}
		known := slices.ContainsFunc(t.Steps, func(s Step) bool { return s.Name == e.Step })
		if ofStep := strings.HasPrefix(e.On, "step."); ofStep != (e.Step != "") || ofStep && !known {
			return fmt.Errorf("event %s: on %s: step %q", e.Name, e.On, e.Step)
		}
	}
	return nil
}
