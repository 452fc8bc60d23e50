package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Limits of what a template says of events.
const (
	// MaxSubscriptions is how many subscriptions a template may have.
	MaxSubscriptions = 100
	// MaxEvents is how many events a template may publish, and a subscription may list.
	MaxEvents = 100
	// MaxEventName is how many characters the name of an event may have.
	MaxEventName = 100
)

// subscriptionSpec is a subscription as it was written.
type subscriptionSpec struct {
	at         pos
	subscriber name
	template   string // only in the host's configuration
	events     []name
	filter     *node
	compiled   *expr.Filter // of filter, nil when there is none or it does not compile
	config     *node
	enabled    bool
}

// subscriptionKeys are the keys of a subscription of a template.
func subscriptionKeys() []key[subscriptionSpec] {
	return []key[subscriptionSpec]{
		{"subscriber", readSubscriber},
		{"events", readEventNames},
		{"filter", readFilter},
		{"config", func(d *decoder, s *subscriptionSpec, n *node) {
			if d.want("config", n, kindMap) {
				s.config = n
			}
		}},
		{"enabled", func(d *decoder, s *subscriptionSpec, n *node) { d.readBool("enabled", n, &s.enabled) }},
	}
}

// readSubscriptions reads a list of subscriptions.
func readSubscriptions(d *decoder, n *node, keys []key[subscriptionSpec]) []subscriptionSpec {
	if !d.want("subscriptions", n, kindList) {
		return nil
	}
	if len(n.items) > MaxSubscriptions {
		d.add(n.items[MaxSubscriptions].at, "", "%d subscriptions: the limit is %d", len(n.items), MaxSubscriptions)
		return nil
	}
	specs := make([]subscriptionSpec, 0, len(n.items))
	for _, item := range n.items {
		s := subscriptionSpec{at: item.at, enabled: true}
		if !object(d, "a subscription", item, keys, &s) {
			continue
		}
		if item.get("subscriber").isNull() {
			d.add(s.at, "write subscriber: plugin/name", "a subscription without a subscriber")
		}
		d.checkFilter(&s)
		d.checkReached(specs, &s)
		specs = append(specs, s)
	}
	return specs
}

func readSubscriber(d *decoder, s *subscriptionSpec, n *node) {
	if !d.want("subscriber", n, kindText) {
		return
	}
	if !validSubscriber(n.text) {
		d.add(n.at, subscriberHint(n.text), "subscriber %q: %s", n.text, wantSubscriber)
	}
	s.subscriber = name{text: n.text, at: n.at}
}

const wantSubscriber = "want plugin/name, or plugin when it has one subscription"

// validSubscriber reports whether s has the form of a subscriber's name.
func validSubscriber(s string) bool {
	plugin, sub, both := strings.Cut(s, "/")
	return task.ValidPluginName(plugin) && (!both || task.ValidHandlerName(sub))
}

// subscriberHint proposes a valid spelling of a subscriber's name.
func subscriberHint(s string) string {
	plugin, sub, both := strings.Cut(strings.ToLower(s), "/")
	try := strings.ReplaceAll(plugin, "_", "-")
	if both {
		try += "/" + sub
	}
	if !validSubscriber(try) {
		return ""
	}
	return "write " + try
}

func readEventNames(d *decoder, s *subscriptionSpec, n *node) {
	if !d.want("events", n, kindList) {
		return
	}
	if len(n.items) == 0 {
		d.add(n.at, "leave events out for all that the subscriber declares, or write enabled: false for none", "events: an empty list")
	}
	if len(n.items) > MaxEvents {
		d.add(n.items[MaxEvents].at, "", "%d events: the limit is %d", len(n.items), MaxEvents)
		return
	}
	for _, item := range n.items {
		if !d.want("events", item, kindText) {
			continue
		}
		if message, hint := checkEvent(item.text, &d.suggest); message != "" {
			d.add(item.at, hint, "%s", message)
		}
		if slices.ContainsFunc(s.events, func(e name) bool { return e.text == item.text }) {
			d.add(item.at, "", "event %s is listed twice", item.text)
		}
		s.events = append(s.events, name{text: item.text, at: item.at})
	}
}

// The forms of the names of events: of one, and of several.
var (
	eventForm   = regexp.MustCompile(`^[a-z][a-z0-9_-]*\.[a-z][a-z0-9_]*$`)
	patternForm = regexp.MustCompile(`^([a-z][a-z0-9_-]*(\.[a-z0-9_]*)?)?\*$`)
)

// checkEvent returns what is wrong with the name of an event, or a wildcard, that a
// subscription lists, and what to do about it. Events of plugins and templates are not
// known here; those of Tasker are.
func checkEvent(s string, suggest *suggester) (message, hint string) {
	wildcard := strings.HasSuffix(s, "*")
	if len(s) > MaxEventName || !eventForm.MatchString(s) && !patternForm.MatchString(s) {
		return fmt.Sprintf("event %q: want a name such as step.failed, or a wildcard at the end such as task.*", s),
			suggest.hint(s, catalogNames())
	}
	family, _, whole := strings.Cut(s, ".")
	if !whole {
		return "", ""
	}
	if !event.Reserved(family) {
		if near := suggest.nearest(family, slices.Values(event.Families())); near != "" && known(near+strings.TrimPrefix(s, family)) {
			return fmt.Sprintf("unknown event %q", s), fmt.Sprintf("did you mean %q?", near+strings.TrimPrefix(s, family))
		}
		return "", "" // of a plugin or a template
	}
	switch {
	case known(s):
		return "", ""
	case wildcard:
		return fmt.Sprintf("no event matches %q", s), suggest.hint(strings.TrimSuffix(s, "*"), catalogNames())
	default:
		return fmt.Sprintf("unknown event %q", s), suggest.hint(s, catalogNames())
	}
}

