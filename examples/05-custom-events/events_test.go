// Package customevents_test builds the subscriber of somebody else, installs it beside the plugin whose events it
// reads, and runs the template on a real host.
package customevents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// inNotifier runs the go command in the module of the third party.
func inNotifier(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = "notifier"
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s, in notifier: %v\n%s%s\nwhen go.mod of Tasker has changed: go mod tidy, there", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// TestModules fails when a subscriber needs more modules than are listed: what the SDK drags along ends up in the
// binaries of other people.
func TestModules(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "modules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for module := range strings.FieldsSeq(string(want)) {
		listed[module] = true
	}
	needed := make(map[string]bool)
	for module := range strings.FieldsSeq(inNotifier(t, "list", "-deps", "-f", `{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}`, ".")) {
		needed[module] = true
	}
	for module := range needed {
		if !listed[module] {
			t.Errorf("a subscriber needs the module %s, which testdata/modules.txt does not list: can the SDK do without it?", module)
		}
	}
	for module := range listed {
		if !needed[module] {
			t.Errorf("testdata/modules.txt lists %s, which is not needed any more: remove it there", module)
		}
	}
}

// TestThirdParty tests the module as its author would.
func TestThirdParty(t *testing.T) {
	inNotifier(t, "vet", "./...")
	inNotifier(t, "test", "./...")
}

// install builds the subscriber and puts it into a plugin directory.
func install(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	name := "tasker-plugin-notifier"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	inNotifier(t, "build", "-o", filepath.Join(dir, name), ".")
	return dir
}

// TestEvents serves both plugins: the event of one reaches the other with its payload, and what the template calls
// by a name of its own does so, too.
func TestEvents(t *testing.T) {
	dir := install(t)
	template, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Plugins("./orders"), hosttest.Options(func(o *host.Options) {
		o.PluginDirs = append(o.PluginDirs, dir)
		o.TemplateDirs = []string{"."} // so that the events of the template are known when plugins start
	}))
	h.AwaitPlugin("notifier")
	good := h.Create(string(template), hosttest.Input(`{"order_id":"1001","items":["pot","lid"]}`))
	h.WantSteps(h.End(good), "pack=complete/1 ship=complete/1")
	bad := h.Create(string(template), hosttest.Input(`{"order_id":"1002","items":["pot","lid"],"missing":"lid"}`))
	h.WantSteps(h.End(bad), "pack=error/1 ship=pending/0")

	for id, want := range map[task.ID]string{
		good: "orders.picked orders.picked orders.shipped",
		bad:  "orders.picked fulfilment.stuck",
	} {
		var got []string
		for _, e := range h.History(id) {
			if strings.HasPrefix(e.Type, "orders.") || strings.HasPrefix(e.Type, "fulfilment.") {
				got = append(got, e.Type)
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("custom events of %s (-want +got):\n%s", id, diff)
		}
	}
	wantReaders(t, h)
	h.Stop() // subscribers catch up before it ends

	data := filepath.Join(h.Home(), "data", "notifier")
	letter, err := os.ReadFile(filepath.Join(data, "order-1001.txt"))
	if want := "Good news: order 1001 is on its way as TRK-1001.\n"; err != nil || string(letter) != want {
		t.Errorf("the letter says %q, %v; want %q", letter, err, want)
	}
	var stuck struct {
		Step string `json:"step_name"`
		Code string `json:"error_code"`
	}
	text, err := os.ReadFile(filepath.Join(data, "stuck-"+string(bad)+".json"))
	if err == nil {
		err = json.Unmarshal(text, &stuck)
	}
	if err != nil || stuck.Step != "pack" || stuck.Code != "out_of_stock" {
		t.Errorf("the note says %s, %v; want the payload of step.failed", text, err)
	}
}

// wantReaders finds custom events in the catalog, with who reads them.
func wantReaders(t *testing.T, h *hosttest.Host) {
	t.Helper()
	entries, err := h.Catalog(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	for _, e := range entries {
		if e.Custom {
			got[e.Name] = append(got[e.Name], e.Subscribers...)
		}
	}
	want := map[string][]string{
		"orders.picked": nil, "orders.shipped": {"notifier/customers"}, "fulfilment.stuck": {"notifier/desk"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("custom events and who reads them (-want +got):\n%s", diff)
	}
}
