package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Manifest is what a plugin declares, checked.
type Manifest struct {
	Name           string          `json:"name"`
	Version        string          `json:"version"`
	Title          string          `json:"title,omitempty"`
	Description    string          `json:"description,omitempty"`
	Vendor         string          `json:"vendor,omitempty"`
	Licence        string          `json:"licence,omitempty"`
	Homepage       string          `json:"homepage,omitempty"`
	SDK            string          `json:"sdk,omitempty"` // "go 1.2.3"
	Features       []string        `json:"features,omitempty"`
	Handlers       []Handler       `json:"handlers"`
	Subscriptions  []Subscription  `json:"subscriptions,omitempty"`
	Emits          []Emitted       `json:"emits,omitempty"`
	ConfigSchema   json.RawMessage `json:"config_schema,omitempty"`
	MaxConcurrency int             `json:"max_concurrency,omitempty"` // 0 = the host's default
	Permissions    Permissions     `json:"permissions"`
}

// Handler is one handler of a manifest.
type Handler struct {
	Name             string             `json:"name"`
	Version          uint32             `json:"version"`
	Description      string             `json:"description,omitempty"`
	InputSchema      json.RawMessage    `json:"input_schema,omitempty"`
	ConfigSchema     json.RawMessage    `json:"config_schema,omitempty"`
	OutputSchema     json.RawMessage    `json:"output_schema,omitempty"`
	Results          task.ResultsWanted `json:"results"`
	ErrorCodes       []string           `json:"error_codes,omitempty"`
	Timeout          task.Duration      `json:"timeout,omitempty"`
	HeartbeatTimeout task.Duration      `json:"heartbeat_timeout,omitempty"`
	Retry            *task.Retry        `json:"retry,omitempty"`
	Idempotent       task.Idempotency   `json:"idempotent"`
	MaxConcurrency   int                `json:"max_concurrency,omitempty"`
}

// Ref returns the handler as "name@version".
func (h Handler) Ref() string { return h.Name + "@" + strconv.FormatUint(uint64(h.Version), 10) }

// Permissions is what a plugin says it needs from the machine.
type Permissions struct {
	FSRead     []string `json:"fs_read,omitempty"`
	FSWrite    []string `json:"fs_write,omitempty"`
	Network    string   `json:"network,omitempty"`
	Env        []string `json:"env,omitempty"`
	Subprocess bool     `json:"subprocess,omitempty"`
}

// offers returns the handlers as the runner knows them.
func (m *Manifest) offers() []task.Offer {
	offers := make([]task.Offer, 0, len(m.Handlers))
	for _, h := range m.Handlers {
		offers = append(offers, task.Offer{
			Plugin:           m.Name,
			PluginVersion:    m.Version,
			Handler:          h.Name,
			Version:          h.Version,
			Description:      h.Description,
			Retry:            h.Retry,
			Timeout:          h.Timeout.Std(),
			HeartbeatTimeout: h.HeartbeatTimeout.Std(),
			Idempotent:       h.Idempotent,
			MaxConcurrency:   h.MaxConcurrency,
			Results:          h.Results,
		})
	}
	return offers
}

// handlerRefs returns the handlers as "name@version".
func (m *Manifest) handlerRefs() []string {
	refs := make([]string, 0, len(m.Handlers))
	for _, h := range m.Handlers {
		refs = append(refs, h.Ref())
	}
	return refs
}

// manifestReader collects everything that is wrong with a manifest, so that an author
// mends it in one go.
type manifestReader struct {
	problems []error
}

