package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestLetter runs the plugin as a host does; nothing of the plugin that publishes the event is needed for it.
func TestLetter(t *testing.T) {
	t.Chdir(t.TempDir())
	sub := sdktest.Start(t, plugin()).Subscribe(t, "customers", sdktest.Binding{Config: map[string]string{"greeting": "Dear Ada"}})
	e := sdktest.Event{Payload: Shipped{OrderID: "7", Tracking: "TRK-7"}, Binding: 1}
	for range 2 { // it may come twice
		if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
			t.Fatalf("answer %+v, want acked", got)
		}
	}
	letters, err := filepath.Glob("*")
	if err != nil || len(letters) != 1 {
		t.Fatalf("letters %q, %v; want one", letters, err)
	}
	got, err := os.ReadFile(letters[0])
	if want := "Dear Ada: order 7 is on its way as TRK-7.\n"; err != nil || string(got) != want {
		t.Errorf("the letter says %q, %v; want %q", got, err, want)
	}
}
