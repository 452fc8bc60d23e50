package secrets_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/secrets"
)

func TestResolve(t *testing.T) {
	t.Setenv("TASKER_TEST_SECRET", "from the environment")
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command, err := json.Marshal([]string{exe, "-test.list", "^$"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		config, want string
		found        []string
		err          string
	}{
		"nothing":         {config: `{"a": 1}`, want: `{"a": 1}`},
		"no reference":    {config: `{"secret": "plain"}`, want: `{"secret": "plain"}`},
		"env":             {config: `{"a": {"secret": {"env": "TASKER_TEST_SECRET"}}, "n": 12345678901234567890}`, want: `{"a":"from the environment","n":12345678901234567890}`, found: []string{"from the environment"}},
		"file, in a list": {config: `[{"secret": {"file": "` + path + `"}}]`, want: `["from a file"]`, found: []string{"from a file"}},
		"unset":           {config: `{"a": {"secret": {"env": "TASKER_TEST_UNSET"}}}`, err: "/a: secret from the variable TASKER_TEST_UNSET: it is not set"},
		"no file":         {config: `{"a": {"secret": {"file": "/does/not/exist"}}}`, err: "/a: secret from the file /does/not/exist: no such file"},
		"relative":        {config: `{"a": {"secret": {"file": "x"}}}`, err: "want an absolute path"},
		"two":             {config: `{"a": {"secret": {"file": "/x", "env": "Y"}}}`, err: "/a: secret: want one of env, file and command"},
		"unknown":         {config: `{"a": {"secret": {"vault": "x"}}}`, err: "want one of env, file and command"},
		"empty command":   {config: `{"a": {"secret": {"command": ` + string(command) + `}}}`, err: "it is empty"},
		"no command":      {config: `{"a": {"secret": {"command": ["/does/not/exist", "hunter2"]}}}`, err: "the command /does/not/exist: "},
	} {
		t.Run(name, func(t *testing.T) {
			got, found, err := secrets.Resolve(t.Context(), json.RawMessage(tt.config))
			if tt.err != "" {
				if !errors.Is(err, secrets.ErrSecret) || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("got %v, want it to say %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(got), tt.want); diff != "" {
				t.Errorf("configuration (-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(found, tt.found); diff != "" {
				t.Errorf("secrets (-got +want):\n%s", diff)
			}
		})
	}
}

func TestRedactor(t *testing.T) {
	r := secrets.NewRedactor([]string{"hunter", "hunter2", "abc", `quo"te`})
	for in, want := range map[string]string{
		"the password is hunter2":  "the password is ***",
		"hunters hunt":             "***s hunt",
		"abc is too short":         "abc is too short",
		`{"key": "quo\"te"}`:       `{"key": "***"}`,
		"nothing of that is there": "nothing of that is there",
	} {
		if got := r.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	err := errors.New("no hunter2")
	if got := r.Error(err); got.Error() != "no ***" || !errors.Is(got, err) {
		t.Errorf("Error() = %v, want it without the secret, wrapping the other", got)
	}
	if got := (*secrets.Redactor)(nil).Text("hunter2"); got != "hunter2" {
		t.Errorf("without secrets Text() = %q", got)
	}
}
