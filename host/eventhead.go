package host

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// eventHead is what a query asks of every event: parts of the encoded envelope. Most
// events of a log that is searched are not what is looked for, and are never decoded.
type eventHead struct {
	kind, task []byte
	at         int64
}

// The fields of tasker.event.v1.Event that a head has.
const (
	eventType protowire.Number = 2
	eventAt   protowire.Number = 3
	eventTask protowire.Number = 4
)

// eventHeadOf finds the head of an event. Error: store.ErrCorrupt.
func eventHeadOf(e store.LogEntry) (h eventHead, err error) {
	for b := e.Encoded; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, corruptEvent(e, n)
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && num == eventType:
			h.kind, n = protowire.ConsumeBytes(b)
		case typ == protowire.BytesType && num == eventTask:
			h.task, n = protowire.ConsumeBytes(b)
		case typ == protowire.VarintType && num == eventAt:
			var at uint64
			at, n = protowire.ConsumeVarint(b)
			h.at = int64(at) //nolint:gosec // two's complement is how the wire carries an int64
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return h, corruptEvent(e, n)
		}
		b = b[n:]
	}
	return h, nil
}

func corruptEvent(e store.LogEntry, n int) error {
	return fmt.Errorf("event %d: %w: %w", e.Seq, store.ErrCorrupt, protowire.ParseError(n))
}