func (r *manifestReader) failf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// readManifest converts and checks a manifest. Features it does not know are kept and
// ignored. The error lists every problem.
func readManifest(w *pluginv1.Manifest) (*Manifest, error) {
	r := &manifestReader{}
	m := &Manifest{
		Name:           w.GetName(),
		Version:        w.GetVersion(),
		Title:          w.GetTitle(),
		Description:    w.GetDescription(),
		Vendor:         w.GetVendor(),
		Licence:        w.GetLicence(),
		Homepage:       w.GetHomepage(),
		Features:       w.GetFeatures(),
		ConfigSchema:   r.schema("config_schema", w.GetConfigSchema()),
		MaxConcurrency: r.concurrency("limits", w.GetLimits().GetMaxConcurrency()),
	}
	if sdk := w.GetSdk(); sdk.GetLanguage() != "" {
		m.SDK = sdk.GetLanguage() + " " + sdk.GetVersion()
	}
	if p := w.GetPermissions(); p != nil {
		m.Permissions = Permissions{
			FSRead: p.GetFsRead(), FSWrite: p.GetFsWrite(), Network: p.GetNetwork(),
			Env: p.GetEnv(), Subprocess: p.GetSubprocess(),
		}
		r.paths("permissions: fs_read", p.GetFsRead())
		r.paths("permissions: fs_write", p.GetFsWrite())
	}
	if !task.ValidPluginName(m.Name) {
		r.failf("name %q: want [a-z][a-z0-9-]{0,31}", m.Name)
	}
	if _, err := semver.StrictNewVersion(m.Version); err != nil {
		r.failf("version %q: want semver such as 1.2.3", m.Version)
	}
	m.Handlers = r.handlers(w.GetHandlers())
	m.Subscriptions = r.subscriptions(w.GetSubscriptions())
	m.Emits = r.emits(w.GetEmits())
	if len(w.GetHandlers()) == 0 && len(w.GetSubscriptions()) == 0 {
		r.failf("want at least one handler or one subscription: it does nothing")
	}
	if err := errors.Join(r.problems...); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func (r *manifestReader) paths(where string, entries []string) {
	for _, entry := range entries {
		if err := checkEntry(entry); err != nil {
			r.failf("%s: %q: %w", where, entry, err)
		}
	}
}

func (r *manifestReader) handlers(specs []*pluginv1.HandlerSpec) []Handler {
	handlers := make([]Handler, 0, len(specs))
	seen := make(map[string]bool, len(specs))
	for _, spec := range specs {
		h := r.handler(spec)
		if seen[h.Ref()] {
			r.failf("handler %s: declared twice", h.Ref())
		}
		seen[h.Ref()] = true
		handlers = append(handlers, h)
	}
	return handlers
}

func (r *manifestReader) handler(w *pluginv1.HandlerSpec) Handler {
	where := fmt.Sprintf("handler %q", w.GetName())
	if !task.ValidHandlerName(w.GetName()) {
		r.failf("%s: name: want [a-z][a-z0-9_-]{0,31}", where)
	}
	if w.GetVersion() == 0 {
		r.failf("%s: version: want a whole number from 1", where)
	}
	return Handler{
		Name:             w.GetName(),
		Version:          w.GetVersion(),
		Description:      w.GetDescription(),
		InputSchema:      r.schema(where+": input_schema", w.GetInputSchema()),
		ConfigSchema:     r.schema(where+": config_schema", w.GetConfigSchema()),
		OutputSchema:     r.schema(where+": output_schema", w.GetOutputSchema()),
		Results:          resultsWanted(w.GetResults()),
		ErrorCodes:       w.GetErrorCodes(),
		Timeout:          task.Duration(r.duration(where+": timeout", w.GetTimeout())),
		HeartbeatTimeout: task.Duration(r.duration(where+": heartbeat_timeout", w.GetHeartbeatTimeout())),
		Retry:            r.retry(where+": retry", w.GetRetry()),
		Idempotent:       idempotency(w.GetIdempotency()),
		MaxConcurrency:   r.concurrency(where, w.GetMaxConcurrency()),
	}
}

// maxConcurrency is the largest number of attempts at once that a manifest may declare.
const maxConcurrency = 1 << 20

func (r *manifestReader) concurrency(where string, n uint32) int {
	if n > maxConcurrency {
		r.failf("%s: max_concurrency %d: want at most %d", where, n, maxConcurrency)
	}
	return int(n)
}

func (r *manifestReader) duration(where string, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() < 0 {
		r.failf("%s: want a duration of at least 0", where)
	} else if d.AsDuration() > task.MaxDuration {
		r.failf("%s: want at most %s", where, task.MaxDuration)
	}
	return d.AsDuration()
}

func (r *manifestReader) retry(where string, w *pluginv1.RetryPolicy) *task.Retry {
	if w == nil {
		return nil
	}
	policy := &task.Retry{
		Limit:   w.GetLimit(),
		Backoff: task.BackoffKind(w.GetBackoff()),
		Base:    task.Duration(r.duration(where+": base", w.GetBase())),
		Factor:  w.GetFactor(),
		Cap:     task.Duration(r.duration(where+": cap", w.GetCap())),
	}
	for _, d := range w.GetList() {
		policy.List = append(policy.List, task.Duration(r.duration(where+": list", d)))
	}
	switch policy.Backoff {
	case "", task.BackoffExponential, task.BackoffLinear, task.BackoffConstant, task.BackoffList:
	default:
		r.failf("%s: backoff %q: want exponential, linear, constant or list", where, policy.Backoff)
	}
	if !(policy.Factor >= 0) || math.IsInf(policy.Factor, 1) { // so that it refuses what is no number
		r.failf("%s: factor %v: want a number of at least 0", where, policy.Factor)
	}
	return policy
}

func (r *manifestReader) schema(where string, doc []byte) json.RawMessage {
	if len(doc) == 0 {
		return nil
	}
	if _, err := compileSchema(doc); err != nil {
		r.failf("%s: %w", where, err)
	}
	return doc
}

func resultsWanted(w pluginv1.ResultsWanted) task.ResultsWanted {
	if w == pluginv1.ResultsWanted_RESULTS_WANTED_NONE {
		return task.ResultsNone
	}
	return task.ResultsAll
}

func idempotency(w pluginv1.Idempotency) task.Idempotency {
	switch w {
	case pluginv1.Idempotency_IDEMPOTENCY_YES:
		return task.IdempotentYes
	case pluginv1.Idempotency_IDEMPOTENCY_NO:
		return task.IdempotentNo
	default:
		return task.IdempotentKeyed
	}
}

// sealedLoader keeps schemas from reading files or the network through $ref.
type sealedLoader struct{}

func (sealedLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("schema refers to %s: want references within the schema only", url)
}

func compileSchema(doc []byte) (*jsonschema.Schema, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return nil, fmt.Errorf("no valid JSON: %w", err)
	}
	const url = "tasker:schema"
	c := jsonschema.NewCompiler()
	c.UseLoader(sealedLoader{})
	if err := c.AddResource(url, parsed); err != nil {
		return nil, fmt.Errorf("no valid JSON Schema: %w", err)
	}
	schema, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("no valid JSON Schema: %w", err)
	}
	return schema, nil
}

// checkConfig checks a plugin's configuration against the schema of its manifest.
func (m *Manifest) checkConfig(config json.RawMessage) error {
	if len(m.ConfigSchema) == 0 {
		return nil
	}
	return fits(m.ConfigSchema, config)
}
