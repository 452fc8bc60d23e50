package pace

import (
	"runtime"
	"testing"
	"time"
)

func TestSpaced(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name            string
		live, allocated uint64
		in              time.Duration
		want            int
	}{
		{"nothing to do", 10 * mib, mib, time.Minute, 100},
		{"some work", 10 * mib, 5 * mib, 250 * time.Millisecond, 200},
		{"much work", 20 * mib, 20 * mib, 100 * time.Millisecond, 320},
		{"a large heap", 500 * mib, 500 * mib, time.Second, 100},
		{"the first", 4 * mib, 0, 0, 100},
		{"nothing lives", 0, mib, time.Second, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := spaced(tt.live, tt.allocated, tt.in); got != tt.want {
				t.Errorf("got %d %%, want %d %%", got, tt.want)
			}
		})
	}
}

// TestPacer: every collection is followed by a look at the heap, and the percentage is set
// when it changes much.
func TestPacer(t *testing.T) {
	set := make(chan int, 1)
	p := &pacer{percent: 1, at: time.Now()} // whatever the heap asks for, it is a change
	p.set = func(percent int) {
		p.percent = 1 // so is the next one
		select {
		case set <- percent:
		default:
		}
	}
	p.watch()
	for range 3 {
		got := 0
		for got == 0 { // the one that comes too early for the next look is followed by others
			runtime.GC()
			select {
			case got = <-set:
			default:
			}
		}
		if got < usual {
			t.Errorf("%d %% were set, want at least %d %%", got, usual)
		}
	}
}

// TestStacks: the percentage is of stacks, too, so that with large ones no more gathers.
func TestStacks(t *testing.T) {
	const goroutines, frames = 16, 1 << 10 // of 1 KiB at least
	begun, end := make(chan byte), make(chan struct{})
	defer close(end)
	for range goroutines {
		go deep(frames, begun, end)
	}
	for range goroutines {
		<-begun
	}
	runtime.GC()
	set := make(chan int, 1)
	p := &pacer{at: time.Now(), percent: 1} // as if all was allocated just now
	p.set = func(percent int) {
		select {
		case set <- percent:
		default: // another collection
		}
	}
	p.collected()
	if got, most := <-set, Room*100/(goroutines*frames<<10); got > most {
		t.Errorf("%d %% were set with %d MiB of stacks, want at most %d %%", got, goroutines*frames>>10, most)
	}
}

// deep waits with so many KiB of stack for the end.
func deep(frames int, begun chan<- byte, end <-chan struct{}) byte {
	var memory [1 << 10]byte
	memory[frames%len(memory)] = 1
	if frames > 0 {
		return deep(frames-1, begun, end) + memory[0]
	}
	begun <- memory[1]
	<-end
	return memory[2]
}
