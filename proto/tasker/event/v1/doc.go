// Package eventv1 is the envelope of an event, shared by wire and store: an event is encoded once and
// delivered as it was stored.
package eventv1
