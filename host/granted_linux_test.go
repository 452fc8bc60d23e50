package host_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestEverythingIsNotTheHome: the commands of plugin exec, which is granted all files, get
// at those of others, and at nothing of the host.
func TestEverythingIsNotTheHome(t *testing.T) {
	if host.ProbeKernel().Landlock < 3 {
		t.Skip("this kernel keeps no files from anybody")
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("fine"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Plugins("../plugins/exec"),
		hosttest.Options(func(o *host.Options) { o.Isolation = "default" }))
	plugin := h.AwaitPlugin("exec")
	link := filepath.Join(h.Home(), "data", "exec", "link")
	if err := os.Symlink(host.StorePath(h.Home()), link); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		command string
		want    task.Status
	}{
		"the token of the host":   {"cat " + filepath.Join(h.Home(), "control.json"), task.Error},
		"the store":               {"head -c 1 " + host.StorePath(h.Home()), task.Error},
		"the store, by a link":    {"head -c 1 " + link, task.Error},
		"a change of the store":   {"printf x >> " + host.StorePath(h.Home()), task.Error},
		"what there is":           {"ls " + h.Home(), task.Error},
		"a file beside the home":  {"cat " + outside, task.Complete},
		"a file for writing":      {"printf x >> " + outside, task.Complete},
		"its own directory":       {"printf x > own && cat own", task.Complete},
		"what the system offers":  {"cat /etc/hosts && ls /usr", task.Complete},
		"its own executable":      {"head -c 1 " + plugin.Path, task.Complete},
		"the list of the top":     {"ls /", task.Error},
		"the home, by its parent": {"cat " + filepath.Join(h.Home(), "data", "..", "control.json"), task.Error},
	} {
		t.Run(name, func(t *testing.T) {
			id := h.Create(fmt.Sprintf("name: try\nversion: 1.0.0\nsteps:\n"+
				"  - {name: a, handler: exec/run, config: {shell: true, command: [%q], exit_codes: {default: permanent}}}\n", tt.command))
			h.WantTask(h.End(id), tt.want)
		})
	}
}

// TestConfigurationGrants: a plugin may write where its configuration says, under each
// profile, and after a reload where that says now.
func TestConfigurationGrants(t *testing.T) {
	if k := host.ProbeKernel(); k.Landlock < 6 || !k.Seccomp {
		t.Skipf("this kernel enforces too little: %+v", k)
	}
	dir := t.TempDir()
	at := func(place string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"path":%q}`, filepath.Join(dir, place, "{namespace}", "events.jsonl")))
	}
	var now atomic.Pointer[map[string]json.RawMessage]
	now.Store(&map[string]json.RawMessage{"journal": at("first/below")})
	h := hosttest.Start(t, hosttest.Plugins("../plugins/journal", mockPlugin),
		hosttest.Options(func(o *host.Options) {
			o.Isolation, o.PluginIsolation = "strict", map[string]string{"mock": "default"}
			o.PluginConfigs = *now.Load()
			o.Reread = func() (map[string]json.RawMessage, error) { return *now.Load(), nil }
		}))
	h.AwaitPlugin("journal")
	write := func(place string) {
		t.Helper()
		h.Checked(h.Create("name: fine\nversion: 1.0.0\nsteps:\n  - {name: a, handler: mock/echo}\n"))
		h.AwaitDelivered("journal/events")
		if found, err := filepath.Glob(filepath.Join(dir, place, "*", "events.jsonl")); err != nil || len(found) == 0 {
			t.Errorf("there is no file in %s: %v", place, err)
		}
	}
	write("first/below")
	now.Store(&map[string]json.RawMessage{"journal": at("second")})
	reload := host.UpgradeRequest{Plugin: "journal", Action: host.ActionReload, Probe: shortProbe}
	if p, err := h.UpgradePlugin(t.Context(), reload, func(host.UpgradeProgress) {}); err != nil || p.Phase != host.UpgradeDone {
		t.Fatalf("reload: %+v, %v", p, err)
	}
	write("second")
	for _, m := range h.AwaitPlugin("journal").Isolation.Measures {
		if m.Name == "files" && (!strings.Contains(m.Detail, filepath.Join(dir, "second")) || strings.Contains(m.Detail, "first")) {
			t.Errorf("files: %s", m.Detail)
		}
	}
}
