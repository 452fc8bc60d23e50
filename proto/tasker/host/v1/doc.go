// Package hostv1 is the control API of a running host, as the command line speaks it.
package hostv1
