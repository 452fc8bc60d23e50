package template

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/task"
)

// ImportOptions say how [ImportRuby] names what has another name here.
type ImportOptions struct {
	// Plugin is the plugin of all handlers. Empty: it is guessed from the modules of
	// the classes.
	Plugin string
}

// rubyVersion is the version of a Ruby task handler that names none.
const rubyVersion = "0.1.0"

// ImportRuby turns the YAML configuration of a task handler of Ruby Tasker, the Rails
// engine, into a template. The warnings say, each with its place, what could not be
// carried over or was changed; the error, [Diagnostics], what must be mended first. The
// template that it returns is one that [Parse] reads.
func ImportRuby(filename string, src []byte, opts ImportOptions) ([]byte, Diagnostics, error) {
	if opts.Plugin != "" && !task.ValidPluginName(opts.Plugin) {
		return nil, nil, fmt.Errorf("plugin %q: want lower-case letters, digits and -, beginning with a letter: %w", opts.Plugin, task.ErrInvalid)
	}
	root, found := readTree(filename, src)
	if root == nil {
		return nil, nil, found.sorted()
	}
	im := &importer{
		decoder: decoder{file: filename, suggest: suggester{budget: suggestBudget}, found: found},
		plugin:  opts.Plugin, steps: make(map[string]string), handlers: make(map[string]string),
	}
	if root.kind != kindMap || root.get("step_templates").isNull() {
		im.add(root.at, "", "this is no task handler of Ruby Tasker: it has no step_templates")
		return nil, nil, im.found.sorted()
	}
	out := im.template(root)
	if len(im.found) > 0 {
		return nil, nil, im.found.sorted()
	}
	var b strings.Builder
	writeTemplate(&b, out)
	if _, err := Parse(filename, []byte(b.String()), Options{}); err != nil {
		if ds, ok := err.(Diagnostics); ok { //nolint:errorlint // Parse returns nothing else
			return nil, nil, unplaced(ds)
		}
		return nil, nil, err
	}
	return []byte(b.String()), im.warnings.sorted(), nil
}

// unplaced takes the places out of diagnostics about a file that nobody has.
func unplaced(ds Diagnostics) Diagnostics {
	out := slices.Clone(ds)
	for i := range out {
		out[i].Line, out[i].Column = 0, 0
	}
	return out.sorted()
}

// importer carries a Ruby task handler over. Its diagnostics are what must be mended in
// the file, its warnings what the user should know.
type importer struct {
	decoder

	warnings Diagnostics
	plugin   string
	name     string            // of the template
	steps    map[string]string // the new names of the steps
	handlers map[string]string // the class of each handler
}

func (im *importer) warn(at pos, format string, args ...any) {
	im.warnings = append(im.warnings, diagnose(im.file, at, fmt.Sprintf(format, args...), ""))
}

// template carries over the keys of the top level.
func (im *importer) template(root *node) *node {
	out := &node{kind: kindMap}
	im.name = im.templateName(root, "name", "")
	if namespace := im.templateName(root, "namespace_name", DefaultNamespace); namespace != DefaultNamespace {
		out.put("namespace", textNode(namespace))
	}
	out.put("name", textNode(im.name))
	out.put("version", textNode(im.version(root)))
	if d := root.get("description"); !d.isNull() && im.want("description", d, kindText) && d.text != "" {
		out.put("description", textNode(d.text))
	}
	for _, e := range root.entries {
		im.noticeTop(e, root)
	}
	if schema := root.get("schema"); !schema.isNull() && im.want("schema", schema, kindMap) {
		if input := im.schema(schema); input != nil {
			out.put("input", input)
		}
	}
	steps := root.get("step_templates")
	if !im.want("step_templates", steps, kindList) {
		return out
	}
	im.nameSteps(steps)
	im.checkNamed(root.get("named_steps"))
	list := &node{kind: kindList}
	for _, s := range steps.items {
		if s.kind == kindMap {
			list.items = append(list.items, im.step(s, true))
		}
	}
	out.put("steps", list)
	if environments := im.environments(root); len(environments.entries) > 0 {
		out.put("environments", environments)
	}
	return out
}

