package host_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// TestLargeValues sends inputs and results of all sizes through a plugin: inline ones,
// blobs, blobs larger than a frame.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	for _, size := range []int{10, task.MaxInline - 1, task.MaxInline + 1, 2 << 20, 6 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			h := h.With(t)
			input := `{"text":"` + strings.Repeat("i", size) + `"}`
			id := h.Create(graph(fmt.Sprintf("big | handler: mock/big, config: {bytes: %d}", size), "copy <- big"), hosttest.Input(input))
			v := h.Checked(id)
			h.WantTask(v, task.Complete)
			var copied struct {
				Input   json.RawMessage `json:"input"`
				Results struct {
					Big struct {
						Data string `json:"data"`
					} `json:"big"`
				} `json:"results"`
			}
			if err := json.Unmarshal(hosttest.Step(v, "copy").Output, &copied); err != nil {
				t.Fatal(err)
			}
			if string(copied.Input) != input || len(copied.Results.Big.Data) != size {
				t.Errorf("the handler saw %d bytes of input and a result of %d, want %d and %d",
					len(copied.Input), len(copied.Results.Big.Data), len(input), size)
			}
			if stored := hosttest.Step(v, "big").Results; (stored.Ref != nil) != (size > task.MaxInline-20) {
				t.Errorf("a result of %d bytes is stored with the reference %+v", size, stored.Ref)
			}
		})
	}
}

func TestResultOverTheLimit(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	v := h.Checked(h.Create(graph(fmt.Sprintf("big | handler: mock/big, config: {bytes: %d}", task.MaxValue), "b <- big")))
	h.WantTask(v, task.Error)
	h.WantSteps(v, "big=error/1 b=pending/0")
	f := hosttest.Step(v, "big").Failure
	if f.Code != task.CodeTooLarge || !strings.Contains(f.Message, "15728640") {
		t.Errorf("failure %s: %s, want %s with the limit", f.Code, f.Message, task.CodeTooLarge)
	}
}

// beaten is the result of mock/heartbeat.
type beaten struct {
	Beats int `json:"beats"`
	From  int `json:"from"`
}

// TestCheckpoint hands what an attempt kept to the next one, after a timeout and after a
// restart of the host.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/heartbeat, retry: {limit: 9}, timeout: 1500ms, " +
		"config: {every: 20ms, for: 2s, checkpoint: true}"))
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	var b beaten
	s := hosttest.Step(v, "a")
	if err := json.Unmarshal(s.Output, &b); err != nil {
		t.Fatal(err)
	}
	if s.Attempts < 2 || b.From == 0 || b.Beats != 100 {
		t.Errorf("%d attempts, beats from %d to %d, want at least 2 attempts that go on where the last one was", s.Attempts, b.From, b.Beats)
	}
}

func TestCheckpointSurvivesTheHost(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/heartbeat, config: {every: 10ms, for: 1500ms, checkpoint: true}"))
	h.Await(id, func(v *task.View) bool { return hosttest.Step(v, "a").Progress > 0 })
	h.Cut()
	h.Restart()
	v := h.Checked(id)
	h.WantSteps(v, "a=complete/2")
	var b beaten
	if err := json.Unmarshal(hosttest.Step(v, "a").Output, &b); err != nil {
		t.Fatal(err)
	}
	if b.From == 0 {
		t.Error("the second attempt began anew")
	}
}

// TestValueReferences resolves what events refer to.
func TestValueReferences(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("big | handler: mock/big, config: {bytes: 100000}"))
	h.End(id)
	completed := hosttest.Of(h.History(id), "step.completed", "big")[0]
	ref := payload[struct {
		Ref struct{ Ref string } `json:"results_ref"`
	}](t, completed).Ref.Ref
	doc, err := h.Value(context.Background(), id, ref)
	if err != nil || len(doc) < 100000 {
		t.Errorf("value %q: %d bytes, %v", ref, len(doc), err)
	}
	for _, bad := range []string{"", "result/", "result/7", "result/-1", "else"} {
		if _, err := h.Value(context.Background(), id, bad); err == nil {
			t.Errorf("reference %q is answered", bad)
		}
	}
}

// TestCheckpointAfterError lets a step end in error at its timeout and retries it by hand:
// each attempt goes on where the last one was cut off.
func TestCheckpointAfterError(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/heartbeat, retry: {limit: 1}, timeout: 1500ms, " +
		"config: {every: 20ms, for: 2s, checkpoint: true}"))
	h.WantTask(h.End(id), task.Error)
	var v *task.View
	for range 9 { // one is enough unless the machine is very slow
		h.Retry(id, "")
		if v = h.Checked(id); v.Status == task.Complete {
			break
		}
	}
	h.WantTask(v, task.Complete)
	var b beaten
	if err := json.Unmarshal(hosttest.Step(v, "a").Output, &b); err != nil {
		t.Fatal(err)
	}
	if b.From <= 1 {
		t.Errorf("the last attempt went on from beat %d, want one near the timeout of the first", b.From)
	}
}

// TestStartedInput: the event of an attempt refers to an input that is not small, and the
// reference can be followed although the record has it inline.
func TestStartedInput(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	input := `{"text":"` + strings.Repeat("i", event.MaxStartedInput) + `"}`
	id := h.Create(graph("a"), hosttest.Input(input))
	h.End(id)
	started := payload[event.StepStarted](t, hosttest.Of(h.History(id), event.NameStepStarted, "a")[0])
	if started.Inputs != nil || started.InputsRef == nil || started.InputsRef.Size != int64(len(input)) {
		t.Fatalf("inputs %s, reference %+v; want a reference to %d bytes", started.Inputs, started.InputsRef, len(input))
	}
	doc, err := h.Value(context.Background(), id, started.InputsRef.Ref)
	if err != nil || string(doc) != input {
		t.Errorf("%d bytes, error %v; want the input", len(doc), err)
	}
	if sum := sha256.Sum256(doc); started.InputsRef.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the reference has the digest %s, the input %x", started.InputsRef.SHA256, sum)
	}
}

// TestFailureHistory: the log has every failure whole, the record only the last.
func TestFailureHistory(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/flaky, retry: {base: 1ms}, config: {times: 2, message: not now}"))
	h.WantTask(h.Checked(id), task.Complete)
	failed := hosttest.Of(h.History(id), event.NameStepFailed, "a")
	if len(failed) != 2 {
		t.Fatalf("%d failures in the log, want 2", len(failed))
	}
	for _, e := range failed {
		if p := payload[event.StepFailed](t, e); p.Kind != "retryable" || p.Code != "flaky" || p.Message != "not now" {
			t.Errorf("%s: %+v", e, p.Error)
		}
	}
}

// TestRestoreRenewsTheHost restores a backup beside its source: two hosts that go on from
// one moment do not share an id.
func TestRestoreRenewsTheHost(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a"))
	h.End(id)
	before, err := h.Health(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	backup, home := filepath.Join(t.TempDir(), "backup.db"), t.TempDir()
	if _, err := h.Backup(context.Background(), backup); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Restore(context.Background(), backup, home, false); err != nil {
		t.Fatal(err)
	}
	r := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.Home = home }))
	after, err := r.Health(context.Background())
	if err != nil || after.HostID == before.HostID || after.Store.Epoch <= before.Store.Epoch {
		t.Errorf("host %s in epoch %d after %s in %d, error %v; want another in a later one",
			after.HostID, after.Store.Epoch, before.HostID, before.Store.Epoch, err)
	}
	r.WantTask(r.View(id), task.Complete)
	r.WantTask(r.Checked(r.Create(graph("a"))), task.Complete)
}
