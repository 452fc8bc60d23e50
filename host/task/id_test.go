package task_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/task"
)

const someID = "01HZXW5N8QJ3R6T9V0B2C4D7EF"

// drawAttemptID draws any attempt id that a host can have.
func drawAttemptID(t *rapid.T) task.AttemptID {
	return task.AttemptID{
		Task:    task.ID(rapid.StringMatching(`[0-9ABCDEFGHJKMNPQRSTVWXYZ]{26}`).Draw(t, "task")),
		Ordinal: task.Ordinal(rapid.Uint32().Draw(t, "ordinal")),
		Number:  rapid.Uint32Min(1).Draw(t, "number"),
	}
}

func TestAttemptIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := drawAttemptID(t)
		got, err := task.ParseAttemptID(id.String())
		if err != nil || got != id {
			t.Fatalf("ParseAttemptID(%q) = %+v, %v; want %+v", id.String(), got, err, id)
		}
		if got, want := id.Step(), (task.StepID{Task: id.Task, Ordinal: id.Ordinal}); got != want {
			t.Fatalf("Step() = %v, want %v", got, want)
		}
		if !strings.HasPrefix(id.String(), id.Step().String()+"/") {
			t.Fatalf("attempt id %s does not begin with the step id %s", id, id.Step())
		}
		if got, err := task.ParseID(strings.ToLower(string(id.Task))); err != nil || got != id.Task {
			t.Fatalf("ParseID in lower case = %q, %v; want %q", got, err, id.Task)
		}
	})
}

func TestHandlerRefRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := task.HandlerRef{
			Plugin:  rapid.StringMatching(`[a-z][a-z0-9-]{0,31}`).Draw(t, "plugin"),
			Handler: rapid.StringMatching(`[a-z][a-z0-9_-]{0,31}`).Draw(t, "handler"),
			Version: rapid.Uint32().Draw(t, "version"),
		}
		got, err := task.ParseHandlerRef(ref.String())
		if err != nil || got != ref {
			t.Fatalf("ParseHandlerRef(%q) = %+v, %v; want %+v", ref.String(), got, err, ref)
		}
	})
}

func TestParseBadIDs(t *testing.T) {
	attempt := func(s string) error { _, err := task.ParseAttemptID(s); return err }
	handler := func(s string) error { _, err := task.ParseHandlerRef(s); return err }
	taskID := func(s string) error { _, err := task.ParseID(s); return err }
	tests := []struct {
		name  string
		parse func(string) error
		text  string
	}{
		{"task id empty", taskID, ""},
		{"task id too short", taskID, someID[1:]},
		{"task id too long", taskID, someID + "0"},
		{"task id with a letter outside the alphabet", taskID, "U" + someID[1:]},
		{"task id with a letter whose upper case is shorter", taskID, "ſ" + someID[2:]},
		{"attempt id empty", attempt, ""},
		{"attempt id without a number", attempt, someID + "/1"},
		{"attempt id with four parts", attempt, someID + "/1/1/1"},
		{"attempt id with a bad task", attempt, "x/1/1"},
		{"attempt id with a bad ordinal", attempt, someID + "/-1/1"},
		{"attempt id with an ordinal out of range", attempt, someID + "/4294967296/1"},
		{"attempt id with number 0", attempt, someID + "/1/0"},
		{"attempt id with a number that is none", attempt, someID + "/1/x"},
		{"handler without a plugin", handler, "greet"},
		{"handler with an empty plugin", handler, "/greet"},
		{"handler with an empty name", handler, "hello/"},
		{"handler in upper case", handler, "Hello/greet"},
		{"handler with an underscore in the plugin", handler, "he_llo/greet"},
		{"handler with a slash too many", handler, "hello/greet/now"},
		{"handler with version 0", handler, "hello/greet@0"},
		{"handler with an empty version", handler, "hello/greet@"},
		{"handler with a semver", handler, "hello/greet@1.2.3"},
		{"handler with a plugin that is too long", handler, strings.Repeat("a", 33) + "/greet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.parse(tt.text); !errors.Is(err, task.ErrBadID) {
				t.Errorf("%q: got %v, want ErrBadID", tt.text, err)
			}
		})
	}
}

