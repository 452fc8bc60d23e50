package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

const forwarded = `
name: order
version: 1.0.0
steps:
- {name: reserve, handler: mock/echo}
- {name: charge, depends_on: [reserve], handler: mock/echo}
`

// TestHost runs tasks on a real host while the plugin is killed: the stream has the log, each event once.
func TestHost(t *testing.T) {
	s := serve(t, nil)
	config, err := json.Marshal(values{"servers": []string{s.ClientURL()}, "stream": values{"name": "TASKER"}})
	if err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Plugins("github.com/tasker-engine/tasker/plugins/bridge", "github.com/tasker-engine/tasker/plugins/mock"),
		hosttest.Options(func(o *host.Options) { o.PluginConfigs = map[string]json.RawMessage{"bridge": config} }))
	h.AwaitPlugin("bridge")
	var ids []task.ID
	for kills := range 3 {
		for range 10 {
			ids = append(ids, h.Create(forwarded))
		}
		if kills < 2 { // an event that was alone in flight at a third end of the process would be a dead letter
			h.KillPlugin("bridge")
		}
	}
	for _, id := range ids {
		h.WantTask(h.End(id), task.Complete)
	}
	h.AwaitPlugin("bridge")
	h.AwaitDelivered("bridge/events")

	var want, got []string
	for _, e := range hosttest.Wanted(h.Log(host.EventQuery{}), "bridge/events", "*") {
		want = append(want, e.ID+" "+e.Type)
	}
	for _, m := range stored(t, s.client(t)) {
		got = append(got, m.Header.Get("Tasker-Id")+" "+m.Header.Get("Tasker-Type"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-log +stream):\n%s", diff)
	}
}
