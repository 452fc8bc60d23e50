// Package task is the domain of Tasker: tasks, steps and attempts, their ids and
// statuses, the transition tables, retry policies and the errors that callers
// tell apart. It imports only the standard library and is imported by everything
// else, so a reader who knows this package knows the words of the whole system.
//
// A task is one run of one template. It has one step per step spec of the
// template, in the template's order. A step is executed by attempts, of which at
// most one is current. Statuses change only along the rows of [TaskTransitions] and
// [StepTransitions]; the engine applies a row, and the row names the events that
// are recorded in the same transaction.
//
// Times are UTC wall-clock times; the zero time means "has not happened".
package task
