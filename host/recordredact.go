package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/secrets"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// recordRedaction keeps secrets out of the recordings of one task.
type recordRedaction struct {
	plugins map[string]*recordedPlugin
	// found and inTexts are the secrets that are known so far; see secrets.Marked.
	found, inTexts []string
}

// recordedPlugin is what a plugin says about its documents.
type recordedPlugin struct {
	handlers []HandlerInfo
	manifest supervisor.Manifest
}

func newRecordRedaction(ctx context.Context, o *RecordOptions, out *Recorded) (*recordRedaction, error) {
	r := &recordRedaction{plugins: make(map[string]*recordedPlugin)}
	for i := range o.Known {
		info := &o.Known[i]
		if info.Version == "" {
			continue
		}
		p := &recordedPlugin{handlers: info.Handlers}
		if err := json.Unmarshal(info.Manifest, &p.manifest); err != nil {
			return nil, fmt.Errorf("plugin %s: manifest: %w: %w", info.Name, task.ErrInvalid, err)
		}
		r.plugins[info.Name] = p
	}
	for _, name := range slices.Sorted(maps.Keys(o.Configs)) {
		config, found, err := secrets.Resolve(ctx, o.Configs[name])
		if errors.Is(err, secrets.ErrSecret) { // the host has taken out those that it knew
			out.Notes = append(out.Notes, fmt.Sprintf("plugin %s: %v: it is not looked for", name, err))
			config = o.Configs[name]
		} else if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", name, err)
		}
		r.found = append(r.found, found...)
		if p := r.plugins[name]; p != nil {
			r.learn(config, p.manifest.ConfigSchema)
		}
	}
	return r, nil
}

// learn remembers what a schema marks in a document.
func (r *recordRedaction) learn(doc, schema json.RawMessage) {
	found, inTexts := secrets.Marked(doc, schema)
	r.found, r.inTexts = append(r.found, found...), append(r.inTexts, inTexts...)
}

// marked takes out what schemas mark, and remembers it. It says why the attempt cannot be recorded.
func (r *recordRedaction) marked(a *recording.Attempt, v *task.View) (why string, err error) {
	p := r.plugins[a.Plugin]
	if p == nil {
		return "", fmt.Errorf("plugin %s: %w: without its schemas nobody knows what in its attempts is secret", a.Plugin, task.ErrNotFound)
	}
	h := p.handler(a.Handler, a.Version)
	if h == nil {
		return fmt.Sprintf("plugin %s no longer has %s@%d, whose schemas say what is secret", a.Plugin, a.Handler, a.Version), nil
	}
	redact := func(doc *json.RawMessage, schema json.RawMessage, at string) {
		r.learn(*doc, schema)
		var places []string
		*doc, places = recording.Redact(*doc, schema, at)
		a.Redacted = append(a.Redacted, places...)
	}
	redact(&a.Input, h.InputSchema, "/input")
	redact(&a.Config, h.ConfigSchema, "/config")
	redact(&a.Outcome.Output, h.OutputSchema, "/outcome/output")
	if a.Outcome.Error != nil {
		redact(&a.Outcome.Error.Partial, h.OutputSchema, "/outcome/error/partial")
	}
	if a.Previous != nil {
		redact(&a.Previous.Partial, h.OutputSchema, "/previous/partial")
	}
	for i := range a.Outcome.Events {
		e := &a.Outcome.Events[i]
		for j := range p.manifest.Emits {
			if p.manifest.Emits[j].Name == e.Name {
				redact(&e.Payload, p.manifest.Emits[j].Schema, "/outcome/events/"+strconv.Itoa(i)+"/payload")
			}
		}
	}
	for i := range v.Steps {
		s := &v.Steps[i]
		result, ok := a.Results[string(s.Name)]
		if !ok {
			continue
		}
		version := s.Handler.Version
		if s.Settings != nil {
			version = s.Settings.HandlerVersion
		}
		var from *HandlerInfo
		if p := r.plugins[s.Handler.Plugin]; p != nil {
			from = p.handler(s.Handler.Handler, version)
		}
		if from == nil {
			return fmt.Sprintf("it was given the results of step %s, and without the schemas of %s nobody knows what in them is secret", s.Name, s.Handler), nil
		}
		redact(&result, from.OutputSchema, "/results/"+recording.Escape(string(s.Name)))
		a.Results[string(s.Name)] = result
	}
	return "", nil
}

// handler returns a handler's declaration; version 0 = any.
func (p *recordedPlugin) handler(name string, version uint32) *HandlerInfo {
	i := slices.IndexFunc(p.handlers, func(h HandlerInfo) bool { return h.Name == name && (version == 0 || h.Version == version) })
	if i < 0 {
		return nil
	}
	return &p.handlers[i]
}

// hide takes the secrets that are known by now out of everything, and says in the recordings where.
func (r *recordRedaction) hide(attempts []*recording.Attempt) {
	hide := secrets.NewRedactor(r.found, r.inTexts)
	for _, a := range attempts {
		text := func(s *string, at string) {
			if with := hide.Text(*s); with != *s || strings.Contains(with, secrets.Hidden) {
				*s, a.Redacted = with, append(a.Redacted, at)
			}
		}
		data := func(doc *json.RawMessage, at string) {
			var places []string
			*doc, places = recording.RedactTexts(*doc, func(s string) (string, bool) {
				with := hide.Word(s)
				return with, strings.Contains(with, secrets.Hidden)
			}, at)
			a.Redacted = append(a.Redacted, places...)
		}
		failure := func(e *recording.Error, at string) {
			if e != nil {
				text(&e.Code, at+"/code")
				text(&e.Message, at+"/message")
				data(&e.Details, at+"/details")
				data(&e.Partial, at+"/partial")
			}
		}
		data(&a.Input, "/input")
		data(&a.Config, "/config")
		data(&a.Checkpoint, "/checkpoint")
		failure(a.Previous, "/previous")
		for i := range a.Tags {
			text(&a.Tags[i], "/tags/"+strconv.Itoa(i))
		}
		for _, step := range slices.Sorted(maps.Keys(a.Results)) {
			result := a.Results[step]
			data(&result, "/results/"+recording.Escape(step))
			a.Results[step] = result
		}
		data(&a.Outcome.Output, "/outcome/output")
		failure(a.Outcome.Error, "/outcome/error")
		for i := range a.Outcome.Events {
			data(&a.Outcome.Events[i].Payload, "/outcome/events/"+strconv.Itoa(i)+"/payload")
		}
		slices.Sort(a.Redacted)
		a.Redacted = slices.Compact(a.Redacted)
		for _, at := range a.Redacted { // what comes cannot be compared with what is not there
			if rest, ok := strings.CutPrefix(at, "/outcome"); ok {
				a.Volatile = append(a.Volatile, rest)
			}
		}
	}
}
