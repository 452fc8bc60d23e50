package sdk

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// byHand answers a person who runs the binary.
func byHand(p Plugin, args []string, stdout, stderr io.Writer) int {
	d, err := declare(p)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitFailed
	}
	switch strings.Join(args, " ") {
	case "--describe":
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(describe(d.manifest)); err != nil {
			_, _ = fmt.Fprintln(stderr, err)
			return exitFailed
		}
		return exitDone
	case "--version":
		_, _ = fmt.Fprintln(stdout, p.Name, p.Version)
		return exitDone
	default:
		explain(stderr, d)
		return exitByHand
	}
}

// explain says what the binary is and how to use it.
func explain(w io.Writer, d *declaration) {
	p, program := d.plugin, filepath.Base(os.Args[0])
	dir, err := os.Executable()
	if dir = filepath.Dir(dir); err != nil {
		dir = "DIR"
	}
	_, _ = fmt.Fprintf(w, "%s is a Tasker plugin, %s %s: a Tasker host starts it, not you.\n", program, p.Name, p.Version)
	for _, about := range []string{p.Title, p.Description} {
		if about != "" {
			_, _ = fmt.Fprintln(w, about)
		}
	}
	explainHandlers(w, d)
	explainSubscribers(w, d)
	how := "name a handler in a template and tell Tasker where the plugin is:\n  tasker run TEMPLATE"
	if len(d.specs) == 0 {
		how = "tell Tasker where the plugin is:\n  tasker serve"
	}
	_, _ = fmt.Fprintf(w, `
To use it, %s --plugin-dir %s

To look into it:
  %[3]s --describe   the manifest: handlers, subscriptions, schemas, limits, as JSON
  %[3]s --version    name and version
`, how, dir, program)
}

func explainHandlers(w io.Writer, d *declaration) {
	p := d.plugin
	if len(d.specs) == 0 {
		return
	}
	_, _ = fmt.Fprint(w, "\nHandlers:\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range d.specs {
		name := p.Name + "/" + s.name
		if s.version != 1 {
			name += fmt.Sprintf("@%d", s.version)
		}
		if first, _, _ := strings.Cut(s.bound.options.Description, "\n"); first != "" {
			name += "\t" + first
		}
		_, _ = fmt.Fprintf(t, "  %s\n", name)
	}
	_ = t.Flush()
}

