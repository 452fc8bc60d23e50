package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// checkStable asks for the manifest again and again, in two processes.
func checkStable(ctx context.Context, t *trial) error {
	var first *pluginv1.Manifest
	for n := range 2 {
		s, err := t.start(ctx, launch{})
		if err != nil {
			return err
		}
		for _, when := range []string{"at once", "again", "after Configure"} {
			if when == "after Configure" {
				if _, err := s.problems(ctx, t.config); err != nil {
					return err
				}
			}
			m, err := s.describe(ctx)
			if err != nil {
				return err
			}
			if first == nil {
				first = m
			}
			if !proto.Equal(first, m) {
				t.failf("Describe says something else %s (process %d): %s", when, n+1, difference(first, m))
			}
		}
	}
	t.sawf("the same six times, over two processes")
	return nil
}

// difference names the fields in which two manifests differ.
func difference(a, b *pluginv1.Manifest) string {
	var names []string
	fields := a.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !a.ProtoReflect().Get(f).Equal(b.ProtoReflect().Get(f)) {
			names = append(names, string(f.Name()))
		}
	}
	return "it differs in " + strings.Join(names, ", ")
}

// checkManifest has the host's own reader judge the manifest.
func checkManifest(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	m, err := s.describe(ctx)
	if err != nil {
		return err
	}
	if err := t.opts.CheckManifest(m); err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			t.failf("%s", problem)
		}
	}
	if m.GetSdk().GetLanguage() == "" {
		t.failf("sdk.language is empty: want the programming language, such as go, node or python")
	}
	t.sawf("%s %s: %d handlers, %d subscriptions, %d events", m.GetName(), m.GetVersion(), len(m.GetHandlers()), len(m.GetSubscriptions()), len(m.GetEmits()))
	return nil
}

// checkSchemas compiles all schemas, and tries the examples on them.
func checkSchemas(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	m, err := s.describe(ctx)
	if err != nil {
		return err
	}
	n := 0
	try := func(where string, schema []byte) {
		if len(schema) == 0 {
			return
		}
		n++
		if _, err := compile(schema); err != nil {
			t.failf("%s is no JSON Schema: %v", where, err)
		} else if !isObject(schema) {
			t.failf("%s is %s: want an object", where, cut(string(schema)))
		}
	}
	try("config_schema", m.GetConfigSchema())
	for _, h := range m.GetHandlers() {
		try("input_schema of handler "+h.GetName(), h.GetInputSchema())
		try("config_schema of handler "+h.GetName(), h.GetConfigSchema())
		try("output_schema of handler "+h.GetName(), h.GetOutputSchema())
	}
	for _, sub := range m.GetSubscriptions() {
		try("config_schema of subscription "+sub.GetName(), sub.GetConfigSchema())
	}
	for _, e := range m.GetEmits() {
		try("schema of event "+e.GetName(), e.GetSchema())
		if len(e.GetExample()) == 0 {
			continue
		}
		if err := fits(e.GetSchema(), e.GetExample()); err != nil {
			t.failf("the example of event %s does not fit its schema: %v", e.GetName(), err)
		}
	}
	t.sawf("%d schemas", n)
	return nil
}

// checkConfigured configures the plugin as a host does.
func checkConfigured(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	if _, err := s.describe(ctx); err != nil {
		return err
	}
	if err := s.configure(ctx, t.config); err != nil {
		return err
	}
	if len(t.config) == 0 {
		t.sawf("an empty configuration")
	} else {
		t.sawf("a configuration of %d bytes", len(t.config))
	}
	return nil
}

// checkRefusal hands over configurations that are wrong.
func checkRefusal(ctx context.Context, t *trial) error {
	if t.manifest == nil {
		return skipf("the plugin has never said what it is")
	}
	bad := map[string][]byte{"what is no JSON": []byte(`{"`)}
	schema := t.manifest.GetConfigSchema()
	switch {
	case len(schema) == 0:
		bad["a configuration, where it takes none,"] = []byte(`{"conform_unknown_key": true}`)
	default:
		good := t.config
		if len(good) == 0 {
			good = []byte("{}")
		}
		if doc := violation(schema, good); doc != nil {
			bad["what breaks its schema, "+cut(string(doc))+","] = doc
		}
	}
	for _, doc := range t.opts.Fixtures.BadConfigs {
		bad["the fixture "+cut(string(doc))] = doc
	}
	for what, doc := range bad {
		s, err := t.start(ctx, launch{})
		if err != nil {
			return err
		}
		if _, err := s.describe(ctx); err != nil {
			return err
		}
		found, err := s.problems(ctx, doc)
		switch {
		case err != nil:
			t.failf("%s is answered by an error of the call, want a ConfigProblem: %v", what, err)
		case len(found) == 0:
			t.failf("%s is accepted", what)
		}
		for _, p := range found {
			if p.GetMessage() == "" {
				t.failf("%s is refused without a message", what)
			}
			if ptr := p.GetPointer(); ptr != "" && !strings.HasPrefix(ptr, "/") {
				t.failf("%s is refused at %q, which is no JSON pointer", what, ptr)
			}
		}
		if err := s.alive(ctx); err != nil {
			t.failf("after %s: %v", what, err)
		}
	}
	t.sawf("%d wrong configurations, each refused with its reason", len(bad))
	return nil
}

