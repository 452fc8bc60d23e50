package event

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Entry is what the catalog says of one event. Its JSON is that of `tasker event list`
// and `tasker event show`: keys are only ever added.
type Entry struct {
	Name          string          `json:"name"`     // noun.verb_past
	Category      string          `json:"category"` // the family: the name up to its dot
	Description   string          `json:"description"`
	PayloadSchema json.RawMessage `json:"payload_schema"` // JSON Schema 2020-12
	Example       json.RawMessage `json:"example"`        // a payload
	FiredBy       []string        `json:"fired_by"`       // components: engine, supervisor, delivery, host; or plugins and templates
	Frequency     string          `json:"frequency"`      // for people
	Since         string          `json:"since"`          // first version of Tasker that has it; empty for custom events
	DeprecatedBy  *string         `json:"deprecated_by"`  // what to use instead; nil while it is not deprecated

	// Version is that of a custom event's payload, as its plugin numbers it.
	Version uint32 `json:"version,omitempty"`
}

// The components that fire events.
const (
	engine     = "engine"     // decides what happens to tasks
	supervisor = "supervisor" // keeps plugins running
	delivery   = "delivery"   // brings events to subscribers
	host       = "host"       // ties the parts together
)

// since is the version of the events that do not name another.
const since = "0.1.0"

// declaration is the entry of an event as it stands beside its type. Name, category,
// schema and example follow from the payload.
type declaration struct {
	payload     Payload // the example
	description string
	firedBy     string
	frequency   string
}

// declarations lists every event in the order of the catalog.
func declarations() []declaration {
	return slices.Concat(taskEvents(), stepEvents(), workflowEvents(), pluginEvents(), subscriberEvents(), hostEvents())
}

// built is the catalog: its entries are made once, because handshakes and filters look
// them up.
var built = sync.OnceValue(func() (c struct {
	entries []Entry
	places  map[string]int // by name
},
) {
	c.places = make(map[string]int)
	for i, d := range declarations() {
		c.entries = append(c.entries, d.entry())
		c.places[c.entries[i].Name] = i
	}
	return c
})

// Catalog returns the entries of all events: tasks, steps, workflow, plugins,
// subscriptions, host, each in the order of their lives. What an entry refers to is
// shared and must not be changed.
func Catalog() []Entry { return slices.Clone(built().entries) }

// Lookup returns the entry of an event. What it refers to is shared and must not be
// changed.
func Lookup(name string) (Entry, bool) {
	c := built()
	i, ok := c.places[name]
	if !ok {
		return Entry{}, false
	}
	return c.entries[i], true
}

// Search returns the entries that contain every word of a text, in any case: first those
// that have them in their name, then in their description, too, then in the names of
// their fields; within these in the order of the catalog. An empty text finds all.
func Search(text string) []Entry {
	words := strings.Fields(strings.ToLower(text))
	found := make([][]Entry, 3)
	for _, e := range Catalog() {
		var fields strings.Builder
		for _, f := range e.Fields() {
			fields.WriteString("\n" + f.Name)
		}
		about := e.Name + "\n" + e.Description
		for rank, where := range []string{e.Name, about, about + fields.String()} {
			where = strings.ToLower(where)
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(where, word) }) {
				found[rank] = append(found[rank], e)
				break
			}
		}
	}
	return slices.Concat(found...)
}

// Families returns the first parts of the names of events, in the order of the catalog.
func Families() []string {
	return []string{"task", "step", "workflow", "plugin", "subscriber", "host"}
}

// Payloads returns the zero value of every event type, in the order of the catalog.
func Payloads() []Payload {
	all := declarations()
	payloads := make([]Payload, len(all))
	for i := range all {
		payloads[i], _ = reflect.TypeAssert[Payload](reflect.Zero(reflect.TypeOf(all[i].payload)))
	}
	return payloads
}

func (d declaration) entry() Entry {
	name := d.payload.EventName()
	category, _, _ := strings.Cut(name, ".")
	of := schemaOf(reflect.TypeOf(d.payload))
	of.Dialect, of.Title, of.Description = "https://json-schema.org/draft/2020-12/schema", name, d.description
	return Entry{
		Name: name, Category: category, Description: d.description,
		PayloadSchema: encode(of), Example: encode(d.payload),
		FiredBy: []string{d.firedBy}, Frequency: d.frequency, Since: since,
	}
}

// encode is json.Marshal for what always has a JSON form; the tests call it for every
// event.
func encode(v any) json.RawMessage {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return doc
}
