package secrets_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	r := secrets.NewRedactor([]string{"hunter", "hunter2", "abc", `quo"te`, "correct horse", "12345678"}, []string{"application/json"})
	texts := map[string]string{
		"the password is hunter2":    "the password is ***",
		"hunters hunt":               "***s hunt",
		"abc is too short":           "abc is too short",
		`{"key": "quo\"te"}`:         `{"key": "***"}`,
		"GET /?key=correct+horse":    "GET /?key=***",
		"GET /correct%20horse/x":     "GET /***/x",
		"type application/json":      "type ***",
		"nothing of that is there":   "nothing of that is there",
		"correct horse of 123456789": "*** of ***9",
	}
	for in, want := range texts {
		if got := r.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	documents := map[string]string{
		`{"b": "correct horse", "a": "hunter2"}`:                 `{"b": "***", "a": "hunter2"}`, // too short for data
		`["\u0063orrect horse!", "a \\", "\"", "correct horse"]`: `["***!", "a \\", "\"", "***"]`,
		`{"correct horse": 12345678, "x": "12345678"}`:           `{"***": 12345678, "x": "***"}`,
		`{"type": "application/json"}`:                           `{"type": "application/json"}`,
		`{"x": "correct horse`:                                   `{"x": "correct horse`, // not JSON
		``:                                                       ``,
	}
	for in, want := range documents {
		if got := string(r.Data([]byte(in))); got != want {
			t.Errorf("Data(%s) = %s, want %s", in, got, want)
		}
	}
	if got, want := string(r.JSON(json.RawMessage(`{"n": 1234, "s": "hunter2"}`))), `{"n": 1234, "s": "***"}`; got != want {
		t.Errorf("JSON() = %s, want %s", got, want)
	}
	if got := r.Word("hunter2 correct horse"); got != "hunter2 ***" {
		t.Errorf("Word() = %s", got)
	}
	if !r.Finds([]byte("has hunter2 in it")) || r.Finds([]byte("has not")) {
		t.Error("Finds does not find what is there")
	}
	err := errors.New("no hunter2")
	if got := r.Error(err); got.Error() != "no ***" || !errors.Is(got, err) {
		t.Errorf("Error() = %v, want it without the secret, wrapping the other", got)
	}
	none := (*secrets.Redactor)(nil)
	if got := none.Text("hunter2") + string(none.Data([]byte("1"))) + none.Word("x"); got != "hunter21x" || none.Finds([]byte("x")) || secrets.NewRedactor([]string{"abc"}, nil) != nil {
		t.Errorf("without secrets %q", got)
	}
}

// TestMarked: what a schema marks is secret, what stands in a marked map only in texts.
func TestMarked(t *testing.T) {
	const schema = `{"properties": {"token": {"type": "string", "writeOnly": true}, "keys": {"items": {"writeOnly": true}}, "headers": {"type": "object", "writeOnly": true}}}`
	found, inTexts := secrets.Marked(json.RawMessage(`{"token": "a", "keys": ["b", 1], "headers": {"X": ["c"]}, "url": "d"}`), json.RawMessage(schema))
	slices.Sort(found)
	if diff := cmp.Diff(found, []string{"a", "b"}); diff != "" {
		t.Errorf("found (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(inTexts, []string{"c"}); diff != "" {
		t.Errorf("in texts (-got +want):\n%s", diff)
	}
}

// FuzzData: a document stays one, and the secret is in none of its texts.
func FuzzData(f *testing.F) {
	for _, doc := range []string{`"correct horse"`, `{"\u0063orrect horse": ["\\", "correct\u0020horse"]}`, `[1, "x`} {
		f.Add([]byte(doc))
	}
	r := secrets.NewRedactor([]string{"correct horse"}, nil)
	f.Fuzz(func(t *testing.T, doc []byte) {
		var before, after any
		if json.Unmarshal(doc, &before) != nil {
			r.Data(doc)
			return
		}
		got := r.Data(doc)
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%s became %s: %v", doc, got, err)
		}
		if text, err := json.Marshal(after); err != nil || strings.Contains(string(text), "correct horse") {
			t.Errorf("%s became %s", doc, got)
		}
	})
}
