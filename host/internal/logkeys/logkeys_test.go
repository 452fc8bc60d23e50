package logkeys_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
)

// TestAbout: lines of the host and lines of plugins, which are JSON, name things alike.
func TestAbout(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	about := logkeys.AboutTask("T", "order-7", parent)
	about.Step, about.Attempt = "pay", "T/0/1"
	text, err := json.Marshal(about)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if want[logkeys.TraceID] != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("trace %q, want that of %s", want[logkeys.TraceID], parent)
	}
	want[logkeys.Error] = "no disk"
	got := make(map[string]string)
	pairs := about.With(logkeys.Error, "no disk")
	for i := 0; i+1 < len(pairs); i += 2 {
		got[fmt.Sprint(pairs[i])] = fmt.Sprint(pairs[i+1])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pairs (-JSON +got):\n%s", diff)
	}
	if got := (logkeys.About{}).With(logkeys.Seq, 1); len(got) != 2 {
		t.Errorf("pairs about nothing: %v, want one", got)
	}
}
