package template

import (
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/goccy/go-yaml/ast"
)

// HostSubscription is a subscription of the host's configuration: of all templates, or
// of those that it names.
type HostSubscription struct {
	Subscription

	Template string // "[namespace/]name[@version]"; empty = all
}

// ReadSubscriptions reads the value of `subscriptions` in a host's configuration: a list
// as in a template, whose entries may also name a template. value is a part of the file
// src, which filename is the name of. What is wrong comes with its place.
func ReadSubscriptions(filename string, src []byte, value ast.Node) ([]HostSubscription, Diagnostics) {
	r := &reader{file: filename, anchors: make(map[string]*node)}
	n := r.node(value, 1)
	if len(r.found) > 0 {
		return nil, r.found.sorted()
	}
	if n.isNull() {
		return nil, nil
	}
	d := &decoder{
		file: filename, source: strings.TrimPrefix(string(src), "\xef\xbb\xbf"), suggest: suggester{budget: suggestBudget},
	}
	keys := append(subscriptionKeys(), key[subscriptionSpec]{"template", readTemplateRef})
	specs := readSubscriptions(d, n, keys)
	var subs []HostSubscription
	for i, s := range d.subscriptions(specs) {
		subs = append(subs, HostSubscription{Subscription: s, Template: specs[i].template})
	}
	if len(d.found) > 0 {
		return nil, d.found.sorted()
	}
	return subs, nil
}

func readTemplateRef(d *decoder, s *subscriptionSpec, n *node) {
	if !d.want("template", n, kindText) {
		return
	}
	if !validRef(n.text) {
		d.add(n.at, "", "template %q: want [namespace/]name[@version], such as shop/order@1.0.0", n.text)
	}
	s.template = n.text
}

// validRef reports whether s has the form of a reference to a template.
func validRef(s string) bool {
	full, version, versioned := strings.Cut(s, "@")
	if versioned {
		if _, err := semver.StrictNewVersion(version); err != nil {
			return false
		}
	}
	namespace, name, both := strings.Cut(full, "/")
	return ValidName(namespace) && (!both || ValidName(name))
}
