package host

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/internal/telemetry"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// telemetryPlugin is the plugin that makes the spans of tasks and steps.
const telemetryPlugin = "telemetry"

// assembleTraces makes what exports the spans of plugins, if the OTEL_ variables say where
// to. What they say wrongly is told of and does not keep a host from running.
func (h *Host) assembleTraces(ctx context.Context, hostID string) error {
	settings, err := telemetry.TraceSettingsFromEnv()
	if err != nil {
		h.log.Warn("traces: a variable is not understood", logkeys.Error, err)
	}
	if !settings.Enabled {
		return nil
	}
	res, err := telemetry.Resource(ctx, h.opts.Version, hostID)
	if err != nil {
		return fmt.Errorf("traces: %w: %w", task.ErrInvalid, err)
	}
	h.relay = telemetry.NewRelay(telemetry.RelayOptions{Settings: settings, Resource: res, Logger: h.log.Named("traces")})
	return nil
}

// runTraces exports spans until ctx ends.
func (h *Host) runTraces(ctx context.Context) error {
	if h.relay == nil {
		return nil
	}
	var other sync.WaitGroup
	other.Go(func() { h.missTelemetry(ctx) })
	defer other.Wait()
	return h.relay.Run(ctx)
}

// missTelemetry tells that traces will have no spans of tasks and steps.
func (h *Host) missTelemetry(ctx context.Context) {
	select {
	case <-h.supervisor.Discovered():
	case <-ctx.Done():
		return
	}
	if findPlugin(h.supervisor.Plugins(), telemetryPlugin) == nil {
		h.log.Info("traces have the spans of attempts and deliveries only: those of tasks and steps are made by a plugin that is not installed",
			logkeys.Remedy, "put tasker-plugin-telemetry into a plugin directory")
	}
}

// spans carries the spans of attempts to those whom they concern.
type spans struct{ h *Host }

var _ supervisor.Traces = spans{}

// Sampled reports whether the trace of a task is exported.
func (s spans) Sampled(t trace.Task) bool { return s.h.relay.Sampled(t) }

// AttemptSpans exports spans and keeps those that say more than the task's events do. What
// a plugin sends of a trace that is not recorded, it sends because it is worth keeping.
func (s spans) AttemptSpans(id task.AttemptID, instance string, sampled bool, otlp []byte) {
	if sampled {
		s.h.relay.Put(otlp)
	}
	if s.h.opts.ForgetSpans || sampled && !telemetry.Nested(otlp) {
		return
	}
	s.h.store.SaveSpans(&store.AttemptSpans{Attempt: id, OTLP: otlp}, func(err error) {
		if err != nil {
			s.h.log.Debug("spans not kept", logkeys.Task, string(id.Task), logkeys.Attempt, id.String(), logkeys.Instance, instance, logkeys.Error, err)
		}
	})
}

// standardEnv names the variables of OpenTelemetry that are set: plugins that ask for them
// by name see them unless the operator has decided otherwise. They may hold keys, which
// a process of the host's user could read anyway.
func standardEnv() []string {
	var names []string
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
