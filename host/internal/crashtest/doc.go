// Package crashtest kills hosts, as `kill -9` does, at the points of package killpoint
// and at random, and proves on the store and on a ledger that the handlers wrote what
// must hold whenever that happens:
//
//   - every task whose creation was acknowledged is there, once, and ends;
//   - a cancel that was acknowledged holds;
//   - no completed step ran again, no attempt ran twice, attempts are numbered densely;
//   - the events of each task are a walk through the transition tables: none is missing,
//     none is there twice, task_seq has no gaps;
//   - two subscribers get every event of the log at least once, over all lives of the
//     host, in the order that they asked for;
//   - the store verifies, and no plugin process outlives its host.
//
// Variables of the environment: TASKER_CRASH_KILLS is how often a host is killed,
// TASKER_CRASH_SEED repeats the choices of a run that failed.
package crashtest
