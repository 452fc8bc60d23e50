package template

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/task"
)

// readName reads the name of a template or a namespace.
func (d *decoder) readName(what string, n *node) *name {
	if !d.want(what, n, kindText) {
		return nil
	}
	if !ValidName(n.text) {
		d.add(n.at, nameHint(n.text, ValidName), "%s %q: want lower-case letters, digits, _ and -, beginning with a letter, at most %d characters",
			what, n.text, MaxName)
		return nil
	}
	return &name{text: n.text, at: n.at}
}

// nameHint proposes a valid spelling of a name.
func nameHint(s string, valid func(string) bool) string {
	for _, sep := range []string{"_", "-"} {
		try := strings.NewReplacer(" ", sep, "-", sep, "_", sep, ".", sep, "/", sep).Replace(strings.ToLower(s))
		if try != s && valid(try) {
			return fmt.Sprintf("write %s", try)
		}
	}
	return ""
}

// readVersion reads a semantic version.
func (d *decoder) readVersion(n *node) *name {
	if n.kind != kindText && n.kind != kindNumber {
		d.want("version", n, kindText)
		return nil
	}
	if _, err := semver.StrictNewVersion(n.text); err != nil {
		hint := "write it like 1.0.0"
		if loose, err := semver.NewVersion(n.text); err == nil {
			hint = "write " + loose.String()
		}
		d.add(n.at, hint, "version %q is no semantic version", n.text)
		return nil
	}
	return &name{text: n.text, at: n.at}
}

func (d *decoder) readStepName(n *node) string {
	if !d.want("name", n, kindText) {
		return ""
	}
	valid := func(s string) bool { return task.ValidStepName(s) }
	if !valid(n.text) {
		d.add(n.at, nameHint(n.text, valid), "step name %q: want lower-case letters, digits and _, beginning with a letter, at most 100 characters", n.text)
	}
	return n.text
}

func readHandler(d *decoder, s *stepSpec, n *node) {
	s.hasHandler = true
	if !d.want("handler", n, kindText) {
		return
	}
	ref, err := task.ParseHandlerRef(n.text)
	if err != nil {
		d.add(n.at, "", "handler %q: want plugin/handler or plugin/handler@version, with a whole number from 1 as version", n.text)
		return
	}
	s.handler = ref
}

func readDependsOn(d *decoder, s *stepSpec, n *node) {
	if !d.want("depends_on", n, kindList) {
		return
	}
	s.dependsOn = make([]name, 0, len(n.items))
	for _, item := range n.items {
		if d.want("depends_on", item, kindText) {
			s.dependsOn = append(s.dependsOn, name{text: item.text, at: item.at})
		}
	}
}

// readSteps reads the list of steps.
func readSteps(d *decoder, t *templateSpec, n *node) {
	t.hasSteps = true
	if n.kind == kindMap {
		d.add(n.at, `write each step as a list item that begins with "- name:"`, "steps: want a list, got a map")
		return
	}
	if !d.want("steps", n, kindList) {
		return
	}
	if len(n.items) == 0 {
		d.add(n.at, "", "a template needs at least one step")
		return
	}
	if len(n.items) > MaxSteps {
		d.add(n.items[MaxSteps].at, "", "%d steps: the limit is %d", len(n.items), MaxSteps)
		return
	}
	keys := stepKeys()
	t.steps = make([]stepSpec, 0, len(n.items))
	for _, item := range n.items {
		s := stepSpec{at: item.at}
		if nameNode := item.get("name"); nameNode != nil {
			s.name.at = nameNode.at
		}
		if !object(d, "a step", item, keys, &s) {
			continue
		}
		if item.get("name").isNull() {
			d.add(s.at, "", "a step without a name")
		}
		if !s.hasHandler {
			d.add(s.at, "write handler: plugin/handler", "step %s has no handler", orUnnamed(s.name.text))
		}
		t.steps = append(t.steps, s)
	}
}

func orUnnamed(s string) string {
	if s == "" {
		return "(unnamed)"
	}
	return s
}

