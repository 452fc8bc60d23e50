// Package supervisor runs plugins as processes: it discovers their binaries, starts
// them, hands them attempts and hears their reports, restarts what crashes and stops
// everything in an orderly way. It is the only part of the host that speaks go-plugin;
// what it tells goes to a [Sink], in the words of package task.
//
// The library is used for the handshake and the encrypted connection only. Starting,
// watching and killing processes and reading what they print is done here: a process
// has its own group, dies with the host (a lifeline on stdin, and on Linux the
// parent-death signal), sees a scrubbed environment, and can neither end nor block the
// host by what it prints. While an instance is ready its socket is already removed, so
// that a killed host leaves none.
//
// # Reading order
//
// supervisor.go is what others call. plugin.go is the life of one plugin over its
// processes, launch.go one start in its phases, process.go the process itself.
// instance.go is the life of a ready process, work.go its Work stream. wire.go is the
// seam between domain and wire; no generated type leaves the package.
//
// # Goroutines
//
//	goroutine          number         owner      wakes on                        ends when
//	fork thread        1              Run        a start                         every process is reaped
//	plugin             1 per plugin   Run        exit, stream, status, drain     Drain or Run's context, its process reaped
//	stdout, stderr     2 per process  process    output                          the pipe ends, or a second after the exit
//	reaper             1 per process  process    exit                            output is read to the end
//	library            few/process    go-plugin  its pipes and streams           launch.release, after the exit
//	send               1 per instance instance   dispatch, cancel, chunk         instance.close
//	receive            1 per instance instance   frame                           the stream ends
//	watch              1 per instance instance   status                          the stream ends
//	fetch              1 per instance instance   fetch                           instance.close
//	drain call         1 per drain    instance   answer of Drain                 the answer, or the end of the drain
//
// Timers that run a function: the grace of a cancelled attempt, stopped with its end;
// the start timeout, which kills the process.
//
// An idle host with idle plugins does nothing: there is no polling, and silence counts
// only while attempts run.
package supervisor