// known reports whether a name or wildcard stands for an event of the catalog.
func known(s string) bool {
	return slices.ContainsFunc(event.Catalog(), func(e event.Entry) bool { return event.Match(s, e.Name) })
}

func catalogNames() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range event.Catalog() {
			if !yield(e.Name) {
				return
			}
		}
	}
}

func readFilter(d *decoder, s *subscriptionSpec, n *node) {
	if !d.want("filter", n, kindText) {
		return
	}
	s.filter = n
	var err error
	if s.compiled, err = expr.Compile(n.text); err != nil {
		d.addFilter(n, err)
	}
}

// checkFilter checks what a filter reads of the payloads against the events that the
// subscription lists. Without a list, or with events of plugins or templates in it, more
// is possible than is known here; the host checks those.
func (d *decoder) checkFilter(s *subscriptionSpec) {
	if s.compiled == nil {
		return
	}
	var schemas []json.RawMessage
	for _, e := range s.events {
		if family, _, whole := strings.Cut(e.text, "."); !whole || !event.Reserved(family) {
			return
		}
		for _, entry := range event.Catalog() {
			if event.Match(e.text, entry.Name) {
				schemas = append(schemas, entry.PayloadSchema)
			}
		}
	}
	if err := s.compiled.CheckPayload(schemas); err != nil {
		d.addFilter(s.filter, err)
	}
}

// addFilter reports what is wrong with a filter, at the place in it.
func (d *decoder) addFilter(n *node, err error) {
	at := n.at
	if bad, ok := errors.AsType[*expr.Error](err); ok {
		at = d.within(n, bad.Line, bad.Column)
		err = errors.New(bad.Message)
	}
	d.add(at, "", "filter: %s", err)
}

// checkReached reports a subscription that an earlier one of the same subscriber leaves
// nothing: an event takes the first that lets it through.
func (d *decoder) checkReached(before []subscriptionSpec, s *subscriptionSpec) {
	for i := range before {
		b := &before[i]
		if b.subscriber.text == "" || b.subscriber.text != s.subscriber.text || b.template != s.template || b.filter != nil || !b.enabled {
			continue
		}
		if covers(b.events, s.events) {
			d.add(s.at, "an event takes the first one that lets it through",
				"a second subscription of %s that is never reached: the one at line %d takes its events", s.subscriber.text, b.at.line)
			return
		}
	}
}

// covers reports whether every event of one list is in another; no list is all events.
func covers(all, some []name) bool {
	if all == nil {
		return true
	}
	return some != nil && !slices.ContainsFunc(some, func(e name) bool {
		return !slices.ContainsFunc(all, func(a name) bool {
			return a.text == e.text || event.Match(a.text, strings.TrimSuffix(e.text, "*"))
		})
	})
}

// subscriptions makes what the specs say.
func (d *decoder) subscriptions(specs []subscriptionSpec) []Subscription {
	var subs []Subscription
	for i := range specs {
		s := &specs[i]
		sub := Subscription{
			Subscriber: s.subscriber.text, Disabled: !s.enabled,
			Position: fmt.Sprintf("%s:%d:%d", d.file, s.at.line, s.at.column),
		}
		for _, e := range s.events {
			sub.Events = append(sub.Events, e.text)
		}
		if s.filter != nil {
			sub.Filter = s.filter.text
		}
		if s.config != nil {
			b, err := s.config.json()
			if err != nil {
				d.add(s.config.at, "", "config: %s", err)
			}
			if len(b) > task.MaxInline {
				d.add(s.config.at, "", "config: %d bytes as JSON, the limit is %d", len(b), task.MaxInline)
			}
			sub.Config = b
		}
		subs = append(subs, sub)
	}
	return subs
}

// checkSubscriptions checks the subscriptions of a template that no file holds.
func (t *Template) checkSubscriptions() error {
	if len(t.Subscriptions) > MaxSubscriptions {
		return fmt.Errorf("%d subscriptions: the limit is %d", len(t.Subscriptions), MaxSubscriptions)
	}
	t.Subscriptions = slices.Clone(t.Subscriptions)
	suggest := suggester{budget: suggestBudget}
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		if !validSubscriber(s.Subscriber) {
			return fmt.Errorf("subscriber %q: %s", s.Subscriber, wantSubscriber)
		}
		s.Events = slices.Clone(s.Events)
		for _, e := range s.Events {
			if message, hint := checkEvent(e, &suggest); message != "" {
				return errors.New(strings.TrimSuffix(message+"; "+hint, "; "))
			}
		}
		if s.Filter != "" {
			if _, err := expr.Compile(s.Filter); err != nil {
				return fmt.Errorf("subscription of %s: filter: %w", s.Subscriber, err)
			}
		}
		var err error
		if s.Config, err = canonical(s.Config); err != nil {
			return fmt.Errorf("subscription of %s: config: %w", s.Subscriber, err)
		}
	}
	return nil
}
