package template

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// nameSteps finds the new names of all steps.
func (im *importer) nameSteps(list *node) {
	taken := make(map[string]bool)
	for _, s := range list.items {
		if !im.want("a step template", s, kindMap) {
			continue
		}
		n := s.get("name")
		if n.isNull() || !im.want("name", n, kindText) {
			if n.isNull() {
				im.add(s.at, "", "a step template without a name")
			}
			continue
		}
		name := snake(n.text)
		switch {
		case !task.ValidStepName(name):
			im.add(n.at, "", "step name %q: no name can be made of it", n.text)
		case taken[name]:
			im.add(n.at, "", "a second step named %q", name)
		case name != n.text:
			im.warn(n.at, "step %q is now %q", n.text, name)
		}
		taken[name] = true
		im.steps[n.text] = name
	}
}

// step carries over a step template, with what is to be said of it when tell is set.
func (im *importer) step(s *node, tell bool) *node {
	out := &node{kind: kindMap}
	if n := s.get("name"); !n.isNull() {
		out.put("name", textNode(im.steps[n.text]))
	}
	if d := s.get("description"); !d.isNull() && im.want("description", d, kindText) && d.text != "" {
		out.put("description", textNode(d.text))
	}
	out.put("handler", textNode(im.handler(s)))
	if deps := im.dependsOn(s); len(deps.items) > 0 {
		out.put("depends_on", deps)
	}
	if skippable := s.get("skippable"); !skippable.isNull() && im.want("skippable", skippable, kindBool) && skippable.text == "true" {
		out.put("skippable", boolNode(true))
	}
	retry := im.retry(s)
	if retryable := s.get("default_retryable"); !retryable.isNull() && im.want("default_retryable", retryable, kindBool) && retryable.text == "false" {
		out.put("retryable", boolNode(false))
		retry = &node{kind: kindMap}
	}
	config := im.config(s.get("handler_config"), out, retry)
	capRetry(retry)
	if len(retry.entries) > 0 && out.get("retryable") == nil {
		out.put("retry", retry)
	}
	if config != nil {
		out.put("config", config)
	}
	if tell {
		im.noticeStep(s, im.pluginOf(s))
	}
	return out
}

// noticeStep warns of what a step template says that is not carried over.
func (im *importer) noticeStep(s *node, plugin string) {
	for _, e := range s.entries {
		if e.value.isNull() {
			continue
		}
		switch e.key {
		case "name", "description", "handler_class", "depends_on_step", "depends_on_steps", "default_retryable", "skippable":
		case "default_retry_limit":
			if retryable := s.get("default_retryable"); retryable != nil && retryable.text == "false" {
				im.warn(e.at, "default_retry_limit is left out: the step is not retryable")
			}
		case "handler_config":
			retryable := s.get("default_retryable")
			im.noticeConfig(e.value, retryable == nil || retryable.text != "false")
		case "dependent_system":
			im.warn(e.at, "dependent_system is left out: there are no dependent systems")
		case "custom_events":
			im.customEvents(e, plugin)
		default:
			im.warn(e.at, "%q is left out: neither Ruby Tasker nor Tasker knows it in a step", e.key)
		}
	}
}

// noticeConfig tells of what moves out of a handler's configuration, and what stays
// though it looks as if something would be put in its place. A step that is not retried
// has no retry that they could move to.
func (im *importer) noticeConfig(n *node, retried bool) {
	api := isAPI(n)
	for _, e := range n.children() {
		switch {
		case e.key == "type" && e.value.text == "api":
			im.warn(e.at, "type: api is left out: it chose a Ruby class")
		case isTimeout(e):
			im.warn(e.at, "%s is now the timeout of the step, which is enforced", e.key)
		case api && slices.Contains([]string{"retry_delay", "enable_exponential_backoff", "jitter_factor"}, e.key):
			if retried {
				im.warn(e.at, "%s is now part of the step's retry", e.key)
			} else {
				im.warn(e.at, "%s is left out: the step is not retryable", e.key)
			}
		}
	}
	im.placeholders(n)
}

