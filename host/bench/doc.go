// Package bench measures a host: real tasks in a real store file with fsync on, their
// steps in a real plugin process over mutual TLS, and beside each result the floor, which
// is what a program without an engine reaches with the same records on the same disk in
// the same minute. `tasker bench` is a thin layer over it.
//
//	r, err := bench.Run(ctx, bench.Config{Dir: dir, Executable: self, Workload: w, InFlight: 64, For: 3 * time.Second})
//
// # What is measured
//
// The latencies of tasks and steps are differences of the engine's own time stamps, read
// from the log after the run. A task also has a latency as its creator sees it, from the
// call of CreateTask to the committed end; in an open loop it counts from the time at which
// the task was due, so a host that falls behind cannot hide it. Histograms are HDR with
// three digits.
//
// The generator runs in the host's process and reads the log for the ends of tasks: what
// it uses is counted as the host's, and is stated.
//
// # The floor
//
// [Floor] is an engine that does the least: it knows the dependencies, writes as many
// records of the same size per task as the host did, in one group commit at a time, and
// sends attempts over one stream to a plugin process that answers at once. It keeps no
// state machine, no retries, no timers, no events for subscribers. [Disk] and [Wire]
// measure what is below even that.
//
// # Plugins
//
// This package starts its own executable again under the name of a plugin: the program
// must call what the name asks for, see [Role]. The handlers are the caller's, because a
// host shares no code with the SDK.
package bench
