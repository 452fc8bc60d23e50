package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

const written = `
name: order
version: 1.0.0
defaults: {retry: {base: 1ms}}
steps:
- {name: reserve, handler: mock/flaky, config: {times: 1}}
- {name: charge, depends_on: [reserve], handler: mock/echo}
`

// TestHost runs tasks on a real host while the plugin is killed: the file has the log, each event once and in order.
func TestHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	config, err := json.Marshal(values{"path": path, "chain": true})
	if err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Plugins("github.com/tasker-engine/tasker/plugins/journal", "github.com/tasker-engine/tasker/plugins/mock"),
		hosttest.Options(func(o *host.Options) { o.PluginConfigs = map[string]json.RawMessage{"journal": config} }))
	h.AwaitPlugin("journal")
	var ids []task.ID
	for kills := range 3 {
		for range 10 {
			ids = append(ids, h.Create(written))
		}
		if kills < 2 { // an event that was alone in flight at a third end of the process would be a dead letter
			h.KillPlugin("journal")
		}
	}
	for _, id := range ids {
		h.WantTask(h.End(id), task.Complete)
	}
	h.AwaitPlugin("journal")
	h.AwaitDelivered("journal/events")

	var want, got []string
	for _, e := range hosttest.Wanted(h.Log(host.EventQuery{}), "journal/events", "*") {
		want = append(want, e.ID+" "+e.Type)
	}
	for line := range strings.Lines(contentOf(t, path)) {
		var en entry
		if err := json.Unmarshal([]byte(line), &en); err != nil {
			t.Fatal(err)
		}
		got = append(got, en.ID+" "+en.Type)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-log +file):\n%s", diff)
	}
	var out, errs bytes.Buffer
	if code := verify([]string{path}, &out, &errs); code != 0 {
		t.Errorf("verify says %d: %s", code, errs.String())
	}
}
