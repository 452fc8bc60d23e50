package boltstore

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// cursors checks that no subscription is ahead of the log and that what fails is listed
// in order. A cursor may lie before the log: then the log was cut.
func (v *verifier) cursors() error {
	return v.walk(kindCursors, func(key, value []byte) {
		place := fmt.Sprintf("cursors/%q", key)
		r := &storev1.CursorRecord{}
		if err := decode(value, r, place); err != nil {
			v.damage(place, err)
			return
		}
		v.notAhead(place, "through", r.GetThrough())
		v.notAhead(place, "careful", r.GetCareful())
		if n := len(r.GetFailing()); n > store.MaxFailing {
			v.report(place, remedyRecord, "%d events fail, at most %d are kept", n, store.MaxFailing)
		}
		last := r.GetThrough()
		for _, f := range r.GetFailing() {
			v.notAhead(place, "failing", f.GetSeq())
			if f.GetSeq() <= last {
				v.report(place, remedyRecord, "failing event %d is not beyond %d", f.GetSeq(), last)
			}
			last = f.GetSeq()
		}
	})
}

// notAhead reports a sequence that the log has not given.
func (v *verifier) notAhead(place, what string, seq uint64) {
	if seq >= v.next {
		v.report(place, remedyRecord, "%s %d, but the log ends at %d", what, seq, v.next-1)
	}
}

func (v *verifier) deadLetters() error {
	return v.walk(kindDeadLetters, func(key, value []byte) {
		place := fmt.Sprintf("dead_letters/%q", key)
		l, err := readDeadLetter(key, value)
		if err != nil {
			v.damage(place, err)
			return
		}
		v.notAhead(place, "event", l.Seq)
		if err := proto.Unmarshal(l.Encoded, &eventv1.Event{}); err != nil || len(l.Encoded) == 0 {
			v.report(place, remedyRecord, "its event of %d bytes cannot be read: %v", len(l.Encoded), err)
		}
	})
}

func (v *verifier) customEvents() error {
	return v.walk(kindCustomEvents, func(key, value []byte) {
		place := fmt.Sprintf("custom_events/%q", key)
		if err := decode(value, &storev1.CustomEventRecord{}, place); err != nil {
			v.damage(place, err)
		}
	})
}
