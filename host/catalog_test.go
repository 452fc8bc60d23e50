package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// scenario leads tasks through what emits the events of the catalog that it names.
type scenario struct {
	name  string
	run   func(h *hosttest.Host) task.ID // the task has ended
	emits string
}

// scenarios emit together every event about tasks, with each optional part of a payload.
func scenarios() []scenario {
	return []scenario{
		{
			"succeeds at the second attempt",
			func(h *hosttest.Host) task.ID { return h.Create(graph("a | f1", "b <- a")) },
			`task.initialized task.started step.started step.failed step.retry_scheduled step.completed task.completed
				workflow.viable_steps_discovered workflow.task_finalization_started workflow.task_finalization_completed`,
		},
		{
			"fails, is retried as a whole and completes",
			func(h *hosttest.Host) task.ID {
				id := h.Create(graph("a | f3", "b <- a"))
				h.End(id)
				h.Retry(id, "")
				return id
			},
			"step.max_retries_reached workflow.no_viable_steps task.failed task.retry_requested step.retry_requested",
		},
		{
			"a failed step is retried and completes",
			func(h *hosttest.Host) task.ID {
				id := h.Create(graph("a | handler: mock/panic, config: {times: 3}"))
				h.End(id)
				h.Retry(id, "a")
				return id
			},
			"step.retry_requested",
		},
		{
			"a failed task is closed by hand",
			func(h *hosttest.Host) task.ID { return h.TaskIn(task.ResolvedManually) },
			"task.resolved_manually",
		},
		{
			"a failed step is resolved by hand",
			func(h *hosttest.Host) task.ID {
				id := h.TaskIn(task.Error)
				h.Resolve(id, "it", `{"by":"hand"}`)
				return id
			},
			"step.resolved_manually",
		},
		{
			"paused, resumed and cancelled",
			func(h *hosttest.Host) task.ID {
				id := h.TaskIn(task.Paused)
				h.Resume(id)
				h.Cancel(id)
				return id
			},
			"task.paused task.resumed task.cancel_requested step.cancelled task.cancelled",
		},
		{
			"bypassed and optional steps",
			func(h *hosttest.Host) task.ID {
				return h.Create(graph("a | skippable: true", "b | f1, optional: true, retry: {limit: 1}"),
					func(r *task.Request) {
						r.Bypass, r.Tags, r.Priority = []task.StepName{"a"}, []string{"eu"}, -3
						r.Initiator, r.SourceSystem, r.Reason, r.CorrelationID = "ann", "web", "new order", "web-1"
					})
			},
			"step.skipped",
		},
		{
			"the deadline passes",
			func(h *hosttest.Host) task.ID {
				return h.Create(graphWith("deadline: 100ms\n", "a | handler: mock/hang", "b <- a"))
			},
			"task.failed step.cancelled",
		},
		{
			"a time limit passes before the first attempt",
			func(h *hosttest.Host) task.ID {
				return h.Create(graph("a | handler: missing/handler, schedule_to_start: 50ms"))
			},
			"step.failed task.failed",
		},
		{
			"large values",
			func(h *hosttest.Host) task.ID {
				return h.Create(graph("a", "b <- a | handler: mock/big, config: {bytes: 70000}"),
					hosttest.Input(`{"large":"`+strings.Repeat("x", event.MaxInline)+`"}`))
			},
			"step.completed",
		},
		{
			"a plugin crashes with what it runs",
			func(h *hosttest.Host) task.ID {
				id := h.Create(graph("parked | handler: mock/exit, config: {times: 1}, on_crash: park",
					"given <- parked | handler: mock/exit, on_crash: fail"))
				h.AwaitStep(id, "parked", task.StepWaiting)
				h.Retry(id, "parked")
				return id
			},
			"step.attempt_lost step.waiting step.resumed step.failed",
		},
	}
}

// aboutHosts are the events that are about no task. The hosts of the test emit them: a
// plugin takes work, crashes in the last scenario and is stopped in the end; another one
// always crashes.
const aboutHosts = `plugin.started plugin.ready plugin.crashed plugin.quarantined plugin.stopped host.started host.stopping`

// TestCatalogIsEmitted runs scenarios that emit every event of the catalog through a
// real host with real plugins, and then reads the whole log: each payload is valid, each
// event was fired by the component that the catalog names, nothing is there twice, and
// nothing is missing. The events about subscriptions have a test of their own.
func TestCatalogIsEmitted(t *testing.T) {
	t.Parallel()
	crashing := t.TempDir()
	if err := os.WriteFile(filepath.Join(crashing, "tasker-plugin-crashing"), []byte("#!/bin/sh\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Expect("plugin crashed"), hosttest.Options(func(o *host.Options) {
		o.WorkflowEvents, o.PluginDirs = true, []string{crashing}
	}))
	emitted := strings.Fields(aboutHosts + " " + aboutSubscriptions)
	tasks := make(map[task.ID]scenario)
	for _, s := range scenarios() {
		id := s.run(h)
		h.End(id)
		tasks[id] = s
		emitted = append(emitted, strings.Fields(s.emits)...)
	}
	awaitEvent(t, h, event.NamePluginQuarantined)
	h.Stop()

	for _, p := range event.Payloads() {
		if !slices.Contains(emitted, p.EventName()) {
			t.Errorf("no scenario emits %s", p.EventName())
		}
	}
	checkLog(t, h.Home(), tasks)
}