func explainSubscribers(w io.Writer, d *declaration) {
	if len(d.subs) > 0 {
		_, _ = fmt.Fprint(w, "\nSubscriptions:\n")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range d.subs {
		about := strings.Join(s.build().GetEvents(), ", ")
		if first, _, _ := strings.Cut(s.options.Description, "\n"); first != "" {
			about += "\t" + first
		}
		_, _ = fmt.Fprintf(t, "  %s/%s\t%s\n", d.plugin.Name, s.name, about)
	}
	_ = t.Flush()
	if len(d.events) > 0 {
		_, _ = fmt.Fprint(w, "\nEvents:\n")
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range d.sortedEvents() {
		first, _, _ := strings.Cut(e.options.Description, "\n")
		_, _ = fmt.Fprintln(t, strings.TrimRight("  "+e.name+"\t"+first, "\t"))
	}
	_ = t.Flush()
}

// The JSON form of the manifest: stable, only ever added to.
type (
	describedPlugin struct {
		Name           string                  `json:"name"`
		Version        string                  `json:"version"`
		Title          string                  `json:"title,omitempty"`
		Description    string                  `json:"description,omitempty"`
		Vendor         string                  `json:"vendor,omitempty"`
		Licence        string                  `json:"licence,omitempty"`
		Homepage       string                  `json:"homepage,omitempty"`
		SDK            describedSDK            `json:"sdk"`
		Features       []string                `json:"features"`
		Handlers       []describedHandler      `json:"handlers"`
		Subscriptions  []describedSubscription `json:"subscriptions,omitempty"`
		Emits          []describedEvent        `json:"emits,omitempty"`
		ConfigSchema   json.RawMessage         `json:"config_schema,omitempty"`
		MaxConcurrency uint32                  `json:"max_concurrency,omitempty"`
		Permissions    describedNeeds          `json:"permissions"`
	}
	describedSDK struct {
		Language string `json:"language"`
		Version  string `json:"version"`
	}
	describedNeeds struct {
		FSRead     []string `json:"fs_read,omitempty"`
		FSWrite    []string `json:"fs_write,omitempty"`
		Network    string   `json:"network,omitempty"`
		Env        []string `json:"env,omitempty"`
		Subprocess bool     `json:"subprocess,omitempty"`
	}
	describedHandler struct {
		Name             string          `json:"name"`
		Version          uint32          `json:"version"`
		Description      string          `json:"description,omitempty"`
		Timeout          string          `json:"timeout,omitempty"`
		HeartbeatTimeout string          `json:"heartbeat_timeout,omitempty"`
		Retry            *describedRetry `json:"retry,omitempty"`
		Idempotent       string          `json:"idempotent"`
		MaxConcurrency   uint32          `json:"max_concurrency,omitempty"`
		Results          string          `json:"results"`
		ErrorCodes       []string        `json:"error_codes,omitempty"`
		InputSchema      json.RawMessage `json:"input_schema,omitempty"`
		ConfigSchema     json.RawMessage `json:"config_schema,omitempty"`
		OutputSchema     json.RawMessage `json:"output_schema,omitempty"`
	}
	describedSubscription struct {
		Name         string          `json:"name"`
		Description  string          `json:"description,omitempty"`
		Events       []string        `json:"events"`
		Filter       string          `json:"filter,omitempty"`
		Order        string          `json:"order"`
		Start        string          `json:"start,omitempty"`
		Window       uint32          `json:"window,omitempty"`
		MaxAttempts  uint32          `json:"max_attempts,omitempty"`
		Timeout      string          `json:"timeout,omitempty"`
		Bound        bool            `json:"bound,omitempty"`
		ConfigSchema json.RawMessage `json:"config_schema,omitempty"`
	}
	describedEvent struct {
		Name        string          `json:"name"`
		Version     uint32          `json:"version"`
		Description string          `json:"description,omitempty"`
		Immediate   bool            `json:"immediate,omitempty"`
		Schema      json.RawMessage `json:"schema,omitempty"`
		Example     json.RawMessage `json:"example,omitempty"`
	}
	describedRetry struct {
		Limit   uint32   `json:"limit,omitempty"`
		Backoff string   `json:"backoff,omitempty"`
		Base    string   `json:"base,omitempty"`
		Factor  float64  `json:"factor,omitempty"`
		Cap     string   `json:"cap,omitempty"`
		List    []string `json:"list,omitempty"`
	}
)

// describe brings the manifest into its JSON form.
func describe(m *pluginv1.Manifest) describedPlugin {
	need := m.GetPermissions()
	d := describedPlugin{
		Name: m.GetName(), Version: m.GetVersion(), Title: m.GetTitle(), Description: m.GetDescription(),
		Vendor: m.GetVendor(), Licence: m.GetLicence(), Homepage: m.GetHomepage(),
		SDK:      describedSDK{Language: m.GetSdk().GetLanguage(), Version: m.GetSdk().GetVersion()},
		Features: m.GetFeatures(), ConfigSchema: m.GetConfigSchema(),
		MaxConcurrency: m.GetLimits().GetMaxConcurrency(),
		Handlers:       []describedHandler{},
		Permissions: describedNeeds{
			FSRead: need.GetFsRead(), FSWrite: need.GetFsWrite(), Network: need.GetNetwork(),
			Env: need.GetEnv(), Subprocess: need.GetSubprocess(),
		},
	}
	for _, h := range m.GetHandlers() {
		d.Handlers = append(d.Handlers, describedHandler{
			Name: h.GetName(), Version: h.GetVersion(), Description: h.GetDescription(),
			Timeout: duration(h.GetTimeout()), HeartbeatTimeout: duration(h.GetHeartbeatTimeout()),
			Retry: describeRetry(h.GetRetry()), MaxConcurrency: h.GetMaxConcurrency(), ErrorCodes: h.GetErrorCodes(),
			Idempotent:  word(h.GetIdempotency().String(), "IDEMPOTENCY_"),
			Results:     word(h.GetResults().String(), "RESULTS_WANTED_"),
			InputSchema: h.GetInputSchema(), ConfigSchema: h.GetConfigSchema(), OutputSchema: h.GetOutputSchema(),
		})
	}
	for _, sub := range m.GetSubscriptions() {
		d.Subscriptions = append(d.Subscriptions, describedSubscription{
			Name: sub.GetName(), Description: sub.GetDescription(), Events: sub.GetEvents(), Filter: sub.GetFilter(),
			Order: word(sub.GetOrder().String(), "DELIVERY_ORDER_"), Start: sub.GetStart(), Window: sub.GetWindow(),
			MaxAttempts: sub.GetMaxAttempts(), Timeout: duration(sub.GetTimeout()), Bound: sub.GetBound(), ConfigSchema: sub.GetConfigSchema(),
		})
	}
	for _, e := range m.GetEmits() {
		d.Emits = append(d.Emits, describedEvent{
			Name: e.GetName(), Version: e.GetVersion(), Description: e.GetDescription(), Immediate: e.GetImmediate(),
			Schema: e.GetSchema(), Example: e.GetExample(),
		})
	}
	return d
}

func describeRetry(r *pluginv1.RetryPolicy) *describedRetry {
	if r == nil {
		return nil
	}
	d := &describedRetry{Limit: r.GetLimit(), Backoff: r.GetBackoff(), Base: duration(r.GetBase()), Factor: r.GetFactor(), Cap: duration(r.GetCap())}
	for _, w := range r.GetList() {
		d.List = append(d.List, duration(w))
	}
	return d
}

// word is the lower-case word of an enum's value.
func word(value, prefix string) string { return strings.ToLower(strings.TrimPrefix(value, prefix)) }

// duration is empty when there is none.
func duration(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().String()
}
