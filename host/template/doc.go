// Package template reads templates: YAML (or JSON) files that say which steps a task
// has, which handlers run them, and in which order.
//
// [Parse] turns a file into a [Template] or into all its [Diagnostics] at once, each
// with file, line, column and, where a name is nearly right, a suggestion. [Load] reads
// whole directories into a [Set], which finds templates by "namespace/name@version".
// [Template.Snapshot] is what is stored with a task: the template after environment and
// defaults, so that later edits of the file never change a running task.
//
// A key that this version does not act on is refused, never ignored. [Schema] is the
// JSON Schema of the format, for editors.
package template