func awaitEvent(t *testing.T, h *hosttest.Host, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hosttest.Patience)
	defer cancel()
	found := errors.New("found")
	err := h.Events(ctx, host.EventQuery{Type: name, Follow: true}, func(host.LogEntry) error { return found })
	if !errors.Is(err, found) {
		t.Fatalf("no %s: %v, %v", name, err, ctx.Err())
	}
}

// checkLog checks the log that the host has left behind.
func checkLog(t *testing.T, home string, tasks map[task.ID]scenario) {
	t.Helper()
	r, err := host.OpenReader(t.Context(), host.Options{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	var log []hosttest.Event
	histories := make(map[task.ID][]hosttest.Event)
	err = r.Events(t.Context(), host.EventQuery{From: 1}, func(entry host.LogEntry) error {
		e, err := hosttest.DecodeEvent(entry)
		log = append(log, e)
		histories[e.TaskID] = append(histories[e.TaskID], e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	checkEntries(t, log)
	checkLives(t, histories[""])
	for id, s := range tasks {
		v, err := r.Task(t.Context(), string(id))
		if err != nil {
			t.Fatal(err)
		}
		if err := hosttest.Check(v, histories[id]); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		for name := range strings.FieldsSeq(s.emits) {
			if len(hosttest.Of(histories[id], name, "")) == 0 {
				t.Errorf("%s: no %s among %v", s.name, name, histories[id])
			}
		}
		if err := checkWorkflow(histories[id]); err != nil {
			t.Errorf("%s: %v\n%v", s.name, err, histories[id])
		}
	}
}

// checkEntries compares each event with its entry in the catalog, and the catalog with
// what was emitted.
func checkEntries(t *testing.T, log []hosttest.Event) {
	t.Helper()
	seen, ids := make(map[string]bool), make(map[string]bool)
	for _, e := range log {
		if ids[e.ID] {
			t.Errorf("%s %s is in the log twice", e.ID, e)
		}
		seen[e.Type], ids[e.ID] = true, true
	}
	for i, entry := range event.Catalog() {
		if elsewhere := strings.Fields(aboutSubscriptions); !seen[entry.Name] && !slices.Contains(elsewhere, entry.Name) {
			t.Errorf("nothing emitted %s", entry.Name)
		}
		delete(seen, entry.Name)
		schema := payloadSchema(t, entry)
		for _, e := range hosttest.Of(log, entry.Name, "") {
			checkPayload(t, schema, event.Payloads()[i], e)
			if by := firedBy(e); !slices.Contains(entry.FiredBy, by) {
				t.Errorf("%s is fired by the %s, the catalog says %v", e, by, entry.FiredBy)
			}
		}
	}
	for name := range seen {
		t.Errorf("%s is not in the catalog", name)
	}
}

// firedBy tells from the envelope which component fired an event: only the engine
// numbers events of tasks; of the others the supervisor's are about an instance and those
// of delivery about a subscription.
func firedBy(e hosttest.Event) string {
	switch {
	case e.TaskID != "" && strings.HasPrefix(e.ID, string(e.TaskID)+"/"):
		return "engine"
	case bytes.Contains(e.Payload, []byte(`"subscription":`)):
		return "delivery"
	case bytes.Contains(e.Payload, []byte(`"instance":`)):
		return "supervisor"
	default:
		return "host"
	}
}

func payloadSchema(t *testing.T, entry event.Entry) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(entry.PayloadSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(entry.Name, doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile(entry.Name)
}

// checkPayload validates a payload against its schema, and finds fields that the schema
// does not have: readers pass over them, a host must not write them.
func checkPayload(t *testing.T, schema *jsonschema.Schema, zero event.Payload, e hosttest.Event) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Payload))
	if err == nil {
		err = schema.Validate(doc)
	}
	if err != nil {
		t.Errorf("payload of %s: %v\n%s", e, err, e.Payload)
	}
	dec := json.NewDecoder(bytes.NewReader(e.Payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(reflect.New(reflect.TypeOf(zero)).Interface()); err != nil {
		t.Errorf("payload of %s: %v\n%s", e, err, e.Payload)
	}
}

// checkLives checks that each process of a plugin, and the host, has one life: it is
// started, ready at most once, and ends once.
func checkLives(t *testing.T, events []hosttest.Event) {
	t.Helper()
	lives := make(map[string][]string)
	for _, e := range events {
		p := payload[struct {
			Plugin   string `json:"plugin"`
			Instance string `json:"instance"`
			HostID   string `json:"host_id"`
		}](t, e)
		who := p.HostID + p.Instance
		if e.Type == event.NamePluginQuarantined {
			who = p.Plugin
		}
		lives[who] = append(lives[who], e.Type)
	}
	allowed := []string{
		"plugin.started plugin.crashed", "plugin.started plugin.ready plugin.crashed",
		"plugin.started plugin.stopped", "plugin.started plugin.ready plugin.stopped",
		"plugin.quarantined", "host.started host.stopping",
	}
	for who, life := range lives {
		if !slices.Contains(allowed, strings.Join(life, " ")) {
			t.Errorf("the life of %s is %v", who, life)
		}
	}
}
