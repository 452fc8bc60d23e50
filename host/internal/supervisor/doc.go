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
// instance.go is the life of a ready process, work.go its Work stream, events.go its
// Deliver streams. manifest.go and manifest_events.go read what it declares. wire.go is
// the seam between domain and wire; no generated type leaves the package, but for the
// frames of Deliver streams, which belong to those who open them and bring their own
// goroutines.
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
// # Traps of go-plugin
//
// What the library does that a host must not suffer, what is done about it here, and
// the test that reproduces it:
//
//	trap                                             remedy                             test
//	a stderr line with fields of an unexpected type  own reader of stderr               TestTrapHostileStderrDoesNotKillTheHost
//	panics the host
//	Kill waits for ever for a stopped process        signals first, the library after   TestTrapStoppedPluginIsKilledWithinTheLimits
//	nothing notices a process that is stopped        silence while attempts run         TestTrapStoppedPluginIsHungAndStartedAgain
//	a hung process is killed without a trace         SIGQUIT before the kill            TestTrapHungPluginLeavesItsGoroutines
//	Exited is false while a grandchild holds stderr  the process itself is waited for   TestTrapGrandchildHoldingPipesDoesNotHideACrash
//	two seconds of grace; Shutdown cuts calls off    Drain of our own comes first       TestTrapDrainIsNotCutAtTwoSeconds
//	a stdout line over 64 KiB wedges its scanner     own reader, long lines are cut     TestTrapLongLinesAreHarmless
//	a print before the handshake fails the start     only handshake lines are passed    TestTrapPrintsBeforeTheHandshakeAreLogged
//	output after the handshake blocks when unread    both pipes are read to their end   TestTrapOutputAfterTheStartIsRead
//	SecureConfig excludes a runner of one's own      Options.Verify, before the exec    TestTrapBinaryIsVerifiedBeforeItRuns
//	managed clients and failed starts are never      one client per start, its          TestTrapRestartsLeaveNothingBehind
//	freed                                            connections closed by us
//	a plugin shares the host's group, environment    own group, scrubbed environment,   TestTrapPluginHasItsOwnGroupAndSurroundings
//	and stdin                                        a lifeline for stdin
//	servers receive 4 MiB at most                    one limit, set on both sides       TestTrapLargeMessagesPass
//	net/rpc is what it accepts by default            gRPC alone, refused in words       TestTrapOtherProtocolsAreRefused
//	a panic ends every attempt of the process        lost, not failed; the trace kept   TestTrapPanicEndsEveryAttemptAndKeepsTheTrace
//	a plugin may ignore every request to end         lifeline, TERM, KILL               TestTrapStubbornPluginIsKilled
//	a socket path over the system's limit fails      the length is checked by New       TestTrapLongRunDirectoryIsRefusedAtBoot
//	with a message that names nothing                and holds for the longest          TestTrapLongestRunDirectoryWorks
//	a killed host leaves plugins and sockets         lifeline, parent-death signal,     TestTrapKilledHostLeavesNoProcessAndNoSocket
//	                                                 sockets removed once connected
//
// Two more have no test of their own, for they would only be seen in its source: Start
// changes the configuration that it is given, so each start has a fresh one; and its
// error for a process that ended says less than the exit does, so that is put first.
//
// An idle host with idle plugins does nothing: there is no polling, and silence counts
// only while attempts run.
package supervisor
