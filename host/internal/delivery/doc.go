// Package delivery carries committed events to the subscribers that want them: it reads
// the log from each subscription's durable cursor and sends what is stored, in order, at
// least once. What a subscriber does, or does not, costs the engine nothing and other
// subscribers nothing.
//
// # Laws
//
//   - At least once: a cursor passes an event when it was acknowledged, became a dead
//     letter, is not wanted, or was cut from the log, which is told of.
//   - In order: within a lane (the whole subscription, or one task) no event is handled
//     for the first time after one that follows it. An event that is wanted again holds up
//     its lane alone.
//   - Bounded: a subscription has a window of batches in flight, [MaxAhead] records of
//     events beyond one that is not done, [MaxHeld] lanes that wait, and no bytes of its
//     own; those are in a cache of pages that all share.
//   - Patience has an end: an event that fails too often, or ends its process too often
//     while it is alone with it, becomes a dead letter and the cursor moves on.
//   - What is away is no fault: an event whose subscriber cannot reach what it needs waits,
//     and with it its binding; one event tries when the wait is over.
//   - No echo: that an event about a subscription became a dead letter, or is late, is not
//     recorded as an event.
//   - Silence is free: a subscription that is absent or paused has no goroutine and no
//     timer; one that has caught up waits for a bell, and nothing is written.
//   - The log wakes at a pace: at once after a pause, and while it grows on and on no sooner
//     than a pace after the last time, all who wait together.
//   - The past makes room: while the log grows, who is behind rests after each full batch,
//     nine times as long as the batch took, however many are behind.
//   - Trials, retried dead letters, replays and live events follow each other: nothing of
//     one is in flight when the next begins.
//
// # Reading order
//
// delivery.go is what the host calls. machine.go is the state of one subscription: what
// it wants next, and what it takes of what was read; answer.go is what follows from the
// answers and the end of a stream, outage.go from the answer that something is away;
// track.go keeps the events between what is done and what is not read, pulse.go watches
// for signs of life. These six do nothing by themselves.
// subscription.go owns a machine and serves instances one after the other; link.go is one
// stream, send.go its frames. route.go decides which events are wanted and through which
// binding; reader.go reads the log for all, header.go the envelopes. spacing.go spaces out
// what was missed. cursors.go writes the cursors, operate.go is what operators ask for, lag.go tells who is late.
//
// # Goroutines
//
//	goroutine   number                    owner         wakes on                                    ends when
//	Run         1                         the host      the end of its context                      everything below has ended
//	saver       1                         Run           a cursor that changes, a second after it    Run ends it, after the last write
//	serve       1 per subscription that   subscription  bell, answer, operator, its next deadline   the last instance goes, a pause, Drain or
//	            is served                                                                           the end of Run
//	receive     1 per stream              link          a frame of the plugin                       the stream ends
//
// Two timers run functions: the guard of a frame that is being sent, stopped when it is
// sent, and that of the bell, which wakes who waits for the log.
//
// # Locks
//
// Delivery.mu before subscription.mu; under that one, at most one of the locks of the
// saver, of the bindings and of the life of the goroutines. Pages are read under no other
// lock. Nothing is submitted to the store under any lock, because what follows a commit
// takes them. A subscription's channel writing is a lock, too: who holds it has the only
// write of its cursor and dead letters under way, so that cursors are stored in their
// order. It is taken before the others.
package delivery