// noticeTop warns of a key of the top level that is not carried over.
func (im *importer) noticeTop(e entry, root *node) {
	if e.value.isNull() {
		return
	}
	switch e.key {
	case "name", "namespace_name", "version", "description", "schema", "step_templates", "named_steps", "environments":
	case "task_handler_class", "class_name", "module_namespace":
		im.warn(e.at, "%s is left out: a template needs no class. What the class overrides must move: see docs/migrating.md", e.key)
	case "default_dependent_system", "dependent_system":
		im.warn(e.at, "%s is left out: there are no dependent systems; name them in descriptions or in tags of tasks", e.key)
	case "concurrent":
		if e.value.text == "false" {
			im.warn(e.at, "concurrent is left out: steps that do not wait for each other run side by side; write depends_on to order them")
		}
	case "custom_events":
		im.customEvents(e, im.pluginOf(root.get("step_templates").list()...))
	case "handler_config":
		im.warn(e.at, "handler_config of the whole task is left out, as in Ruby Tasker, which does not read it: write config in the steps")
	default:
		im.warn(e.at, "%q is left out: neither Ruby Tasker nor Tasker knows it", e.key)
	}
}

// customEvents warns of events that handlers publish.
func (im *importer) customEvents(e entry, plugin string) {
	if e.value.kind != kindList {
		im.warn(e.at, "custom_events is left out: it is no list")
		return
	}
	for _, item := range e.value.items {
		name := item
		if item.kind == kindMap {
			name = item.get("name")
		}
		if name.isNull() {
			continue
		}
		words := snake(strings.ReplaceAll(name.text, ".", "_"))
		im.warn(name.at, "custom event %q is left out: the plugin that publishes it declares it, as %s.%s", name.text, plugin, words)
	}
}

// templateName carries over the name of a template or a namespace.
func (im *importer) templateName(root *node, key, missing string) string {
	n := root.get(key)
	if n.isNull() {
		if missing == "" {
			im.add(root.at, "", "there is no %s", key)
		}
		return missing
	}
	if !im.want(key, n, kindText) {
		return missing
	}
	name := strings.Trim(regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(underscore(n.text)), "_"), "_")
	if len(name) > MaxName {
		name = name[:MaxName]
	}
	if !ValidName(name) {
		im.add(n.at, "", "%s %q: no name can be made of it", key, n.text)
		return missing
	}
	if name != n.text {
		im.warn(n.at, "%s %q is now %q", key, n.text, name)
	}
	return name
}

// version carries over the version.
func (im *importer) version(root *node) string {
	n := root.get("version")
	if n.isNull() {
		return rubyVersion
	}
	if _, err := semver.StrictNewVersion(n.text); err == nil {
		return n.text
	}
	loose, err := semver.NewVersion(n.text)
	if err != nil {
		im.add(n.at, "write it like 1.0.0", "version %q is no semantic version", n.text)
		return rubyVersion
	}
	im.warn(n.at, "version %q is now %q", n.text, loose)
	return loose.String()
}

// checkNamed warns of named steps that are none: the list itself is not needed.
func (im *importer) checkNamed(n *node) {
	if n.isNull() || n.kind != kindList {
		return
	}
	for _, item := range n.items {
		if _, ok := im.steps[item.text]; !ok {
			im.warn(item.at, "named step %q is left out: it is no step template", item.text)
		}
	}
}

// environments carries over the overrides.
func (im *importer) environments(root *node) *node {
	out := &node{kind: kindMap}
	for _, env := range root.get("environments").children() {
		name := strings.ToLower(env.key)
		switch {
		case env.value.isNull():
			continue
		case env.value.kind != kindMap:
			im.want("environment "+env.key, env.value, kindMap)
			continue
		case !ValidName(name):
			im.add(env.at, "", "environment %q: want lower-case letters, digits, _ and -", env.key)
			continue
		case name != env.key:
			im.warn(env.at, "environment %q is now %q", env.key, name)
		}
		over := im.environment(root, env.value)
		if len(over.entries) > 0 {
			out.put(name, over)
		}
	}
	return out
}