// checkSecrets looks for the secrets of the configuration in whatever the plugin says.
func checkSecrets(ctx context.Context, t *trial) error {
	secrets, err := t.secrets()
	if err != nil {
		return err
	}
	s, err := t.start(ctx, launch{level: "trace"})
	if err != nil {
		return err
	}
	if _, err := s.describe(ctx); err != nil {
		return err
	}
	said := make(map[string]string)
	found, err := s.problems(ctx, t.config)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		if said["what attempts said"], err = s.exerciseHeard(ctx); err != nil {
			return err
		}
	}
	other, err := t.start(ctx, launch{level: "trace"})
	if err != nil {
		return err
	}
	if refused := brokenBeside(t.manifest.GetConfigSchema(), t.config); refused != nil {
		found, err := other.problems(ctx, refused)
		if err != nil {
			return err
		}
		said["the problems of a refused configuration"] = fmt.Sprint(found)
	}
	for _, each := range []*session{s, other} {
		each.disconnect()
		each.proc.cutLifeline()
		if !each.proc.awaitExit(t.opts.Patience) {
			each.proc.kill()
		}
		<-each.proc.ended
		said["standard error"] += each.proc.stderr.String()
		said["standard output"] += each.proc.stdout.String()
	}
	for place, text := range said {
		for pointer, secret := range secrets {
			if strings.Contains(text, secret) {
				t.failf("the secret at %s is in %s", pointer, place)
			}
		}
	}
	t.sawf("%d secrets, looked for in problems, log lines, results and both outputs at level trace", len(secrets))
	return nil
}

// secrets returns the secrets of the configuration, and of what bindings carry, by place.
func (t *trial) secrets() (map[string]string, error) {
	found := make(map[string]string)
	declared := t.findSecrets(found, "", t.manifest.GetConfigSchema(), t.config)
	for _, f := range t.feeds() {
		if t.findSecrets(found, "subscription "+f.spec.GetName()+": ", f.spec.GetConfigSchema(), f.config) {
			declared = true
		}
	}
	switch {
	case !declared:
		return nil, skipf("no configuration has secrets: no property is writeOnly")
	case len(found) == 0:
		return nil, skipf("the configuration given sets no secret of at least %d characters", leastSecret)
	}
	return found, nil
}

// findSecrets adds the secrets of a configuration, and reports whether its schema has any.
func (t *trial) findSecrets(found map[string]string, place string, schema, config []byte) (declared bool) {
	var s, c any
	if json.Unmarshal(schema, &s) != nil || !bytes.Contains(schema, []byte(`"writeOnly"`)) {
		return false
	}
	if json.Unmarshal(config, &c) == nil {
		(&secretFinder{sampler{root: s}, found}).walk(s, c, place, 0)
	}
	return true
}

// leastSecret is how long a text must be to be told from others.
const leastSecret = 6

type secretFinder struct {
	sampler

	found map[string]string
}

func (f *secretFinder) walk(schema, v any, pointer string, depth int) {
	m, ok := schema.(map[string]any)
	if !ok || depth > maxDepth {
		return
	}
	if m["writeOnly"] == true {
		f.take(v, pointer)
		return
	}
	if ref, ok := m["$ref"].(string); ok {
		f.walk(f.resolve(ref), v, pointer, depth+1)
	}
	for _, key := range []string{"oneOf", "anyOf", "allOf"} {
		choices, _ := m[key].([]any)
		for _, choice := range choices {
			f.walk(choice, v, pointer, depth+1)
		}
	}
	switch at := v.(type) {
	case map[string]any:
		properties, _ := m["properties"].(map[string]any)
		for key, member := range at {
			p, ok := properties[key]
			if !ok {
				p = m["additionalProperties"]
			}
			f.walk(p, member, pointer+"/"+key, depth+1)
		}
	case []any:
		for i, item := range at {
			f.walk(m["items"], item, fmt.Sprintf("%s/%d", pointer, i), depth+1)
		}
	}
}

// take takes every text below a secret.
func (f *secretFinder) take(v any, pointer string) {
	switch at := v.(type) {
	case string:
		if len(at) >= leastSecret {
			f.found[pointer] = at
		}
	case map[string]any:
		for key, member := range at {
			f.take(member, pointer+"/"+key)
		}
	case []any:
		for i, item := range at {
			f.take(item, fmt.Sprintf("%s/%d", pointer, i))
		}
	}
}

// brokenBeside makes a configuration that is refused and still has its secrets.
func brokenBeside(schema, good []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(good, &object) != nil {
		return nil
	}
	object["conform_unknown_key"] = json.RawMessage(`{"conform": 1}`)
	doc, err := json.Marshal(object)
	if err != nil || fits(schema, doc) == nil {
		return nil
	}
	return doc
}
