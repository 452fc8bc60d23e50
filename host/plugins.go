package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// sink carries what the supervisor says to the parts that it concerns.
type sink struct{ h *Host }

var _ supervisor.Sink = sink{}

func (s sink) InstanceCapacity(id string, capacity int) { s.h.runner.InstanceCapacity(id, capacity) }
func (s sink) Reports(reports []task.Report)            { s.h.runner.Reports(reports) }

// InstanceReady gives an instance steps and events, unless it has to prove itself first.
func (s sink) InstanceReady(in task.Instance) {
	s.h.runner.InstanceReady(in)
	if !in.Trial {
		s.h.subscribe(in)
	}
	s.h.settled.ring() // who follows what its subscriptions get
}

// Vacate waits until an instance has nothing to do.
func (s sink) Vacate(ctx context.Context, id string) {
	_ = s.h.runner.Vacated(ctx, id) // what it holds at the end of ctx is drained
}

// InstanceShare moves steps between an instance that replaces another and the other one;
// events are handed over as a whole.
func (s sink) InstanceShare(in task.Instance, share float64) {
	s.h.runner.InstanceShare(in.ID, share)
	if share == 1 {
		s.h.subscribe(in)
	} else {
		s.h.delivery.Disconnect(in.ID)
	}
	s.h.settled.ring()
}

// InstanceRoom has those ask again who found no room in an instance.
func (s sink) InstanceRoom(id string) {
	s.h.runner.InstanceRoom(id)
	s.h.delivery.Room(id)
}

// InstanceDraining gives an instance nothing more.
func (s sink) InstanceDraining(id string) {
	s.h.delivery.Disconnect(id)
	s.h.runner.InstanceDraining(id)
}

// InstanceGone says what became of what an instance held.
func (s sink) InstanceGone(id string, cause task.LossCause, sent []task.AttemptID) {
	if cause == task.LossDrained {
		s.h.delivery.Disconnect(id) // it may have left on its own
	}
	s.h.delivery.Lost(id)
	s.h.runner.InstanceGone(id, cause, sent)
}

// Life records a change in the life of a plugin.
func (s sink) Life(l task.PluginLife) {
	switch {
	case l.Crashed:
		s.h.events.PluginCrashed(l)
		if l.State == task.PluginQuarantined {
			s.h.events.PluginQuarantined(l)
		}
	case l.State == task.PluginStarting:
		s.h.events.PluginStarted(l)
	case l.State == task.PluginReady && !l.Again:
		s.h.events.PluginReady(l)
	case l.State == task.PluginStopped:
		s.h.events.PluginStopped(l)
	}
	s.h.settled.ring()
	if l.State == task.PluginConfiguring || l.State == task.PluginRefused {
		s.h.mend()
	}
}

// mend has plugins started again that were refused for events which somebody emits now.
func (h *Host) mend() {
	for _, name := range h.handshake.mended() {
		_ = h.supervisor.Resume(name, nil) // it was resumed by somebody else, or is gone
	}
}

// Crashed keeps a crash report.
func (s sink) Crashed(c store.Crash) {
	if err := s.h.store.SaveCrash(context.Background(), &c); err != nil {
		s.h.log.Error("crash report not kept", logkeys.Plugin, c.Plugin, logkeys.Error, err)
	}
}

// onItsWay reports whether a plugin is being started. As long as it has not told its
// name, any that has not done so either may be it.
func onItsWay(plugins []supervisor.PluginInfo, name string) bool {
	if p := findPlugin(plugins, name); p != nil {
		return isStarting(p)
	}
	return slices.ContainsFunc(plugins, func(p supervisor.PluginInfo) bool { return p.Manifest == nil && isStarting(&p) })
}

func isStarting(p *supervisor.PluginInfo) bool {
	switch p.State {
	case task.PluginStarting, task.PluginHandshaking, task.PluginConfiguring, task.PluginBackoff:
		return true
	case task.PluginStopped:
		return p.Instance == "" // not started yet
	default:
		return false
	}
}

// isGivenUp reports whether a plugin is not started again until an operator says so.
func isGivenUp(p *supervisor.PluginInfo) bool {
	return p.State == task.PluginRefused || p.State == task.PluginQuarantined
}

// findPlugin returns the plugin of a name, nil when there is none. Of several that claim
// the name it is the one that was not refused.
func findPlugin(plugins []supervisor.PluginInfo, name string) *supervisor.PluginInfo {
	var found *supervisor.PluginInfo
	for i := range plugins {
		if p := &plugins[i]; p.Name == name && (found == nil || found.State == task.PluginRefused) {
			found = p
		}
	}
	return found
}

