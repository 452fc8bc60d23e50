package template

import (
	"fmt"
	"slices"
	"strings"
)

// MaxEnvironments is how many environments a template may have.
const MaxEnvironments = 32

// Options says how templates are read.
type Options struct {
	// Environment names the overrides to apply; "" = none. A template that has none of
	// that name is read as its base: see [Template.Environments].
	Environment string
}

// Parse reads a template from src. The error is a list of [Diagnostics]: everything
// that is wrong with the file, in all its environments, at once. filename is only used
// in diagnostics.
func Parse(filename string, src []byte, opts Options) (*Template, error) {
	root, found := readTree(filename, src)
	if root == nil {
		return nil, found.sorted()
	}
	d := &decoder{
		file: filename, source: strings.TrimPrefix(string(src), "\xef\xbb\xbf"), suggest: suggester{budget: suggestBudget},
		found: found, schemas: make(map[*node]bool), compiled: make(map[*node]compiled),
	}
	if root.kind != kindMap {
		d.add(root.at, "a template is a map with name, version and steps", "want a map, got %s", root.kind)
		return nil, d.found.sorted()
	}
	t, input := d.template(root)
	environments := d.environments(root)
	for _, env := range environments {
		if env.value.isNull() || len(d.found) > maxDiagnostics {
			continue
		}
		base := d.found
		d.found = nil
		et, en := d.template(d.override(root, env))
		d.found = append(base, inEnvironment(env.key, d.found, base)...)
		if env.key == opts.Environment {
			t, input = et, en
		}
	}
	if len(d.found) > 0 {
		return nil, d.found.sorted()
	}
	return finish(filename, t, input, environments)
}

// finish completes a template without diagnostics.
func finish(filename string, t Template, input *node, environments []entry) (*Template, error) {
	var err error
	if input != nil {
		t.Input, err = input.json()
	}
	if err == nil {
		err = t.checkHead()
	}
	if err == nil {
		err = t.complete()
	}
	if err != nil {
		return nil, Diagnostics{{File: filename, Message: err.Error()}}
	}
	for _, env := range environments {
		t.environments = append(t.environments, env.key)
	}
	slices.Sort(t.environments)
	return &t, nil
}

// template decodes one effective template.
func (d *decoder) template(root *node) (Template, *node) {
	var spec templateSpec
	object(d, "a template", root, templateKeys(), &spec)
	for _, required := range []string{"name", "version", "steps"} {
		if root.get(required).isNull() {
			d.add(root.at, "", "the template has no %s", required)
		}
	}
	if spec.input != nil && !d.schemas[spec.input] {
		d.schemas[spec.input] = true
		d.checkSchema(spec.input)
	}
	return d.build(&spec), spec.input
}

// environments returns the entries of `environments`.
func (d *decoder) environments(root *node) []entry {
	n := root.get("environments")
	if n.isNull() || !d.want("environments", n, kindMap) {
		return nil
	}
	if len(n.entries) > MaxEnvironments {
		d.add(n.at, "", "%d environments: the limit is %d", len(n.entries), MaxEnvironments)
		return nil
	}
	var envs []entry
	for _, e := range n.entries {
		if !ValidName(e.key) {
			d.add(e.at, nameHint(e.key, ValidName), "environment %q: want lower-case letters, digits, _ and -, beginning with a letter", e.key)
			continue
		}
		if !e.value.isNull() && !d.want("environment "+e.key, e.value, kindMap) {
			continue
		}
		envs = append(envs, e)
	}
	return envs
}

// override returns the template with one environment laid over it.
func (d *decoder) override(root *node, env entry) *node {
	over := env.value
	for _, fixed := range []string{"namespace", "name", "version", "environments"} {
		for _, e := range over.entries {
			if e.key == fixed {
				d.add(e.at, "", "an environment cannot change %s", fixed)
				over = over.without(fixed)
			}
		}
	}
	steps := over.get("steps")
	merged := merge(root, over.without("steps"))
	if steps.isNull() {
		return merged
	}
	return merged.with("steps", d.overrideSteps(root.get("steps"), steps))
}

// overrideSteps merges steps by name; the order stays that of the base.
func (d *decoder) overrideSteps(base, over *node) *node {
	if over.kind != kindList || base.isNull() || base.kind != kindList {
		return over
	}
	places := make(map[string]int, len(base.items))
	names := make([]string, 0, len(base.items))
	for i, s := range base.items {
		if n := s.get("name"); n != nil {
			if _, twice := places[n.text]; !twice {
				places[n.text] = i
				names = append(names, n.text)
			}
		}
	}
	list := &node{kind: kindList, at: base.at, items: slices.Clone(base.items)}
	seen := make(map[string]bool, len(over.items))
	for _, s := range over.items {
		n := s.get("name")
		if s.kind != kindMap || n.isNull() || n.kind != kindText {
			d.add(s.at, "", "an override of a step begins with its name")
			continue
		}
		i, ok := places[n.text]
		switch {
		case !ok:
			d.add(n.at, d.suggest.hint(n.text, slices.Values(names)), "override for unknown step %q", n.text)
		case seen[n.text]:
			d.add(n.at, "", "a second override for step %s", n.text)
		default:
			list.items[i] = merge(list.items[i], s)
		}
		seen[n.text] = true
	}
	return list.seal()
}

// inEnvironment marks what is wrong only with one environment; what is wrong with the
// base was reported already.
func inEnvironment(env string, found, base Diagnostics) Diagnostics {
	var more Diagnostics
	for _, f := range found {
		if !slices.Contains(base, f) {
			if f.Message != tooMany {
				f.Message = fmt.Sprintf("%s (in environment %s)", f.Message, env)
			}
			more = append(more, f)
		}
	}
	return more
}
