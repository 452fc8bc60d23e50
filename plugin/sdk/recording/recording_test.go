package recording_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// TestFile: what is written is read; what is not a recording is said to be none.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	a := recording.Attempt{
		Plugin: "shop", Handler: "charge", Version: 2, Step: "pay", Number: 1, Input: json.RawMessage(`{"cents":100}`),
		Results: map[string]json.RawMessage{"book": json.RawMessage(`1`)}, Outcome: recording.Outcome{Output: json.RawMessage(`true`)},
	}
	path := filepath.Join(dir, "pay.json")
	if err := a.Write(path); err != nil {
		t.Fatal(err)
	}
	files, err := recording.Files(dir, path)
	if err != nil || len(files) != 2 {
		t.Fatalf("files %q, %v", files, err)
	}
	got, err := recording.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	compact := cmp.Comparer(func(a, b json.RawMessage) bool { return normal(t, a) == normal(t, b) })
	if diff := cmp.Diff(&a, got, compact); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, text := range map[string]string{"other": `{"x": 1}`, "later": `{"format": 2, "handler": "x"}`, "none": `[]`} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := recording.Read(path); !errors.Is(err, recording.ErrFormat) {
			t.Errorf("%s: got error %v, want ErrFormat", name, err)
		}
	}
}

func normal(t *testing.T, doc json.RawMessage) string {
	t.Helper()
	if doc == nil {
		return ""
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestCompare(t *testing.T) {
	tests := []struct {
		name      string
		want, got recording.Outcome
		volatile  []string
		diff      []string
	}{
		{name: "the same", want: output(`{"a": [1, 1.0, null]}`), got: output(`{"a": [1.0, 1, null]}`)},
		{name: "null is not nothing", want: output(`null`), diff: []string{"/output: want null, got nothing"}},
		{
			name: "values", want: output(`{"a": {"b/c": 1}, "l": [1, 2], "gone": 1}`), got: output(`{"a": {"b/c": 2}, "l": [1], "more": "x"}`),
			diff: []string{"/output/a/b~1c: want 1, got 2", "/output/gone: want 1, got nothing", "/output/l: want [1,2], got [1]", `/output/more: want nothing, got "x"`},
		},
		{
			name: "what is volatile", want: output(`{"at": 1, "items": [{"id": 1, "n": 2}]}`), got: output(`{"at": {"s": 2}, "items": [{"id": 3, "n": 3}]}`),
			volatile: []string{"/output/at", "/output/items/*/id"}, diff: []string{"/output/items/0/n: want 2, got 3"},
		},
		{
			name: "a failure", want: output(`1`), got: recording.Outcome{Error: &recording.Error{Kind: "permanent"}},
			diff: []string{"/output: want 1, got nothing", `/error: want nothing, got {"kind":"permanent"}`},
		},
		{
			name: "another failure", want: recording.Outcome{Error: &recording.Error{Kind: "permanent", Code: "a"}},
			got:  recording.Outcome{Error: &recording.Error{Kind: "retryable", Code: "b", Message: "m"}},
			diff: []string{`/error/kind: want "permanent", got "retryable"`, `/error/code: want "a", got "b"`},
		},
		{
			name: "events", want: recording.Outcome{Events: []recording.Event{{Name: "a.b", Payload: json.RawMessage(`1`)}}},
			diff: []string{`/events: want [{"name":"a.b","payload":1}], got null`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := recording.Attempt{Outcome: tt.want, Volatile: tt.volatile}
			var got []string
			for _, d := range a.Compare(tt.got) {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(tt.diff, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func output(doc string) recording.Outcome { return recording.Outcome{Output: json.RawMessage(doc)} }

func TestRedact(t *testing.T) {
	const schema = `{"properties": {
		"token": {"type": "string", "writeOnly": true},
		"cards": {"type": "array", "items": {"$ref": "#/$defs/card"}},
		"by": {"additionalProperties": {"writeOnly": true}},
		"self": {"$ref": "#"}
	}, "$defs": {"card": {"properties": {"number": {"writeOnly": true}}}}}`
	got, places := recording.Redact(json.RawMessage(`{"token":"t","n":1,"cards":[{"number":1,"name":"a"}],"by":{"x":{"y":1}},"self":{"token":2}}`), json.RawMessage(schema), "/input")
	if want := `{"by":{"x":"REDACTED"},"cards":[{"name":"a","number":"REDACTED"}],"n":1,"self":{"token":"REDACTED"},"token":"REDACTED"}`; string(got) != want {
		t.Errorf("got %s", got)
	}
	if diff := cmp.Diff([]string{"/input/by/x", "/input/cards/0/number", "/input/self/token", "/input/token"}, places); diff != "" {
		t.Errorf("places (-want +got)\n%s", diff)
	}
	for _, doc := range []string{"", "1", `{"n": 1}`} {
		if got, places := recording.Redact(json.RawMessage(doc), json.RawMessage(schema), ""); string(got) != doc || places != nil {
			t.Errorf("%q became %q at %q", doc, got, places)
		}
	}
}
