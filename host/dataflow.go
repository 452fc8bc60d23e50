package host

import (
	"slices"
	"sync"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// maxCheckedValues bounds what is remembered of templates; beyond it remembering starts anew.
const maxCheckedValues = 256

// valueChecks remembers which templates were held against which manifests, because each
// task that is created asks. It is safe for concurrent use.
type valueChecks struct {
	mu     sync.Mutex
	byHash map[string]valueCheck
}

type valueCheck struct {
	manifests []*supervisor.Manifest // of the template's handlers, nil for what is not known
	problems  template.Diagnostics
}

// check holds the expressions of a template against what the handlers declare that are
// known now. The error lists all that is wrong; it wraps task.ErrInvalid.
func (c *valueChecks) check(tmpl *template.Template, plugins []supervisor.PluginInfo) error {
	if !tmpl.HasValues() {
		return nil
	}
	refs := tmpl.Handlers()
	manifests := make([]*supervisor.Manifest, len(refs))
	for i, ref := range refs {
		if p := findPlugin(plugins, ref.Plugin); p != nil {
			manifests[i] = p.Manifest
		}
	}
	hash := tmpl.Ref().Hash
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.byHash[hash]
	if !ok || !slices.Equal(known.manifests, manifests) {
		known = valueCheck{manifests: manifests, problems: tmpl.CheckHandlers(func(ref task.HandlerRef) (template.HandlerSchemas, bool) {
			return declared(manifests[slices.Index(refs, ref)], ref)
		})}
		if c.byHash == nil || len(c.byHash) >= maxCheckedValues {
			c.byHash = make(map[string]valueCheck)
		}
		c.byHash[hash] = known
	}
	if len(known.problems) > 0 {
		return known.problems
	}
	return nil
}

// declared returns what a manifest says of a handler: of the version named, or the highest.
func declared(m *supervisor.Manifest, ref task.HandlerRef) (template.HandlerSchemas, bool) {
	if m == nil {
		return template.HandlerSchemas{}, false
	}
	var best *supervisor.Handler
	for i := range m.Handlers {
		h := &m.Handlers[i]
		if h.Name == ref.Handler && (h.Version == ref.Version || ref.Version == 0 && (best == nil || h.Version > best.Version)) {
			best = h
		}
	}
	if best == nil {
		return template.HandlerSchemas{}, false
	}
	return template.HandlerSchemas{Input: best.InputSchema, Output: best.OutputSchema}, true
}
