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
// closed. What is cut then runs again when the home is opened next. Between the end of
// the work and the end of the plugins, subscribers may catch up with the log for
// Options.DeliveryGrace; what they do not get then they get in the next run.
//
// # Plugins and events
//
// What a plugin declares of events is checked against the catalog and against the other
// plugins before it is configured (handshake.go, schemacompat.go, eventcatalog.go). When
// an instance is ready it is connected with what it subscribes to (subscribe.go), narrowed
// by what templates and the configuration say (bindings.go). subscriptions.go answers what
// is asked about all of this.
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
//	delivery (1)            delivery    the end of its context          drained
//	cursor saver (1)        delivery    a cursor that moved             drained, cursors written
//	subscriptions (1 each)  delivery    log grows, answers, operators   plugin gone or paused; drained
//	receivers (1 each)      delivery    a subscriber's answer           its stream ends
//	log cutter (1)          host        once an hour or more often, if  drained
//	                                    events are not kept for ever
//	retention (1)           host        a finished task that becomes    drained
//	                                    due, unless all are kept
//	span relay (1)          telemetry   queued spans                    drained, the queue is empty
//	warner (1)              host        a plugin that settles           it is known who is installed
//	output readers (2 each) supervisor  lines of stdout and stderr      pipe closed
//	forker (1)              supervisor  a start                         supervisor stopped
//	control server          api         calls                           drained
//	abort waiter (1)        host        Options.Abort                   drained
//
// Each package's comment lists its own in detail.
package host
