// Package shim starts plugins with no more rights than they were granted.
//
// A program cannot take rights from a process that it starts, only from itself. So the host
// starts itself a second time ([Plan.Command]): that process, the shim, gives up what the
// plugin is not to have, says on a pipe what the kernel really took, and becomes the plugin
// ([Main]). What it executes is the file that the host opened and hashed ([Open]), not what
// lies under its name by then.
//
// What is in force is a list of [Measure]s, the same for the report of a shim, for the
// refusal of the strict profile and for `tasker plugin doctor`; it never claims more than
// the kernel did. Only Linux enforces anything.
package shim
