package delivery

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// header is what delivery reads of an encoded envelope: parts of its bytes. The payload
// is found, not read.
type header struct {
	id, kind, task               []byte
	namespace, template, version []byte
	payload                      []byte
	at                           int64
}

// The fields of tasker.event.v1.Event that a header has.
const (
	fieldID        = 1
	fieldType      = 2
	fieldAt        = 3
	fieldTask      = 4
	fieldNamespace = 7
	fieldTemplate  = 8
	fieldVersion   = 9
	fieldPayload   = 12
)

// scanHeader finds the header of an encoded envelope. Like the protobuf library it takes
// the last of several values and skips what it does not know. Error: store.ErrCorrupt.
func scanHeader(b []byte) (h header, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, fmt.Errorf("%w: envelope: %w", store.ErrCorrupt, protowire.ParseError(n))
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType:
			var value []byte
			if value, n = protowire.ConsumeBytes(b); n >= 0 {
				h.set(num, value)
			}
		case typ == protowire.VarintType && num == fieldAt:
			var value uint64
			value, n = protowire.ConsumeVarint(b)
			h.at = int64(value) //nolint:gosec // two's complement is how the wire carries an int64
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return h, fmt.Errorf("%w: envelope: %w", store.ErrCorrupt, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return h, nil
}

func (h *header) set(num protowire.Number, value []byte) {
	switch num {
	case fieldID:
		h.id = value
	case fieldType:
		h.kind = value
	case fieldTask:
		h.task = value
	case fieldNamespace:
		h.namespace = value
	case fieldTemplate:
		h.template = value
	case fieldVersion:
		h.version = value
	case fieldPayload:
		h.payload = value
	default: // not read here
	}
}

// about returns the subscription that an event of the family subscriber is about, empty
// for others.
func (h *header) about() string {
	if !strings.HasPrefix(string(h.kind), "subscriber.") {
		return ""
	}
	var payload struct {
		Subscription string `json:"subscription"`
	}
	if err := json.Unmarshal(h.payload, &payload); err != nil {
		return "" // about none that can be named
	}
	return payload.Subscription
}

// names keeps one copy of what many headers share: the types of events and the templates.
type names struct {
	kinds   map[string]string
	origins map[origin]*origin
}

// origin is the template that an event's task runs; without a hash.
type origin struct{ namespace, name, version string }

func (o *origin) ref() task.TemplateRef {
	return task.TemplateRef{Namespace: o.namespace, Name: o.name, Version: o.version}
}

// maxNames bounds what is kept, should somebody make up names without end.
const maxNames = 4096

func (n *names) kind(b []byte) string {
	if s, ok := n.kinds[string(b)]; ok { // does not allocate
		return s
	}
	if n.kinds == nil || len(n.kinds) >= maxNames {
		n.kinds = make(map[string]string)
	}
	s := string(b)
	n.kinds[s] = s
	return s
}

// origin returns nil for events of no template. last is the answer for the event before,
// most often the same.
func (n *names) origin(h *header, last *origin) *origin {
	switch {
	case len(h.template) == 0:
		return nil
	case last != nil && last.name == string(h.template) && last.version == string(h.version) &&
		last.namespace == string(h.namespace):
		return last
	}
	key := origin{namespace: string(h.namespace), name: string(h.template), version: string(h.version)}
	if o, ok := n.origins[key]; ok {
		return o
	}
	if n.origins == nil || len(n.origins) >= maxNames {
		n.origins = make(map[origin]*origin)
	}
	n.origins[key] = &key
	return &key
}