// Handler implements [engine.Plugins].
func (h *Host) Handler(ref task.HandlerRef) *task.Reason {
	plugins := h.supervisor.Plugins()
	if r := handlerReason(plugins, ref); r != nil {
		return r
	}
	limit := handlerLimit(findPlugin(plugins, ref.Plugin).Manifest, ref)
	if limit == 0 || h.supervisor.InFlight(ref.Plugin, ref.Handler) < limit {
		return nil
	}
	return &task.Reason{
		Code: task.ReasonNoSlot, On: []string{ref.String()},
		Text: fmt.Sprintf("handler %s/%s runs as often as it may at once: %d", ref.Plugin, ref.Handler, limit),
	}
}

// handlerLimit returns how many attempts of a handler its plugin takes at once, 0 = as
// many as of all handlers together. Without a version the highest counts.
func handlerLimit(m *supervisor.Manifest, ref task.HandlerRef) (limit int) {
	if m == nil {
		return 0
	}
	var version uint32
	for i := range m.Handlers {
		h := &m.Handlers[i]
		if h.Name == ref.Handler && (ref.Version == 0 || ref.Version == h.Version) && h.Version > version {
			version, limit = h.Version, h.MaxConcurrency
		}
	}
	return limit
}

// handlerReason says why no attempt of any handler of the plugin, or of this one ever,
// can be started now; nil when one can.
func handlerReason(plugins []supervisor.PluginInfo, ref task.HandlerRef) *task.Reason {
	p := findPlugin(plugins, ref.Plugin)
	if p == nil {
		return noPlugin(plugins, ref)
	}
	if p.Manifest != nil && !offers(p.Manifest, ref) {
		return noHandler(p, ref)
	}
	on := []string{ref.Plugin}
	switch p.State {
	case task.PluginReady, task.PluginDegraded:
		if p.InFlight >= p.Capacity {
			return &task.Reason{
				Code: task.ReasonNoSlot, On: on, Text: fmt.Sprintf("all %d slots of plugin %s are taken", p.Capacity, p.Name),
			}
		}
		return nil
	case task.PluginQuarantined, task.PluginRefused:
		remedy := "tasker plugin crashes " + p.Name + " && tasker plugin resume " + p.Name
		if p.State == task.PluginRefused { // no crash is on record; the cause says what to mend
			remedy = "tasker plugin logs " + p.Name + " && tasker plugin resume " + p.Name
		}
		return &task.Reason{
			Code: task.ReasonPluginDown, On: on, Since: p.Since, Remedy: remedy,
			Text: fmt.Sprintf("plugin %s is %s: %s", p.Name, p.State, p.Cause),
		}
	default:
		return &task.Reason{
			Code: task.ReasonPluginDown, On: on, Since: p.Since, Until: p.RetryAt,
			Text: strings.TrimSuffix(fmt.Sprintf("plugin %s is %s: %s", p.Name, p.State, p.Cause), ": "),
		}
	}
}

func noPlugin(plugins []supervisor.PluginInfo, ref task.HandlerRef) *task.Reason {
	names := make([]string, 0, len(plugins))
	for i := range plugins {
		names = append(names, plugins[i].Name)
	}
	r := &task.Reason{
		Code: task.ReasonNoPlugin, On: []string{ref.Plugin},
		Text:   fmt.Sprintf("no plugin %q is installed, which handler %s needs", ref.Plugin, ref),
		Remedy: "put tasker-plugin-" + ref.Plugin + " into a plugin directory (--plugin-dir) and restart the host",
	}
	if near := nearest(ref.Plugin, names); near != "" {
		r.Text += fmt.Sprintf("; did you mean %q?", near)
	} else if len(names) > 0 {
		r.Text += "; installed: " + strings.Join(names, ", ")
	}
	return r
}

func noHandler(p *supervisor.PluginInfo, ref task.HandlerRef) *task.Reason {
	names := make([]string, 0, len(p.Manifest.Handlers))
	refs := make([]string, 0, len(p.Manifest.Handlers))
	for _, h := range p.Manifest.Handlers {
		names = append(names, h.Name)
		refs = append(refs, h.Ref())
	}
	r := &task.Reason{
		Code: task.ReasonNoHandler, On: []string{ref.String()},
		Text:   fmt.Sprintf("plugin %s offers no handler %s", p.Name, strings.TrimPrefix(ref.String(), ref.Plugin+"/")),
		Remedy: "tasker plugin describe " + p.Name,
	}
	if near := nearest(ref.Handler, names); near != "" && near != ref.Handler {
		r.Text += fmt.Sprintf("; did you mean %q?", near)
	} else {
		r.Text += "; it offers " + strings.Join(refs, ", ")
	}
	return r
}

func offers(m *supervisor.Manifest, ref task.HandlerRef) bool {
	return slices.ContainsFunc(m.Handlers, func(h supervisor.Handler) bool {
		return h.Name == ref.Handler && (ref.Version == 0 || ref.Version == h.Version)
	})
}

// nearest returns the name that was probably meant, empty when none is close.
func nearest(name string, names []string) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, n := range names {
		if d := levenshtein.ComputeDistance(name, n); d < distance {
			best, distance = n, d
		}
	}
	return best
}