// placeholders warns of texts that only look as if they were replaced.
func (im *importer) placeholders(n *node) {
	if n.kind == kindText && regexp.MustCompile(`\$\{\w+\}|<%`).MatchString(n.text) {
		im.warn(n.at, "%q is kept as it is: nothing is put in its place; secrets belong into the plugin's configuration", n.text)
	}
	for _, item := range n.items {
		im.placeholders(item)
	}
	for _, e := range n.entries {
		im.placeholders(e.value)
	}
}

// dependsOn puts depends_on_step and depends_on_steps together.
func (im *importer) dependsOn(s *node) *node {
	var names []*node
	if one := s.get("depends_on_step"); !one.isNull() && im.want("depends_on_step", one, kindText) {
		names = append(names, one)
	}
	if more := s.get("depends_on_steps"); !more.isNull() && im.want("depends_on_steps", more, kindList) {
		names = append(names, more.items...)
	}
	out := &node{kind: kindList}
	for _, n := range names {
		if n.text == "" {
			continue
		}
		name, ok := im.steps[n.text]
		if !ok {
			im.add(n.at, "", "step %s depends on unknown step %q", orUnnamed(s.textOf("name")), n.text)
			continue
		}
		if !slices.ContainsFunc(out.items, func(o *node) bool { return o.text == name }) {
			out.items = append(out.items, textNode(name))
		}
	}
	return out
}

// The defaults of Ruby Tasker. Its waits grow up to 5 minutes, here up to 30 seconds.
const (
	rubyRetryLimit = 3
	rubyCap        = "5m"
)

// retry carries over the limit of retries.
func (im *importer) retry(s *node) *node {
	out := &node{kind: kindMap}
	n := s.get("default_retry_limit")
	if n.isNull() {
		return out
	}
	limit, ok := im.readInt("default_retry_limit", n, 0, 1<<31)
	if !ok {
		return out
	}
	if limit == 0 {
		im.warn(n.at, "default_retry_limit: 0 is now 1: the first attempt counts")
		limit = 1
	}
	if limit != rubyRetryLimit {
		out.put("limit", numberNode(strconv.FormatInt(limit, 10)))
	}
	return out
}

// capRetry lets waits grow as far as they did, where that makes a difference.
func capRetry(retry *node) {
	if backoff := retry.get("backoff"); backoff != nil {
		return
	}
	limit, wait := rubyRetryLimit, time.Second
	if n := retry.get("limit"); n != nil {
		limit, _ = strconv.Atoi(n.text)
	}
	if n := retry.get("base"); n != nil {
		wait, _ = time.ParseDuration(n.text)
	}
	for range limit - 2 { // between the first failure and the last attempt
		if wait *= 2; wait > 30*time.Second {
			retry.put("cap", textNode(rubyCap))
			return
		}
	}
}

// isAPI reports whether a configuration is that of a handler that calls an API, which
// has settings for retries of its own.
func isAPI(n *node) bool {
	t := n.get("type")
	return t != nil && t.text == "api" || !n.get("url").isNull()
}

// isTimeout reports whether an entry of a configuration is a time limit in seconds.
func isTimeout(e entry) bool {
	_, ok := secondsOf(e.value)
	return ok && (e.key == "timeout" || e.key == "timeout_seconds")
}

