package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// FuzzResolve: whatever a config and an input are, what comes of them is JSON without references, or a permanent error.
func FuzzResolve(f *testing.F) {
	f.Add(`{"a": [{"$input": "/x/0"}, 1e400, "$input"]}`, `{"x": [1]}`)
	f.Add(`{"$input": "", "$default": null}`, ``)
	f.Add(`{"$result": "/step/x", "$default": {"a": 1}}`, `null`)
	f.Add(`{"$literal": "x"}`, `[`)
	f.Add(`{"$input": "/~1~0"}`, `{"/~": 12345678901234567890}`)
	f.Fuzz(func(t *testing.T, doc, input string) {
		if !json.Valid([]byte(doc)) || len(input) > 0 && !json.Valid([]byte(input)) {
			return // neither gets past the host
		}
		v := values{ctx: t.Context(), input: json.RawMessage(input)}
		got, err := v.resolve("", json.RawMessage(doc))
		if err != nil {
			if e := sdk.Explain(err); e.Verdict != sdk.Final || e.Code == "" {
				t.Errorf("error %v, %v %q, want a permanent one", err, e.Verdict, e.Code)
			}
			return
		}
		out, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(doc, `"$`) && !strings.Contains(doc, `\u`) && !equal(t, out, []byte(doc)) {
			t.Errorf("%s became %s without a reference", doc, out)
		}
	})
}

// equal reports whether two documents are the same, numbers as they are written.
func equal(t *testing.T, a, b []byte) bool {
	t.Helper()
	var texts []string
	for _, doc := range [][]byte{a, b} {
		value, err := decode(doc)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts[0] == texts[1]
}