// environment carries over one environment: what differs from the base in it.
func (im *importer) environment(root, env *node) *node {
	out := &node{kind: kindMap}
	for _, e := range env.entries {
		switch {
		case e.value.isNull() || e.key == "step_templates":
		case e.key == "description" && e.value.kind == kindText:
			out.put(e.key, textNode(e.value.text))
		case e.key == "schema" && e.value.kind == kindMap:
			if input := im.schema(e.value); input != nil {
				out.put("input", input)
			}
		case e.key == "name" || e.key == "version" || e.key == "namespace_name" || e.key == "environments":
			im.warn(e.at, "%s of an environment is left out: it is the same in all of them", e.key)
		default:
			im.noticeTop(e, root)
		}
	}
	list := &node{kind: kindList}
	for _, s := range env.get("step_templates").list() {
		if over := im.override(root.get("step_templates"), s); over != nil {
			list.items = append(list.items, over)
		}
	}
	if len(list.items) > 0 {
		out.put("steps", list)
	}
	return out
}

// override carries over the overrides of one step: nil when there are none.
func (im *importer) override(bases, over *node) *node {
	name := over.get("name")
	if name.isNull() {
		im.warn(over.at, "an override without the name of its step is left out")
		return nil
	}
	i := slices.IndexFunc(bases.list(), func(b *node) bool { n := b.get("name"); return n != nil && n.text == name.text })
	if i < 0 {
		im.warn(name.at, "the override of step %q is left out: there is no such step", name.text)
		return nil
	}
	base := bases.items[i]
	before := im.quietly(func() *node { return im.step(base, false) })
	after := im.quietly(func() *node { return im.step(merge(base, over), false) })
	im.noticeStep(over, im.pluginOf(base))
	diff := difference(before, after)
	if len(diff.entries) == 0 {
		return nil
	}
	out := &node{kind: kindMap}
	out.put("name", textNode(im.steps[name.text]))
	out.entries = append(out.entries, diff.entries...)
	return out
}

// quietly does something again without telling again what is to be said of it.
func (im *importer) quietly(do func() *node) *node {
	told, found := len(im.warnings), len(im.found)
	n := do()
	im.warnings, im.found = im.warnings[:told], im.found[:found]
	return n
}

// difference returns what must be merged into the map base so that it becomes after: a
// key without a value takes one back.
func difference(base, after *node) *node {
	out := &node{kind: kindMap}
	for _, e := range after.entries {
		was := base.get(e.key)
		switch {
		case was != nil && was.kind == kindMap && e.value.kind == kindMap:
			if inner := difference(was, e.value); len(inner.entries) > 0 {
				out.put(e.key, inner)
			}
		case was == nil || inline(was) != inline(e.value):
			out.put(e.key, e.value)
		}
	}
	for _, e := range base.entries {
		if after.get(e.key) == nil {
			out.put(e.key, &node{kind: kindNull})
		}
	}
	return out
}

// children returns the entries of a map, none of anything else.
func (n *node) children() []entry {
	if n == nil {
		return nil
	}
	return n.entries
}

// list returns the items of a list, none of anything else.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

// writeTemplate writes a template with empty lines between its parts.
func writeTemplate(b *strings.Builder, out *node) {
	for _, e := range out.entries {
		switch e.key {
		case "input", "environments":
			b.WriteString("\n")
			writeYAML(b, &node{kind: kindMap, entries: []entry{e}}, "")
		case "steps":
			b.WriteString("\nsteps:\n")
			for i, s := range e.value.items {
				if i > 0 {
					b.WriteString("\n")
				}
				writeItem(b, s, "  ")
			}
		default:
			writeYAML(b, &node{kind: kindMap, entries: []entry{e}}, "")
		}
	}
}