// secondsOf reads a number of seconds above 0 as a duration.
func secondsOf(n *node) (time.Duration, bool) {
	if n.isNull() || n.kind != kindNumber {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(n.text, 64)
	d := time.Duration(seconds * float64(time.Second))
	return d, err == nil && seconds > 0 && seconds < MaxDuration.Seconds() && d > 0
}

// config carries over a handler's configuration: what the engine has a setting for goes
// into the step and its retry, the rest is the step's config.
func (im *importer) config(n, step, retry *node) *node {
	if n.isNull() || !im.want("handler_config", n, kindMap) {
		return nil
	}
	out := &node{kind: kindMap}
	api := isAPI(n)
	for _, e := range n.entries {
		switch {
		case e.key == "type" && e.value.text == "api":
		case isTimeout(e):
			d, _ := secondsOf(e.value)
			step.put("timeout", textNode(shortDuration(d)))
		case e.key == "retry_delay" && api:
			if d, ok := secondsOf(e.value); ok {
				retry.put("base", textNode(shortDuration(d)))
			}
		case e.key == "enable_exponential_backoff" && api:
			if e.value.text == "false" {
				retry.put("backoff", textNode(string(task.BackoffConstant)))
			}
		case e.key == "jitter_factor" && api:
			if v, err := strconv.ParseFloat(e.value.text, 64); err == nil && v >= 0 && v <= 1 {
				retry.put("jitter", textNode(fmt.Sprintf("%g%%", 100*v)))
			}
		default:
			out.entries = append(out.entries, e)
		}
	}
	if len(out.entries) == 0 {
		return nil
	}
	return out
}

// shortDuration is a duration without zeros at its end: 1m, not 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// handler guesses the handler of a class: its modules name the plugin, its last part the
// handler.
func (im *importer) handler(s *node) string {
	n := s.get("handler_class")
	if n.isNull() || !im.want("handler_class", n, kindText) {
		if n.isNull() {
			im.add(s.at, "", "step %s has no handler_class", orUnnamed(s.textOf("name")))
		}
		return ""
	}
	var modules []string
	parts := strings.Split(strings.TrimPrefix(n.text, "::"), "::")
	for _, p := range parts[:len(parts)-1] {
		switch p {
		case "StepHandler", "StepHandlers", "Handlers", "Steps", "Tasker":
		default:
			modules = append(modules, p)
		}
	}
	plugin := im.plugin
	if plugin == "" {
		plugin = kebab(strings.Join(modules, "_"))
	}
	if !task.ValidPluginName(plugin) {
		plugin = kebab(im.name)
	}
	if !task.ValidPluginName(plugin) {
		plugin = "plugin"
	}
	class := parts[len(parts)-1]
	for _, name := range []string{kebab(shorter(class)), kebab(class), kebab(n.text), ""} {
		ref := plugin + "/" + name
		if was, taken := im.handlers[ref]; task.ValidHandlerName(name) && (!taken || was == n.text) {
			im.handlers[ref] = n.text
			return ref
		}
	}
	im.add(n.at, "", "handler_class %q: no handler name can be made of it", n.text)
	return ""
}

// pluginOf is the plugin of a step's handler, or of the first one that has a handler.
func (im *importer) pluginOf(steps ...*node) string {
	for _, s := range steps {
		if !s.get("handler_class").isNull() {
			plugin, _, _ := strings.Cut(im.quietly(func() *node { return textNode(im.handler(s)) }).text, "/")
			return plugin
		}
	}
	return cmp.Or(im.plugin, kebab(im.name))
}

// textOf is the text of a key, empty when there is none.
func (n *node) textOf(key string) string {
	if v := n.get(key); v != nil && v.kind == kindText {
		return v.text
	}
	return ""
}

// shorter takes the usual endings off the name of a class.
func shorter(class string) string {
	for _, suffix := range []string{"StepHandler", "Handler", "Step"} {
		if short := strings.TrimSuffix(class, suffix); short != class && short != "" {
			return short
		}
	}
	return class
}

// underscore separates the words of a camel-case name.
func underscore(s string) string {
	s = regexp.MustCompile(`([A-Z]+)([A-Z][a-z])`).ReplaceAllString(s, "${1}_$2")
	return regexp.MustCompile(`([a-z0-9])([A-Z])`).ReplaceAllString(s, "${1}_$2")
}

// snake makes the name of a step.
func snake(s string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(underscore(s)), "_"), "_")
}

// kebab makes the name of a plugin or a handler, cut to the length that these may have.
func kebab(s string) string {
	const most = 32
	s = strings.ReplaceAll(snake(s), "_", "-")
	if len(s) > most {
		s = strings.Trim(s[:most], "-")
	}
	return s
}
