package main

import (
	"context"
	"errors"
	"io"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

const (
	version = "1.0.0"

	// attempts is the most that there can be; with the host's longest pause, a minute, they take 16 hours. Those that do
	// not reach the receiver are not counted.
	attempts = 1000
	// lanes is how many tasks' spans may wait to be exported together.
	lanes = 128
	// notesDir is in the plugin's data directory, which is its working directory.
	notesDir = "open"
)

// plugin is the plugin.
func plugin() sdk.Plugin {
	c := &config{}
	return sdk.Plugin{
		Name:        "telemetry",
		Version:     version,
		Title:       "Makes OpenTelemetry traces of tasks.",
		Description: "A span for each task, step and attempt, exported by OTLP over gRPC or HTTP.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      c,
		Permissions: sdk.Permissions{Network: sdk.NetworkAny, FSRead: files(), Env: environment()},
		Subscribers: sdk.Subscribers{"spans": &Tracer{config: c}},
	}
}

// Tracer makes spans of events. Each span is exported with the event that ends it, and that event is acked afterwards.
// What earlier events said about it is in notes, on disk.
type Tracer struct {
	sdk.BaseSubscriber

	config   *config
	notes    notes
	exporter *exporter
	sampler  trace.Sampler
	relayed  bool // the host exports what plugins make of attempts
}

var (
	_ sdk.Checker = (*Tracer)(nil)
	_ io.Closer   = (*Tracer)(nil)
)

// SubscriberOptions says how events come.
func (*Tracer) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{
		Description: "Makes spans of tasks, steps and attempts.", Order: sdk.TaskOrder, Lanes: lanes, MaxAttempts: attempts, Untraced: true,
	}
}

// Check makes the connection, which is used with the first span, and forgets what is too old.
func (t *Tracer) Check(ctx context.Context) error {
	client, err := t.config.client()
	if err != nil {
		return err
	}
	t.sampler, t.relayed = sampler(), relayed()
	resource, err := t.config.resource(ctx)
	if err != nil {
		return err
	}
	t.notes = notes{dir: notesDir}
	if err := t.notes.sweep(); err != nil {
		return err
	}
	t.exporter, err = newExporter(ctx, client, resource)
	return err
}

// Close gives up the connection.
func (t *Tracer) Close() error {
	if t.exporter == nil {
		return nil
	}
	return t.exporter.close()
}

// OnError makes a dead letter of an event whose spans the receiver refuses: they would be refused again.
func (*Tracer) OnError(_ context.Context, err error) error {
	if errors.Is(err, errRefused) {
		return sdk.Permanent(err)
	}
	return err
}