func TestValidNames(t *testing.T) {
	tests := []struct {
		name                  string
		plugin, handler, step bool
	}{
		{"a", true, true, true},
		{"a1", true, true, true},
		{"a-b", true, true, false},
		{"a_b", false, true, true},
		{"", false, false, false},
		{"1a", false, false, false},
		{"-a", false, false, false},
		{"A", false, false, false},
		{"a b", false, false, false},
		{"aé", false, false, false},
		{strings.Repeat("a", 32), true, true, true},
		{strings.Repeat("a", 33), false, false, true},
		{strings.Repeat("a", 100), false, false, true},
		{strings.Repeat("a", 101), false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := task.ValidPluginName(tt.name); got != tt.plugin {
				t.Errorf("ValidPluginName(%q) = %t, want %t", tt.name, got, tt.plugin)
			}
			if got := task.ValidHandlerName(tt.name); got != tt.handler {
				t.Errorf("ValidHandlerName(%q) = %t, want %t", tt.name, got, tt.handler)
			}
			if got := task.ValidStepName(tt.name); got != tt.step {
				t.Errorf("ValidStepName(%q) = %t, want %t", tt.name, got, tt.step)
			}
		})
	}
}

func TestValidCorrelationID(t *testing.T) {
	tests := []struct {
		id   string
		want bool
	}{
		{"a", true},
		{"order-4711_x.y", true},
		{strings.Repeat("a", 100), true},
		{strings.Repeat("a", 101), false},
		{"", false},
		{"-a", false},
		{"a b", false},
		{"a\n", false},
		{"a/b", false},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			if got := task.ValidCorrelationID(tt.id); got != tt.want {
				t.Errorf("ValidCorrelationID(%q) = %t, want %t", tt.id, got, tt.want)
			}
		})
	}
}

// FuzzParseAttemptID: whatever is accepted has one canonical form that parses to the
// same id.
func FuzzParseAttemptID(f *testing.F) {
	f.Add(someID + "/0/1")
	f.Add(strings.ToLower(someID) + "/007/08")
	f.Add("ſ" + someID[2:] + "/1/1")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := task.ParseAttemptID(s)
		if err != nil {
			if !errors.Is(err, task.ErrBadID) {
				t.Fatalf("ParseAttemptID(%q) = %v, want ErrBadID", s, err)
			}
			return
		}
		if len(id.Task) != task.IDLen || id.Number == 0 {
			t.Fatalf("ParseAttemptID(%q) accepts %+v", s, id)
		}
		if again, err := task.ParseAttemptID(id.String()); err != nil || again != id {
			t.Fatalf("ParseAttemptID(%q) = %+v, %v; want %+v", id.String(), again, err, id)
		}
	})
}

// FuzzParseHandlerRef: the same for handlers.
func FuzzParseHandlerRef(f *testing.F) {
	f.Add("hello/greet")
	f.Add("hello/greet@1")
	f.Add("a-b/c_d@007")
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := task.ParseHandlerRef(s)
		if err != nil {
			if !errors.Is(err, task.ErrBadID) {
				t.Fatalf("ParseHandlerRef(%q) = %v, want ErrBadID", s, err)
			}
			return
		}
		if !task.ValidPluginName(ref.Plugin) || !task.ValidHandlerName(ref.Handler) {
			t.Fatalf("ParseHandlerRef(%q) accepts %+v", s, ref)
		}
		if again, err := task.ParseHandlerRef(ref.String()); err != nil || again != ref {
			t.Fatalf("ParseHandlerRef(%q) = %+v, %v; want %+v", ref.String(), again, err, ref)
		}
	})
}
