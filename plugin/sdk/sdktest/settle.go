package sdktest

import (
	"strings"
	"testing"
	"time"
)

// The rule by which hosts deliver an event again: after 1 s, 2 s, 4 s and so on up to a minute, or as the subscriber asks, and
// as often as the subscription says. A host varies its pauses by up to a tenth; here they are exact.
const (
	defaultMaxAttempts = 5
	backoffBase        = time.Second
	backoffCap         = time.Minute
	maxAfter           = 24 * time.Hour
	maxTries           = 1000 // of a subscriber that is never available
)

// Settled is what became of an event in the end.
type Settled struct {
	// Verdict is Acked, or Rejected for a dead letter.
	Verdict Verdict
	// Answers are those of all deliveries, in order.
	Answers []Answer
	// Pauses are how long the host waited after each answer but the last.
	Pauses []time.Duration
	// Reason is why it is a dead letter.
	Reason string
}

// String returns the answers and pauses on one line: "retried 1s retried 2s acked".
func (s Settled) String() string {
	var words []string
	for i, a := range s.Answers {
		words = append(words, string(a.Verdict))
		if i < len(s.Pauses) {
			words = append(words, s.Pauses[i].String())
		}
	}
	line := strings.Join(words, " ")
	if last := s.Answers[len(s.Answers)-1].Verdict; last != s.Verdict {
		return line + ", in the end " + string(s.Verdict)
	}
	return line
}

// Settle delivers an event as a host does: again after each answer that asks for it, with the pauses of a host, until it is acked or
// a dead letter. Within [testing/synctest.Test] the pauses take no time. An event without an answer fails the test.
//
//	got := sub.Settle(t, sdktest.Event{Type: "step.failed"})
//	if got.Verdict != sdktest.Acked || len(got.Answers) != 3 { ... }
func (s *Subscription) Settle(tb testing.TB, e Event) Settled {
	tb.Helper()
	limit := s.maxAttempts()
	var out Settled
	failures, outages := 0, 0
	for d := s.Send(tb, e)[0]; ; d = d.Redeliver(tb) {
		a := d.Wait(tb)
		out.Answers = append(out.Answers, a)
		var pause time.Duration
		switch {
		case a.Verdict == Acked, a.Verdict == Rejected:
			out.Verdict, out.Reason = a.Verdict, a.Reason
			return out
		case a.Verdict != Retried:
			tb.Fatalf("event %d of subscription %s is %s: %s", d.wire.GetSeq(), s.name, a.Verdict, a.Reason)
		case a.Unavailable:
			if outages++; outages == maxTries {
				tb.Fatalf("subscription %s is unavailable for ever: %s", s.name, a.Reason)
			}
			pause = pauseAfter(outages, a.After)
		default:
			if failures++; failures >= limit {
				out.Verdict, out.Reason = Rejected, a.Reason
				return out
			}
			pause = pauseAfter(failures, a.After)
		}
		out.Pauses = append(out.Pauses, pause)
		<-time.After(pause)
	}
}

// maxAttempts is how often an event is delivered before it is a dead letter.
func (s *Subscription) maxAttempts() int {
	for _, sub := range s.p.manifest.GetSubscriptions() {
		if n := sub.GetMaxAttempts(); sub.GetName() == s.name && n > 0 {
			return int(n)
		}
	}
	return defaultMaxAttempts
}

// pauseAfter is how long a host waits after some tries in vain, or as long as it was asked to.
func pauseAfter(tries int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, maxAfter)
	}
	const doubles = 6 // then it is past the cap
	return min(backoffCap, backoffBase<<min(tries-1, doubles))
}