// Plugins implements [Service].
func (h *Host) Plugins(ctx context.Context) ([]api.PluginInfo, error) {
	infos, catalog, err := h.eventCatalogNow(ctx)
	if err != nil {
		return nil, err
	}
	bindings := h.allBindings(infos, catalog)
	out := make([]api.PluginInfo, len(infos))
	for i := range infos {
		if out[i], err = pluginInfo(&infos[i]); err != nil {
			return nil, err
		}
		for _, b := range bindings {
			if plugin, _ := subscriberName(b.Subscriber.Subscriber); plugin == infos[i].Name && infos[i].Manifest != nil {
				out[i].Notes = append(out[i].Notes, b.note())
			}
		}
	}
	return out, nil
}

func pluginInfo(p *supervisor.PluginInfo) (api.PluginInfo, error) {
	out := api.PluginInfo{
		Name: p.Name, Version: p.Version, Path: p.Path, State: p.State, Cause: p.Cause, Since: p.Since, RetryAt: p.RetryAt,
		Instance: p.Instance, PID: p.PID, Restarts: p.Crashes, Capacity: p.Capacity, InFlight: p.InFlight, Leaked: p.Leaked,
		Finished: p.Finished, Notes: slices.Concat(p.Accepted, p.Refused, p.Warnings),
	}
	if u, ok := p.Usage(); ok {
		usage := api.PluginUsage(u)
		out.Usage = &usage
	}
	out.Isolation = isolationInfo(p.InForce)
	out.Previous, out.Upgraded = p.Previous, p.Upgrade
	if s := p.Successor; s != nil {
		out.Upgrade = &api.PluginUpgrade{
			Phase: string(s.Phase), Share: s.Share, From: p.Version, To: s.Version, Path: s.Path, Instance: s.Instance, PID: s.PID,
			State: s.State, InFlight: s.InFlight,
		}
	}
	if p.Manifest == nil {
		return out, nil
	}
	for _, m := range p.Manifest.Handlers {
		out.Handlers = append(out.Handlers, api.HandlerInfo{
			Name: m.Name, Version: m.Version, Description: m.Description, Idempotent: m.Idempotent,
			Timeout: m.Timeout.Std(), MaxConcurrency: m.MaxConcurrency,
			InputSchema: m.InputSchema, ConfigSchema: m.ConfigSchema, OutputSchema: m.OutputSchema,
		})
	}
	for _, s := range p.Manifest.Subscriptions {
		out.Subscriptions = append(out.Subscriptions, api.SubscriptionInfo{Name: s.Name, Events: s.Events, Bound: s.Bound})
	}
	for _, e := range p.Manifest.Emits {
		out.Emits = append(out.Emits, api.EmitInfo{Name: e.Name, Version: e.Version, Description: e.Description})
	}
	var err error
	if out.Manifest, err = json.Marshal(p.Manifest); err != nil {
		return out, fmt.Errorf("manifest of plugin %s: %w", p.Name, err)
	}
	return out, nil
}

// PluginLogs implements [Service].
func (h *Host) PluginLogs(_ context.Context, plugin string, lines int) ([]string, error) {
	return logTexts(h.supervisor.Logs(plugin, lines))
}

// PluginLogs implements [Service]: the log outlives the host.
func (r *Reader) PluginLogs(_ context.Context, plugin string, lines int) ([]string, error) {
	return logTexts(supervisor.ReadLog(filepath.Join(r.home, logDir), plugin, lines))
}

func logTexts(found []supervisor.LogLine, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	out := make([]string, len(found))
	for i, l := range found {
		out[i] = logText(l)
	}
	return out, nil
}

// logText renders a log line for people: time, level, instance, message, fields.
func logText(l supervisor.LogLine) string {
	text := fmt.Sprintf("%s [%s] %s", l.At.UTC().Format("2006-01-02T15:04:05.000Z"), strings.ToUpper(l.Level), l.Instance)
	if l.Attempt != "" {
		text += " " + l.Attempt
	}
	text += ": " + l.Message
	if len(l.Fields) > 0 {
		text += " " + string(l.Fields)
	}
	return text
}

// ResumePlugin implements [Service].
func (h *Host) ResumePlugin(_ context.Context, plugin string) error {
	p := findPlugin(h.supervisor.Plugins(), plugin)
	if p == nil || p.State != task.PluginRefused {
		return h.supervisor.Resume(plugin, nil)
	}
	// What was refused may have been put right, or accepted, meanwhile.
	d, err := OpenDepot(h.opts.Home)
	if err != nil {
		return err
	}
	b, err := d.Binary(plugin, p.Version)
	if errors.Is(err, ErrNotInstalled) {
		return h.supervisor.Resume(plugin, nil)
	}
	if err != nil {
		return err
	}
	return h.supervisor.Resume(plugin, &b)
}
