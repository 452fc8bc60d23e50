package sdk

// Version is the version of this SDK, as manifests report it.
const Version = "0.1.0"

// Plugin is everything that a plugin binary offers. Name, Version and at least one handler or subscriber
// are required; the rest may stay zero.
type Plugin struct {
	// Name identifies the plugin on a host: [a-z][a-z0-9-]{0,31}. Templates refer to handlers as
	// "name/handler".
	Name string
	// Version is the plugin's own semantic version, such as "1.4.0".
	Version string
	// Title is one line for people.
	Title string
	// Description says what the plugin is for, in plain text.
	Description string
	// Vendor is who made it.
	Vendor string
	// Licence is an SPDX licence expression.
	Licence string
	// Homepage is where to read more.
	Homepage string

	// Handlers are the handlers by name. A key is a name, or "name@N" to offer version N.
	Handlers Handlers

	// Subscribers are the subscribers by the names of their subscriptions.
	Subscribers Subscribers

	// Events are the custom events that the handlers emit.
	Events Events

	// Config is a pointer to the struct that the plugin's configuration is decoded into before any
	// work starts; handlers that need it share the pointer. Its schema is derived from the type, and
	// values already in it are the defaults. Mark secrets with the tag `jsonschema:"writeOnly"`.
	// A Config with a method Check or Close is asked like a handler; see [Checker]. Nil = the plugin
	// takes no configuration.
	Config any

	// MaxConcurrency is how many attempts one process holds at once. 0 = the host decides.
	MaxConcurrency int

	// Permissions are what the plugin needs from the machine. The zero value asks for nothing.
	Permissions Permissions
}

// Handlers are handlers by name: [a-z][a-z0-9_-]{0,31}, optionally followed by "@" and a version.
type Handlers map[string]Handler

// Permissions are what a plugin needs beside its own data directory. The host shows them to the
// operator and may enforce them.
type Permissions struct {
	// FSRead and FSWrite are paths that are read, and that are read and written: absolute ones, or what the operator
	// names: "config:/tls/ca_file" is the path that the plugin's configuration has there (* in such a pointer is every
	// member of a map or list), "config-dir:/path" the directory of that file, "env:NAME" the path in a variable.
	// "*" = all files, but for the host's own.
	FSRead, FSWrite []string
	// Network says how far the plugin talks. Zero = not at all.
	Network Network
	// Env names the environment variables that the plugin wants to see; "*" = all that the operator grants.
	Env []string
	// Subprocess says that the plugin starts processes of its own.
	Subprocess bool
}

// Network is how far a plugin talks.
type Network string

// How far a plugin talks.
const (
	NetworkNone     Network = "none"     // not at all; the same as ""
	NetworkLoopback Network = "loopback" // to this machine
	NetworkAny      Network = "any"      // to everywhere
)
