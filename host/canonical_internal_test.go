package host

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestIsCanonical: what need not be decoded is seen, and nothing else.
func TestIsCanonical(t *testing.T) {
	for doc, want := range map[string]bool{
		`{}`: true, `[]`: true, `null`: true, `true`: true, `false`: true, `""`: true, `0`: true, `-0`: true, `12.50e+007`: true, `1E-9`: true,
		`{"a":1,"b":[true,{"c":"<é>&","d":null}],"é":0.10}`: true,
		"\"\x7f\"": true,
		strings.Repeat("[", maxScanned-1) + strings.Repeat("]", maxScanned-1): true,
		strings.Repeat("[", maxScanned+1) + strings.Repeat("]", maxScanned+1): false,
		``: false, ` {}`: false, `{} `: false, `{"a": 1}`: false, `{"b":1,"a":2}`: false, `{"a":1,"a":1}`: false, `{"a"}`: false, `{"a":1,}`: false,
		`{,}`: false, `[1,]`: false, `[,]`: false, `[1`: false, `{`: false, `"`: false, `"\u0061"`: false, "\"\n\"": false, "\"\u2028\"": false, "\"\u2029\"": false,
		`01`: false, `-`: false, `1.`: false, `.5`: false, `1e`: false, `+1`: false, `truth`: false, `nul`: false, `{}{}`: false, `1 2`: false,
		`{"":1}`: true, `{"":1,"":2}`: false,
	} {
		if got := isCanonical([]byte(doc)); got != want {
			t.Errorf("%s: got %t, want %t", doc, got, want)
		}
	}
}

// FuzzIsCanonical: what is taken as it is, is what decoding and encoding makes of it.
func FuzzIsCanonical(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[true,{"c":"<é>&","d":null}],"é":0.10}`, `{"b":1,"a":2}`, ` [1, 2] `, "\"\u2028\"", `"\u2028"`, `-0.0e-7`, `{"":{"":[]}}`,
		"\"\x7f\xc2\x80\"", `[[[[]]]]`, `{"a":1}{`, `18446744073709551616`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !utf8.Valid(doc) || !isCanonical(doc) {
			return
		}
		// a space makes the other way be taken
		slow, err := canonicalInput(append([]byte(" "), doc...))
		if err != nil || string(slow) != string(doc) || !json.Valid(doc) {
			t.Errorf("%s is taken as it is; it should be %s, %v", doc, slow, err)
		}
	})
}
