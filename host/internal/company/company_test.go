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

// TestLaws lets parties come and go at random: who is alone is alone, and whoever is turned
// away gets in at last, when it asks again whenever it is told to.
func TestLaws(t *testing.T) {
	type wish struct{ waits, alone bool }
	rapid.Check(t, func(t *rapid.T) {
		parties := []string{"a", "b", "c", "d"}
		told := false
		c := company.New(func() { told = true })
		in, wishes := make(map[string]bool), make(map[string]wish) // in: whether it is alone
		ask := func(who string, alone bool) {
			if !c.Join(who, alone) {
				wishes[who] = wish{waits: true, alone: alone}
				return
			}
			delete(wishes, who)
			in[who] = alone
			for other, isAlone := range in {
				if other != who && (alone || isAlone) {
					t.Fatalf("%s (alone: %t) and %s (alone: %t) are in", who, alone, other, isAlone)
				}
			}
		}
		settle := func() {
			for told {
				told = false
				for _, who := range parties {
					if w := wishes[who]; w.waits {
						ask(who, w.alone)
					}
				}
			}
		}
		leave := func(who string) {
			delete(in, who)
			delete(wishes, who)
			c.Leave(who)
			settle()
		}
		for range rapid.IntRange(1, 60).Draw(t, "moves") {
			who := rapid.SampledFrom(parties).Draw(t, "who")
			switch _, isIn := in[who]; {
			case isIn || rapid.IntRange(0, 3).Draw(t, "leaves") == 0:
				leave(who)
			case !wishes[who].waits:
				ask(who, rapid.Bool().Draw(t, "alone"))
				settle()
			}
		}
		for range 2 * len(parties) { // whoever is in leaves, until nobody waits
			for _, who := range parties {
				if _, isIn := in[who]; isIn {
					leave(who)
				}
			}
		}
		if len(wishes) > 0 {
			t.Fatalf("wait for ever: %v", wishes)
		}
		if !c.Close() {
			t.Fatal("nobody is in, and it cannot be closed")
		}
	})
}
