// Package boltstore keeps a host's state in one bbolt file. It implements package
// store's port and is the only package that speaks bbolt.
//
// Read schema.go first: it draws the file. Writing is one road: [Store.Submit] encodes
// a write set in the caller's goroutine and queues it; the committer takes everything
// that has gathered while the last fsync ran, writes it in one transaction and calls
// back (commit.go, writeset.go). Reading goes straight to the file in short
// transactions and never waits for the committer; one file per noun (task.go, log.go,
// list.go, delivery.go and so on); cut.go finds a time in the log and cuts it. Opening,
// locking and closing are in open.go and owner.go; what an operator does with a store is
// in verify.go, backup.go and compact.go.
//
// One goroutine runs per store that is open for writing:
//
//	committer   owned by Store, woken by the queue, ends when Close has drained it
package boltstore
