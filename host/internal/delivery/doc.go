// Package delivery carries committed events to the subscribers that want them: it reads
// the log from each subscription's durable cursor and sends what is stored, in order, at
// least once. What a subscriber does, or does not, costs the engine nothing and other
// subscribers nothing.
package delivery
