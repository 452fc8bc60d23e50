package host_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// TestSecretsLeakNowhere plants a secret in a plugin's configuration and another in a task's input. The plugin hands both on
// in every way there is. The first is nowhere but in the plugin; the second, which tasks have to store, in no recording.
func TestSecretsLeakNowhere(t *testing.T) {
	t.Parallel()
	const token, pin = "correct-horse-battery", "4711-0815-4242"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := map[string]json.RawMessage{"leaky": json.RawMessage(`{"token": {"secret": {"file": "` + filepath.ToSlash(file) + `"}}}`)}
	h := hosttest.Start(t, hosttest.Plugins("./testdata/leaky"), hosttest.Expect("an event is put aside", "plugin crashed", "the stream to a subscriber ended"),
		hosttest.Options(func(o *host.Options) { o.LogLevel, o.PluginConfigs = "trace", config }))
	id := h.Create(graph(
		"leak | handler: leaky/leak", "stuck <- leak | handler: leaky/leak, retry: {limit: 1}",
		"take <- leak | handler: leaky/take", "burst <- take | handler: leaky/burst, retry: {limit: 2}, on_crash: fail",
	), hosttest.Input(`{"pin": "`+pin+`"}`))
	h.WantTask(h.Checked(id), task.Error)
	h.AwaitLog(host.EventQuery{Type: event.NameSubscriberDeadLettered}, 1)

	told := shown(t, h, id)
	plugins, err := h.Plugins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := host.Record(t.Context(), h, []string{string(id)}, host.RecordOptions{Known: plugins, Configs: config})
	if err != nil {
		t.Fatal(err)
	}
	checkLeaky(t, recorded, pin)
	h.Stop()
	if h.Logged(token) {
		t.Error("the host has logged the secret")
	}
	kept := told
	err = filepath.WalkDir(h.Home(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(token)) {
			t.Errorf("%s has the secret", path)
		}
		kept += string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(told, token) {
		t.Error("what the host tells has the secret")
	}
	for _, way := range []string{
		"log", "field", "stderr", "span", "span-error", "note", "checkpoint", "now", "then", "message", "details", "partial", "code", "output", "panic",
		"crash", "reason",
	} {
		if !strings.Contains(kept, "way-"+way) {
			t.Errorf("the plugin says nothing by way of %s: the test does not see where it would leak", way)
		}
	}
	if !strings.Contains(kept, pin) {
		t.Error("the input is not kept: the test does not see what recordings leave out")
	}
}

// shown is all that the host shows of a task and the plugin.
func shown(t *testing.T, h *hosttest.Host, id task.ID) string {
	t.Helper()
	var all strings.Builder
	show := func(what string, v any, err error) {
		text, failed := json.Marshal(v)
		if err != nil || failed != nil {
			t.Fatalf("%s: %v, %v", what, err, failed)
		}
		all.Write(text)
	}
	ctx := t.Context()
	show("task", h.View(id), nil)
	show("events", h.Log(everything), nil)
	plugins, err := h.Plugins(ctx)
	show("plugins", plugins, err)
	crashes, err := h.Crashes(ctx, "leaky")
	show("crashes", crashes, err)
	letters, _, err := h.DeadLetters(ctx, "", 0, 0)
	show("dead letters", letters, err)
	lines, err := h.PluginLogs(ctx, "leaky", 1000)
	show("logs", lines, err)
	trace, err := h.Trace(ctx, string(id))
	if err != nil {
		t.Fatal(err)
	}
	all.Write(trace)
	subscriptions, err := h.Subscriptions(ctx)
	show("subscriptions", subscriptions, err)
	return all.String()
}

// checkLeaky checks the recordings of the task.
func checkLeaky(t *testing.T, got *host.Recorded, pin string) {
	t.Helper()
	text, err := json.Marshal(got.Attempts)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), pin) {
		t.Errorf("the recordings have what the schema marks: %s", text)
	}
	var names []string
	for _, a := range got.Attempts {
		names = append(names, a.Step+"/"+string(rune('0'+a.Number)))
	}
	if want := []string{"leak/1", "leak/2", "stuck/1", "take/1", "burst/1"}; !slices.Equal(names, want) {
		t.Fatalf("recorded %q, want %q; left %q", names, want, got.Left)
	}
	if len(got.Left) != 1 || !strings.Contains(got.Left[0], "step burst, attempt 2: it was lost: crashed") {
		t.Errorf("left %q", got.Left)
	}
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "step leak, attempt 2: the checkpoint that it may have begun from is not kept") {
		t.Errorf("notes %q", got.Notes)
	}
	first, second, take := got.Attempts[0], got.Attempts[1], got.Attempts[3]
	const hidden = "way-message: *** and ***."
	if e := first.Outcome.Error; e == nil || e.Message != hidden || e.Kind != "retryable" || first.Backoff <= 0 {
		t.Errorf("first attempt %+v with error %+v", first, e)
	}
	if second.Previous == nil || second.Previous.Message != hidden || string(second.Outcome.Output) != `{"text":"way-output: *** and ***."}` {
		t.Errorf("second attempt was told of %+v and came to %s", second.Previous, second.Outcome.Output)
	}
	if string(take.Results["leak"]) != `{"text":"way-output: *** and ***."}` {
		t.Errorf("take was given %s", take.Results["leak"])
	}
	if string(first.Input) != `{"pin":"`+recording.Redacted+`"}` || len(first.Outcome.Events) != 1 || len(second.Outcome.Events) != 2 {
		t.Errorf("input %s, events %v and %v", first.Input, first.Outcome.Events, second.Outcome.Events)
	}
	want := []string{"/outcome/error/code", "/outcome/error/details/text", "/outcome/error/message", "/outcome/error/partial/text", "/outcome/events/0/payload/text", "/input/pin"}
	for _, at := range want {
		if !slices.Contains(first.Redacted, at) {
			t.Errorf("redacted %q, want %s among them", first.Redacted, at)
		}
	}
	if !slices.Contains(first.Volatile, "/error/message") || !slices.Contains(first.Volatile, "/events/0/payload/text") {
		t.Errorf("volatile %q", first.Volatile)
	}
}
