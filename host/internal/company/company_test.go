package company_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/company"
)

func TestTurns(t *testing.T) {
	rooms := 0
	c := company.New(func() { rooms++ })
	join := func(who string, alone, want bool) {
		t.Helper()
		if got := c.Join(who, alone); got != want {
			t.Fatalf("%s joins (alone: %t): %t, want %t", who, alone, got, want)
		}
	}
	told := func(want int) {
		t.Helper()
		if rooms != want {
			t.Fatalf("others were told of room %d times, want %d", rooms, want)
		}
	}
	join("a", false, true)
	join("b", false, true)
	c.Leave("a")
	told(0) // nobody was turned away
	join("a", true, false)
	join("c", false, false) // a waits
	join("b", false, false)
	c.Leave("b")
	told(1)
	join("b", true, false) // after a
	join("a", true, true)
	join("c", false, false)
	c.Leave("a")
	told(2)
	join("c", false, false)
	join("a", true, false)
	join("b", true, true)
	c.Leave("a") // wants nothing any more
	told(3)
	c.Leave("b")
	join("c", false, true)
	join("a", false, true)
}

// TestClose: nobody is in who is kept out, and the other way round.
func TestClose(t *testing.T) {
	c := company.New(func() {})
	if c.Join("a", false); c.Close() {
		t.Error("closed with somebody in")
	}
	if c.Join("b", true); c.Close() {
		t.Error("closed with somebody waiting, too")
	}
	c.Leave("a")
	if c.Close() {
		t.Error("closed with somebody waiting")
	}
	c.Leave("b")
	if !c.Close() {
		t.Error("not closed with nobody in")
	}
	if c.Join("a", false) || c.Join("a", true) {
		t.Error("somebody comes in after it was closed")
	}
}

// TestEnded: what is named is what was the only thing of its party.
func TestEnded(t *testing.T) {
	c := company.New(func() {})
	c.Join("a", false)
	c.Holds("a", 1, "one")
	c.Join("b", false)
	c.Holds("b", 2, "")
	c.Join("c", false)
	c.Holds("c", 1, "two")
	c.Holds("c", 1, "three")
	c.Join("d", false)
	c.Holds("d", 1, "four")
	c.Broke("d")
	if got, want := c.Ended(), []company.Held{{What: "one"}, {What: "four"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	alone := company.New(func() {})
	alone.Join("a", true)
	alone.Holds("a", 1, "one")
	if got, want := alone.Ended(), []company.Held{{What: "one", Alone: true}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestNextThingAfterATurn: who had its turn may have the next thing in flight before it
// left; those who were turned away get in beside it.
func TestNextThingAfterATurn(t *testing.T) {
	rooms := 0
	c := company.New(func() { rooms++ })
	if !c.Join("a", true) || c.Join("b", false) || !c.Join("a", false) {
		t.Fatal("want the first alone, the other one out, and the first in again")
	}
	if rooms != 1 || !c.Join("b", false) {
		t.Errorf("the other one was told of room %d times, want once, and to be in", rooms)
	}
}

// TestLaws lets parties come, go on and go at random: who is alone is alone, nobody waits
// without a reason, and whoever is turned away gets in at last, when it asks again whenever
// it is told to.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := laws{T: t, in: make(map[string]bool), wishes: make(map[string]bool)}
		l.Company = company.New(func() { l.told = true })
		for range rapid.IntRange(1, 60).Draw(t, "moves") {
			who := rapid.SampledFrom(parties).Draw(t, "who")
			if rapid.IntRange(0, 2).Draw(t, "leaves") == 0 {
				l.leave(who)
			} else { // the next thing, or another wish than the one that waits
				l.ask(who, rapid.Bool().Draw(t, "alone"))
			}
			l.settle()
		}
		for range 2 * len(parties) { // whoever is in leaves, until nobody waits
			for _, who := range parties {
				if _, isIn := l.in[who]; isIn {
					l.leave(who)
					l.settle()
				}
			}
		}
		if len(l.wishes) > 0 {
			t.Fatalf("wait for ever: %v", l.wishes)
		}
		if !l.Close() {
			t.Fatal("nobody is in, and it cannot be closed")
		}
	})
}

var parties = []string{"a", "b", "c", "d"}

// laws is a company whose parties do as they should.
type laws struct {
	*rapid.T
	*company.Company

	told       bool
	in, wishes map[string]bool // whether it is alone, or wants that
}

func (l *laws) ask(who string, alone bool) {
	if alone || l.in[who] {
		delete(l.in, who) // it has nothing in flight of its own then
	}
	if !l.Join(who, alone) {
		l.wishes[who] = alone
		return
	}
	delete(l.wishes, who)
	l.in[who] = alone
	for other, isAlone := range l.in {
		if other != who && (alone || isAlone) {
			l.Fatalf("%s (alone: %t) and %s (alone: %t) are in", who, alone, other, isAlone)
		}
	}
}

func (l *laws) leave(who string) {
	delete(l.in, who)
	delete(l.wishes, who)
	l.Leave(who)
}

// settle has everybody ask again as long as they are told to. Then those who still wait
// have somebody to wait for.
func (l *laws) settle() {
	for l.told {
		l.told = false
		for _, who := range parties {
			if alone, waits := l.wishes[who]; waits {
				l.ask(who, alone)
			}
		}
	}
	solitary, queue := false, false
	for _, alone := range l.in {
		solitary = solitary || alone
	}
	for _, alone := range l.wishes {
		queue = queue || alone
	}
	if len(l.wishes) > 0 && !solitary && (!queue || len(l.in) == 0) {
		l.Fatalf("%v wait, and nobody keeps them out: %v are in", l.wishes, l.in)
	}
}
