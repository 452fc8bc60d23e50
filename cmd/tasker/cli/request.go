package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// requestFlags are the flags of the commands that create a task.
type requestFlags struct {
	input          string
	idempotencyKey string
	keyTTL         time.Duration
	correlationID  string
	tags           []string
	initiator      string
	sourceSystem   string
	reason         string
	priority       int32
	bypass         []string
	deadline       time.Duration
	traceparent    string
}

func (r *requestFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.input, "input", "", "`JSON`, @FILE, or @- for stdin (default {})")
	f.StringVar(&r.idempotencyKey, "idempotency-key", "", "a second request with the same key gets the first one's task")
	f.DurationVar(&r.keyTTL, "idempotency-ttl", 0, "how long the key is kept at least (default 24h)")
	f.StringVar(&r.correlationID, "correlation-id", "", "carried through events, logs and attempts (default the task's id)")
	f.StringArrayVar(&r.tags, "tag", nil, "`TAG` to find the task by (may be repeated)")
	f.StringVar(&r.initiator, "initiator", "", "who asks (default the user)")
	f.StringVar(&r.sourceSystem, "source-system", "", "which system asks")
	f.StringVar(&r.reason, "reason", "", "why")
	f.Int32Var(&r.priority, "priority", 0, "higher is claimed first")
	f.StringArrayVar(&r.bypass, "bypass", nil, "skippable `STEP` to skip (may be repeated)")
	f.DurationVar(&r.deadline, "deadline", 0, "when the task must have ended, from now (default the template's)")
	f.StringVar(&r.traceparent, "traceparent", "", "W3C trace context that the task's trace goes on from (default TRACEPARENT, with TRACESTATE)")
}

// request makes the request: the template is a file, which is read here, or the name of
// a registered one.
func (a *app) request(c *cobra.Command, flags *requestFlags, cfg *config, ref string) (task.Request, error) {
	input, err := a.document(flags.input)
	if err != nil {
		return task.Request{}, usageOf(c, fmt.Errorf("--input: %w", err))
	}
	r := task.Request{
		Input: input, Initiator: flags.initiator, SourceSystem: flags.sourceSystem, Reason: flags.reason,
		Tags: flags.tags, Priority: flags.priority, CorrelationID: flags.correlationID,
		IdempotencyKey: flags.idempotencyKey, KeyTTL: flags.keyTTL, Deadline: flags.deadline,
	}
	r.Traceparent, r.Tracestate = a.traceContext(flags.traceparent)
	if r.Initiator == "" && !c.Flags().Changed("initiator") {
		r.Initiator = operator()
	}
	for _, b := range flags.bypass {
		r.Bypass = append(r.Bypass, task.StepName(b))
	}
	if !isTemplateFile(ref) {
		r.Template = ref
		return r, nil
	}
	t, err := parseTemplate(ref, cfg.Environment)
	if err != nil {
		return task.Request{}, err
	}
	if err := t.ValidateInput(input); err != nil { // said before anything is started
		return task.Request{}, err
	}
	if r.Source, err = os.ReadFile(ref); err != nil {
		return task.Request{}, fmt.Errorf("template: %w", err)
	}
	r.SourceName, r.Environment = ref, cfg.Environment
	return r, nil
}

// traceContext returns the W3C trace context that a flag gives, else the environment.
func (a *app) traceContext(given string) (parent, state string) {
	if given != "" {
		return given, ""
	}
	if parent, _ = a.lookup("TRACEPARENT"); parent != "" {
		state, _ = a.lookup("TRACESTATE")
	}
	return parent, state
}

// document returns a JSON document given as text, @FILE or @-.
func (a *app) document(text string) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	data, from := []byte(text), "the text"
	if name, ok := strings.CutPrefix(text, "@"); ok {
		var err error
		from = name
		if name == "-" {
			from = "stdin"
			data, err = io.ReadAll(io.LimitReader(a.stdin, task.MaxValue+1))
		} else {
			data, err = os.ReadFile(name)
		}
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
	}
	if len(data) > task.MaxValue {
		return nil, fmt.Errorf("%s has more than %s: %w", from, size(task.MaxValue), task.ErrTooLarge)
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s is no JSON: %w", from, err)
	}
	return data, nil
}

// isTemplateFile reports whether a template is named by its file.
func isTemplateFile(ref string) bool {
	switch strings.ToLower(filepath.Ext(ref)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	info, err := os.Stat(ref)
	return err == nil && info.Mode().IsRegular()
}

// parseTemplate reads a template file for an environment that it must know, unless it
// knows none at all.
func parseTemplate(path, environment string) (*template.Template, error) {
	t, err := template.ParseFile(path, template.Options{Environment: environment})
	if errors.Is(err, os.ErrNotExist) {
		return nil, withHint(fmt.Errorf("template file %s does not exist", path), "tasker template list shows those that are registered")
	}
	if err != nil {
		return nil, err
	}
	known := t.Environments()
	if environment != "" && len(known) > 0 && !slices.Contains(known, environment) {
		return nil, fmt.Errorf("%s: no environment %q: there is %s%s",
			path, environment, strings.Join(known, ", "), didYouMean(environment, known))
	}
	return t, nil
}
