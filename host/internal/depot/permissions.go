package depot

import (
	"slices"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// Asks returns what permissions allow, one phrase each: "network any", "read /etc/ssl", "read what tls.ca_file of its
// configuration names".
func Asks(p supervisor.Permissions) []string {
	var out []string
	if networkRank(p.Network) > 0 {
		out = append(out, "network "+p.Network)
	}
	for _, dir := range p.FSRead {
		out = append(out, "read "+supervisor.EntryPhrase(dir))
	}
	for _, dir := range p.FSWrite {
		out = append(out, "write "+supervisor.EntryPhrase(dir))
	}
	for _, name := range p.Env {
		out = append(out, "env "+name)
	}
	if p.Subprocess {
		out = append(out, "subprocess")
	}
	return out
}

// Beyond returns what asked allows and approved does not, as [Asks] does. A path covers
// only itself here: who wants less asks for less.
func Beyond(asked, approved supervisor.Permissions) []string {
	if networkRank(asked.Network) <= networkRank(approved.Network) {
		asked.Network = ""
	}
	asked.FSRead = without(asked.FSRead, approved.FSRead)
	asked.FSWrite = without(asked.FSWrite, approved.FSWrite)
	if slices.Contains(approved.Env, "*") {
		asked.Env = nil
	}
	asked.Env = without(asked.Env, approved.Env)
	asked.Subprocess = asked.Subprocess && !approved.Subprocess
	return Asks(asked)
}

func without(list, known []string) []string {
	var rest []string
	for _, s := range list {
		if !slices.Contains(known, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// networkRank orders the kinds of network by how much they allow. An unknown kind is
// more than any known one, so that it is never taken for approved.
func networkRank(network string) int {
	switch network {
	case "", "none":
		return 0
	case "loopback":
		return 1
	case "any":
		return 2
	default:
		return 3
	}
}
