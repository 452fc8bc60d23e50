// Package api is the control API of a host: what can be asked of it ([Service]), and
// how a command in another process asks it, over gRPC on a unix socket.
//
// The socket lies in a short runtime directory and its path is recorded in the home
// (control.json), because a home may be deep and a socket's path ends at 107 bytes.
// A command therefore reads the record, dials, and speaks the same [Service] that a
// host in its own process offers.
//
// Errors cross the socket: what errors.Is says on the host's side it says on the
// client's side, with the same message and the same hint.
package api
