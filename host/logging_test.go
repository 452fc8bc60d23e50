package host_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestPayloadsAreNotLogged: whoever reads the logs, at whatever level, sees no data of
// tasks and no configuration of plugins. A filter that fails on the data is told of
// without it, too.
func TestPayloadsAreNotLogged(t *testing.T) {
	t.Parallel()
	const marker = "hunter2-do-not-log"
	const filtered = "a filter fails"
	h := hosttest.Start(t, hosttest.Plugins("./testdata/secretive"), hosttest.Recorder("one"), hosttest.Expect(filtered),
		hosttest.Options(func(o *host.Options) {
			o.LogLevel = "trace"
			o.PluginConfigs = map[string]json.RawMessage{"secretive": json.RawMessage(`{"secret":"` + marker + `"}`)}
			o.Subscriptions = []host.Subscriber{{Subscriber: "one/all", Filter: `event.type == "secretive.told" && int(payload.what) > 0`}}
		}))
	id := h.Create(graph(`a | handler: secretive/tell, config: {key: "`+marker+`"}, retry: {base: 1ms}`),
		hosttest.Input(`{"secret":"`+marker+`"}`))
	h.WantTask(h.Checked(id), task.Complete)
	for _, kind := range []string{"secretive.told", "step.failed", "step.completed"} {
		found := hosttest.Of(h.History(id), kind, "a")
		if len(found) == 0 {
			t.Errorf("no %s: the test shows nothing", kind)
		} else if kind == "secretive.told" && !bytes.Contains(found[0].Payload, []byte(marker)) {
			t.Errorf("%s does not have the marker: the test shows nothing", kind)
		}
	}
	h.AwaitLogged(filtered)
	h.Stop()
	if h.Logged(marker) {
		t.Error("the host has logged data")
	}
	logs, err := filepath.Glob(filepath.Join(h.Home(), "logs", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs of plugins: %v, %v", logs, err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(marker)) {
			t.Errorf("%s has data", filepath.Base(path))
		}
	}
}
