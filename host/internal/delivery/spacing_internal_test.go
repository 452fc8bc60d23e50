package delivery

import (
	"testing"
	"time"
)

func TestSpacing(t *testing.T) {
	var s spacing
	at := time.Now()
	rest := func(worked time.Duration, rings uint64) time.Duration { return s.rest(worked, rings, at) }
	if got := rest(time.Millisecond, 0); got != 0 {
		t.Errorf("rests %s, although the log has not grown", got)
	}
	if got, want := rest(time.Millisecond, 1), 9*time.Millisecond; got != want {
		t.Errorf("alone while the log grows: rests %s, want %s", got, want)
	}
	s.begin()
	if got, want := rest(time.Millisecond, 1), 18*time.Millisecond; got != want {
		t.Errorf("while another one rests: rests %s, want %s", got, want)
	}
	s.end()
	if got := rest(time.Second, 2); got != maxRest {
		t.Errorf("after a subscriber that is slow: rests %s, want %s", got, maxRest)
	}
	at = at.Add(busyFor + 1)
	if got := rest(time.Millisecond, 2); got != 0 {
		t.Errorf("rests %s, although the log does not grow any more", got)
	}
}
