package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

const (
	version = "1.0.0"

	// attempts times the longest pause of the host, a minute, is most of a day: what fails is the disk of the journal.
	attempts = 1000
	// journalFile is in the plugin's data directory, which is its working directory.
	journalFile = "in-flight.jsonl"
)

// plugin is the plugin.
func plugin(m *metrics) sdk.Plugin {
	return sdk.Plugin{
		Name:        "metrics",
		Version:     version,
		Title:       "Shows events to Prometheus.",
		Description: "Counts tasks, steps, retries, losses, dead letters and crashes, and measures how long things take.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      m,
		Permissions: sdk.Permissions{Network: sdk.NetworkAny}, // where it listens is for the configuration to say
		Subscribers: sdk.Subscribers{
			"events": sdk.Subscribe(m.routes(), sdk.SubscriberOptions{
				Description: "Counts all events.", MaxAttempts: attempts, OnGap: m.gap,
			}),
		},
	}
}

// metrics is the plugin's configuration, and what is made of it.
type metrics struct {
	config

	families *families
	server   *server

	mu       sync.Mutex
	labels   *labeller
	flying   inFlight
	position position
	journal  *journal
}

var (
	_ sdk.Checker = (*metrics)(nil)
	_ io.Closer   = (*metrics)(nil)
)

// Check reads the journal and opens the endpoint.
func (m *metrics) Check(ctx context.Context) error {
	m.config = m.withDefaults()
	if err := m.validate(); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	m.families = newFamilies(registry)
	m.labels = newLabeller(m.Limits, m.families.refused)
	m.flying = inFlight{tasks: make(map[string]*flight), onTask: m.taskFlies, onStep: m.stepFlies}
	var err error
	if m.journal, err = openJournal(journalFile, m.take, m.snapshot); err != nil {
		return err
	}
	m.showNewest()
	m.server = newServer(registry, sdk.Slog(ctx))
	address, chosen := m.address()
	if err = m.server.open(ctx, address, chosen); err != nil {
		return errors.Join(err, m.journal.close())
	}
	return nil
}

// Close closes the endpoint and the journal.
func (m *metrics) Close() error {
	if m.server != nil {
		m.server.close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.journal == nil {
		return nil
	}
	return m.journal.close()
}

func (m *metrics) taskFlies(namespace, template string, by float64) {
	m.families.tasksInFlight.WithLabelValues(m.labels.task(namespace, template)...).Add(by)
}

func (m *metrics) stepFlies(namespace, template, step string, by float64) {
	m.families.stepsInFlight.WithLabelValues(m.labels.step(namespace, template, step)...).Add(by)
}

// take makes a change of the journal. The lock is held, or there is one goroutine only.
func (m *metrics) take(c change) {
	m.position.take(c)
	m.flying.apply(c)
}

// showNewest shows when the newest event was recorded; 0 before the first one.
func (m *metrics) showNewest() {
	if !m.position.at.IsZero() {
		m.families.newest.Set(float64(m.position.at.UnixMilli()) / 1000)
	}
}

// snapshot returns the changes that the journal is written anew with.
func (m *metrics) snapshot() []change {
	at := change{Seq: m.position.seq, At: m.position.at, Host: m.position.host}
	return append([]change{at}, m.flying.changes()...)
}

// routes says what is counted how. Those events that are not named are counted by their names alone.
func (m *metrics) routes() sdk.Subscriber {
	return sdk.Routes(
		counted(m, m.taskInitialized), counted(m, m.taskStarted), counted(m, m.taskCompleted), counted(m, m.taskFailed),
		counted(m, m.taskCancelled), counted(m, m.taskResolved),
		counted(m, m.stepCompleted), counted(m, m.stepFailed), counted(m, m.stepCancelled), counted(m, m.stepLost),
		counted(m, m.retryScheduled),
		counted(m, m.deadLettered), counted(m, m.lagging), counted(m, m.subscriberGap),
		counted(m, m.crashed), counted(m, m.quarantined),
		sdk.On(m.hostStarted),
		sdk.OnNamed("*", func(_ context.Context, e sdk.Event[json.RawMessage]) error {
			return once(m, e, changeOf(e), func(sdk.Event[json.RawMessage], bool) {})
		}),
	)
}

// counted receives an event and counts it once.
func counted[P event.Payload](m *metrics, count func(e sdk.Event[P], running bool)) sdk.Subscriber {
	return sdk.On(func(_ context.Context, e sdk.Event[P]) error { return once(m, e, changeOf(e), count) })
}

// once counts an event unless it was counted before: events come in the order of the log, so that one that is not
// beyond the position came before. Running is whether an attempt at its step was being made.
func once[P any](m *metrics, e sdk.Event[P], c change, count func(e sdk.Event[P], running bool)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case e.Trial():
		return nil
	case e.Seq <= m.position.seq:
		m.families.duplicates.Inc()
		return nil
	}
	full, err := m.journal.add(c)
	if err != nil {
		return err
	}
	m.families.events.WithLabelValues(m.eventName(e.Type)).Inc()
	count(e, m.flying.running(e.Task, e.Step))
	m.take(c)
	m.showNewest()
	if full {
		return m.journal.rewrite(m.snapshot())
	}
	return nil
}

// eventName returns the value of the label event. Those of the catalog are few and need no limit.
func (m *metrics) eventName(name string) string {
	if _, ok := event.Lookup(name); ok {
		return name
	}
	return m.labels.events.name(name)
}

// hostStarted notices that the log is another one: a restored backup gets a new host id, and numbers new events like
// those that were recorded after the backup.
func (m *metrics) hostStarted(ctx context.Context, e sdk.Event[event.HostStarted]) error {
	c := changeOf(e)
	m.mu.Lock()
	if p := &m.position; !e.Trial() && e.Payload.HostID != p.host && !e.At.Before(p.at) {
		c.Host = e.Payload.HostID
		if p.host != "" {
			sdk.Slog(ctx).WarnContext(ctx, "the log is that of another host id: what is in flight is learnt anew", "was", p.host, "is", c.Host)
			c.Kind = forget
			p.seq = min(p.seq, e.Seq-1)
		}
	}
	m.mu.Unlock()
	return once(m, e, c, func(sdk.Event[event.HostStarted], bool) { m.families.hostStarts.Inc() })
}

// gap is told of events that nobody can count any more. What was in flight may have ended with them.
func (m *metrics) gap(ctx context.Context, g sdk.Gap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g.Through <= m.position.seq {
		return
	}
	m.families.gaps.Inc()
	c := change{Seq: g.Through, Kind: forget}
	if _, err := m.journal.add(c); err != nil {
		sdk.Slog(ctx).ErrorContext(ctx, "the gap is not in the journal", "error", err)
	}
	m.take(c)
	sdk.Slog(ctx).WarnContext(ctx, "events were removed from the log before they were counted: what is in flight is learnt anew", "through", g.Through)
}

// since returns the seconds from one time to another; clocks may have been set back between them.
func since(from, to time.Time) float64 { return max(to.Sub(from).Seconds(), 0) }
