// Package host is Tasker as a library: it opens a home, runs tasks of YAML templates in
// plugin processes, and answers what a [Service] can be asked. The tasker binary is a
// thin layer over it.
//
//	h, err := host.Open(ctx, host.Options{Home: ".tasker", PluginDirs: []string{"plugins"}})
//	if err != nil { ... }
//	err = h.Run(ctx) // until ctx ends and what ran has ended
//
// # Life
//
// [Open] locks the home's store, loads templates and makes the parts; nothing runs yet.
// [Host.Run] starts them and stops them in reverse. It knows two phases: the intake
// (creations, claims, timers) ends with its context; the work (attempts in flight,
// their commits) ends when it is done, after Options.Grace, or when Options.Abort is
// closed. What is cut then runs again when the home is opened next.
//
// # Goroutines
//
//	goroutine               owner       wakes on                        ends when
//	runner loop (1)         runner      inbox, first timer              drained, no commit in flight
//	committer (1)           boltstore   queued write sets               store closed and queue empty
//	plugin keepers (1 each) supervisor  exits, statuses, backoff        drained
//	streams (4 each)        supervisor  queued and read frames, status, instance gone
//	                                    fetches
//	drain call (1 each)     supervisor  the plugin's answer             answered, or the grace is over
//	output readers (2 each) supervisor  lines of stdout and stderr      pipe closed
//	forker (1)              supervisor  a start                         supervisor stopped
//	control server          api         calls                           drained
//	abort waiter (1)        host        Options.Abort                   drained
//
// Each package's comment lists its own in detail.
package host
