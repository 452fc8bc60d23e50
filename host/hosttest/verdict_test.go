package hosttest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// recorder is a test that notes its failures and runs its cleanups when it is told to.
type recorder struct {
	testing.TB

	cleanups []func()
	errors   []string
}

func (r *recorder) Cleanup(f func())          { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Failed() bool              { return false }

func (r *recorder) end() {
	for _, cleanup := range slices.Backward(r.cleanups) {
		cleanup()
	}
}

// TestUnexpectedWarningFailsTheTest crashes a plugin without saying so before.
func TestUnexpectedWarningFailsTheTest(t *testing.T) {
	const crash = "name: crash\nversion: 1.0.0\nsteps:\n- {name: a, handler: mock/exit, on_crash: fail}\n"
	for _, expected := range []bool{true, false} {
		r := &recorder{TB: t}
		h := hosttest.Start(r)
		if expected {
			h.Expect("plugin crashed")
		}
		h.WantTask(h.Checked(h.Create(crash)), task.Error)
		r.end()
		if found := strings.Contains(strings.Join(r.errors, "\n"), "plugin crashed"); found == expected || len(r.errors) > 1 {
			t.Errorf("expected %t: the test failed with %q", expected, r.errors)
		}
	}
}
