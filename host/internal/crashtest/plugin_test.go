package crashtest_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestPluginCrashes kills the plugin again and again under load: the host lives on, and
// the same must hold as after its own death.
func TestPluginCrashes(t *testing.T) {
	const kills, tasks = 3, 8
	ledger := filepath.Join(t.TempDir(), "ledger")
	h := hosttest.Start(t, hosttest.Plugins(plugins()...))
	var ids []task.ID
	for round := range kills {
		for _, r := range requests(ledger, 1, round, tasks) {
			if bytes.Contains(r.Source, []byte("name: crashes")) {
				continue // a step survives three losses, and the kills are as many
			}
			created, err := h.CreateTask(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			if !created.Duplicate {
				ids = append(ids, created.ID)
			}
		}
		h.KillPlugin("mock")
	}
	for _, id := range ids {
		h.End(id)
	}
	starts, err := hosttest.ReadLedger(ledger)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		v := h.Checked(id)
		want := task.Complete
		if name := v.Template.Name; name == "fails" || name == "slow" {
			want = task.Error
		}
		h.WantTask(v, want)
		if err := errors.Join(hosttest.CheckLedger(v, starts), checkCustom(v, h.History(id)), checkValues(v)); err != nil {
			t.Errorf("%v\n%s", err, hosttest.Describe(v))
		}
	}
}