// build checks what concerns the template as a whole and makes it. The result is only
// good when there are no diagnostics.
func (d *decoder) build(spec *templateSpec) Template {
	t := Template{
		Namespace: DefaultNamespace, Description: spec.description, OnFailure: OnFailureDrain,
		Deadline: spec.deadline, IdentityHash: spec.identity == identityHash,
		Retention: spec.retention,
	}
	if spec.namespace != nil {
		t.Namespace = spec.namespace.text
	}
	if spec.name != nil {
		t.Name = spec.name.text
	}
	if spec.version != nil {
		t.Version = spec.version.text
	}
	if spec.onFailure != "" {
		t.OnFailure = spec.onFailure
	}
	d.checkSettings(spec.defaults, spec.defaults)
	ordinals := d.ordinals(spec.steps)
	t.Steps = make([]Step, len(spec.steps))
	edges := 0
	for i := range spec.steps {
		s := &spec.steps[i]
		t.Steps[i] = d.step(s, spec.defaults)
		t.Steps[i].DependsOn = d.resolve(s, spec.steps, ordinals)
		if edges += len(s.dependsOn); edges > MaxEdges {
			d.add(s.at, "", "more than %d dependencies", MaxEdges)
			return t
		}
	}
	for _, cycle := range findCycles(t.Steps) {
		at := dependencyAt(&spec.steps[cycle[0]], spec.steps[cycle[1%len(cycle)]].name.text)
		d.add(at, "", "the steps wait for each other: %s", cycleText(t.Steps, cycle))
	}
	t.Subscriptions = d.subscriptions(spec.subscriptions)
	t.Events = d.events(spec)
	if spec.input != nil {
		t.Input, _ = spec.input.json() // finish reports what is wrong with it
	}
	d.flows(&t, spec.steps)
	return t
}

// ordinals maps names to positions and reports names that are used twice.
func (d *decoder) ordinals(steps []stepSpec) map[string]task.Ordinal {
	ordinals := make(map[string]task.Ordinal, len(steps))
	for i := range steps {
		n := steps[i].name
		if n.text == "" {
			continue
		}
		if first, ok := ordinals[n.text]; ok {
			d.add(n.at, "", "a second step named %q: the first one is at line %d", n.text, steps[first].name.at.line)
			continue
		}
		ordinals[n.text] = ordinal(i)
	}
	return ordinals
}

// step makes one step without its dependencies.
func (d *decoder) step(s *stepSpec, defaults settings) Step {
	all := s.over(defaults)
	d.checkSettings(s.settings, all)
	step := Step{
		Name: task.StepName(s.name.text), Description: s.description, Handler: s.handler,
		Retryable: all.retryable,
		Timeout:   all.timeout.duration(), HeartbeatTimeout: all.heartbeat.duration(),
		ScheduleToStart: all.start.duration(), TotalTimeout: all.total.duration(),
		OnCrash: all.onCrash, Optional: s.optional, Skippable: s.skippable,
	}
	if all.retry != nil {
		step.Retry = MergeRetry(&all.retry.retry, nil)
	}
	if all.priority != nil {
		step.Priority = *all.priority
	}
	if s.config != nil {
		b, err := s.config.json()
		if err != nil {
			d.add(s.config.at, "", "config: %s", err)
		}
		if len(b) > task.MaxValue {
			d.add(s.config.at, "", "config: %d bytes as JSON, the limit is %d", len(b), task.MaxValue)
		}
		step.Config = b
	}
	return step
}

// duration returns nil for an unset limit; every step gets its own value.
func (l *limit) duration() *time.Duration {
	if l == nil {
		return nil
	}
	v := l.d
	return &v
}

// resolve looks up the dependencies of a step.
func (d *decoder) resolve(s *stepSpec, steps []stepSpec, ordinals map[string]task.Ordinal) []task.Ordinal {
	var deps []task.Ordinal
	seen := make(map[string]bool, len(s.dependsOn))
	for _, dep := range s.dependsOn {
		o, ok := ordinals[dep.text]
		switch {
		case seen[dep.text]:
			d.add(dep.at, "", "step %s depends twice on %s", orUnnamed(s.name.text), dep.text)
		case !ok:
			d.add(dep.at, d.suggest.hint(dep.text, otherNames(steps, s.name.text)),
				"step %s depends on unknown step %q", orUnnamed(s.name.text), dep.text)
		default:
			deps = append(deps, o)
		}
		seen[dep.text] = true
	}
	return deps
}

// otherNames are the names of all steps but one, in the order of the file.
func otherNames(steps []stepSpec, but string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range steps {
			if n := steps[i].name.text; n != but && !yield(n) {
				return
			}
		}
	}
}

// dependencyAt returns where step s names the dependency.
func dependencyAt(s *stepSpec, dep string) pos {
	for _, n := range s.dependsOn {
		if n.text == dep {
			return n.at
		}
	}
	return s.at
}
