// Package company says who has something in flight in a process, so that who is suspected
// of ending processes can have one to itself: when that process ends as well, nobody else
// can be to blame.
//
// A party is the steps of a plugin together, or one of its subscriptions. Ordinary parties
// do not mind each other. One that asks to be alone keeps others from beginning anything
// until those that are in have left and it had its turn; several have theirs in the order
// in which they asked.
package company

import (
	"slices"
	"sync"
	"time"
)

// lately is how long the streams of a process that ended may take to end one after the
// other.
const lately = 5 * time.Second

// Company is of one process. Make it with [New]; it is safe for concurrent use.
type Company struct {
	changed func()

	mu     sync.Mutex
	in     map[any]*stay
	alone  any   // who has the process to itself, nil = nobody
	waits  []any // who wants that, in the order of asking
	turned bool  // somebody was turned away since changed was called last
	closed bool  // nobody comes in any more
	broken []broke
}

// stay is what is known of somebody who is in.
type stay struct {
	things int
	what   string // the only one of the things, empty = none has a name
}

// broke is a stay that ended with the process, as far as its party knows.
type broke struct {
	Held
	at time.Time
}

// Held is a single thing that a party had in flight.
type Held struct {
	What  string
	Alone bool // nobody else had anything in flight
}

// New makes the company of a process. changed is called when those who were turned away may
// ask again; it must not block and must not call the company.
func New(changed func()) *Company { return &Company{changed: changed, in: make(map[any]*stay)} }

// Join asks whether a party may begin something, and notes that it has something in flight
// until it leaves. It is asked for each thing. With alone nobody else is in, nor comes in
// before it has left; who is turned away waits for its turn, which it gives up by leaving,
// or by joining in company. Who asks to be alone, or was alone and asks again, has nothing
// in flight of its own any more.
func (c *Company) Join(who any, alone bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone == who {
		c.alone = nil // its turn is over
		delete(c.in, who)
		c.tellLocked()
	}
	switch {
	case c.closed:
		return false
	case alone:
		return c.joinAloneLocked(who)
	}
	c.withdrawLocked(who)
	if c.alone != nil || len(c.waits) > 0 {
		c.turned = true
		return false
	}
	if c.in[who] == nil {
		c.in[who] = &stay{}
	}
	return true
}

func (c *Company) joinAloneLocked(who any) bool {
	_, was := c.in[who]
	delete(c.in, who)
	if !slices.Contains(c.waits, who) {
		c.waits = append(c.waits, who)
	}
	if c.alone != nil || c.waits[0] != who || len(c.in) > 0 {
		if was {
			c.tellLocked()
		}
		c.turned = true
		return false
	}
	c.alone, c.waits = who, c.waits[1:]
	c.in[who] = &stay{}
	return true
}

// Holds notes that a party which is in has begun so many things, of which a single one is
// called what.
func (c *Company) Holds(who any, things int, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.in[who]
	if s == nil {
		return
	}
	if s.things += things; s.things != 1 {
		what = ""
	}
	s.what = what
}

// Leave notes that a party has nothing in flight any more, and wants nothing.
func (c *Company) Leave(who any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked(who)
}

// Broke is [Company.Leave] of a party that knows of the end of the process, or takes it for
// that.
func (c *Company) Broke(who any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.in[who]; s != nil && s.what != "" {
		c.broken = append(c.broken, broke{Held{What: s.what, Alone: c.alone == who}, time.Now()})
	}
	c.leaveLocked(who)
}

func (c *Company) leaveLocked(who any) {
	_, in := c.in[who]
	delete(c.in, who)
	if c.alone == who {
		c.alone = nil
	}
	if !c.withdrawLocked(who) && in {
		c.tellLocked()
	}
}

// tellLocked has those ask again who were turned away, if there are any.
func (c *Company) tellLocked() {
	if c.turned {
		c.turned = false
		c.changed()
	}
}

// withdrawLocked takes back that a party wants to be alone. It reports whether it told
// others of it.
func (c *Company) withdrawLocked(who any) bool {
	i := slices.Index(c.waits, who)
	if i < 0 {
		return false
	}
	c.waits = slices.Delete(c.waits, i, i+1)
	c.turned = false
	c.changed()
	return true
}

// Close keeps everybody out from now on, if nobody is in or waits to be. It reports whether
// that was so.
func (c *Company) Close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = c.closed || len(c.in) == 0 && len(c.waits) == 0
	return c.closed
}

// Ended returns the single things that were in flight when the process ended, a moment ago.
func (c *Company) Ended() (held []Held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for who, s := range c.in {
		if s.what != "" {
			held = append(held, Held{What: s.what, Alone: c.alone == who})
		}
	}
	for _, b := range c.broken {
		if time.Since(b.at) < lately {
			held = append(held, b.Held)
		}
	}
	return held
}
