package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/secrets"
)

func TestForms(t *testing.T) {
	const key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7\nshort\n-----END PRIVATE KEY-----\n"
	r := secrets.NewRedactor([]string{"correct horse", "p@ss/word+1", key, `line one of two\nline two`, "overlap-one", "one-overlap-two", "seven77", "a<b>&c&d>e"}, nil)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, tt := range map[string]struct{ in, want string }{
		"base64":                   {"have " + b64("correct horse") + ".", "have ***."},
		"base64 of URLs":           {"have " + base64.URLEncoding.EncodeToString([]byte("p@ss/word+1")) + ".", "have ***."},
		"base64 without padding":   {"have " + base64.RawStdEncoding.EncodeToString([]byte("correct horse")) + ".", "have ***."},
		"in base64, first place":   {b64("abc" + "correct horse"), "YWJj***"},
		"in base64, second place":  {b64("a" + "correct horse" + "-"), "YW***Ut"},
		"in base64, third place":   {b64("me" + "correct horse" + "?"), "bWV***Pw=="},
		"basic auth":               {"Basic " + b64("user:correct horse"), "Basic dXNlcjp***"},
		"too short for base64":     {b64("seven77"), b64("seven77")},
		"hexadecimal":              {hex.EncodeToString([]byte("correct horse")) + "00", "***00"},
		"upper hexadecimal":        {strings.ToUpper(hex.EncodeToString([]byte("correct horse"))), "***"},
		"query":                    {"?a=" + url.QueryEscape("p@ss/word+1"), "?a=***"},
		"JSON":                     {`{"a": "a\u003cb\u003e\u0026c\u0026d\u003ee"}`, `{"a": "***"}`},
		"JSON without HTML's":      {`{"a": "a<b>&c&d>e"}`, `{"a": "***"}`},
		"several lines":            {"key: " + key + "end", "key: ***end"},
		"one of the lines":         {"cannot read AASCBKcwggSjAgEAAoIBAQC7 at 3", "cannot read *** at 3"},
		"a short one of the lines": {"a short story", "a short story"},
		"what frames a key":        {"-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"},
		"with escapes":             {`has line one of two\nline two`, "has ***"},
		"escapes resolved":         {"has line one of two\nline two", "has ***"},
		"overlapping":              {"an overlap-one-overlap-two.", "an ***."},
		"one after the other":      {"seven77seven77", "******"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.Text(tt.in); got != tt.want {
				t.Errorf("Text(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

// TestNothingRemains: of drawn secrets nothing remains in a text that holds them in drawn forms, and a text without any stays
// as it is.
func TestNothingRemains(t *testing.T) {
	forms := []func(string) string{
		func(s string) string { return s }, url.QueryEscape, url.PathEscape,
		func(s string) string { return hex.EncodeToString([]byte(s)) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u:" + s + "@h")) },
		func(s string) string { doc, _ := json.Marshal(s); return string(doc) }, //nolint:errchkjson // a text
	}
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(rapid.StringMatching(`[a-c/+"<\\ ]{8,20}`), 1, 5).Draw(t, "secrets")
		r := secrets.NewRedactor(drawn, nil)
		var text strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "pieces") {
			s := rapid.SampledFrom(drawn).Draw(t, "secret")
			text.WriteString(rapid.StringMatching(`[x-z]{0,3}`).Draw(t, "between"))
			text.WriteString(rapid.SampledFrom(forms).Draw(t, "form")(s))
		}
		got := r.Text(text.String())
		for _, s := range drawn {
			for i, form := range forms[:6] {
				if strings.Contains(got, form(s)) {
					t.Fatalf("%q became %q, which has %q in form %d", text.String(), got, s, i)
				}
			}
		}
		if again := r.Text(got); again != got {
			t.Fatalf("%q became %q, and that %q", text.String(), got, again)
		}
		const without = "the lazy dog: 1234567890, ZXYZXYZXYZXYZXYZXYZ=="
		if got := r.Text(without); got != without {
			t.Fatalf("%q became %q", without, got)
		}
	})
}

// TestManySecrets: each of many is found.
func TestManySecrets(t *testing.T) {
	found := many(500)
	r := secrets.NewRedactor(found, nil)
	for _, s := range found {
		if got := r.Text("it is " + s + "!"); got != "it is ***!" {
			t.Errorf("of %q remains %q", s, got)
		}
		if !r.Finds([]byte("it is " + s)) {
			t.Errorf("%q is not found", s)
		}
	}
}

func many(n int) []string {
	found := make([]string, n)
	for i := range found {
		found[i] = fmt.Sprintf("secret-%d-%x", i, i*7919)
	}
	return found
}

// BenchmarkRedact compares a look through a result of 64 KiB with one search for one text that is not there.
func BenchmarkRedact(b *testing.B) {
	doc := []byte(`{"text": "` + strings.Repeat("all is well with the order of the day; ", 1<<16/39) + `"}`)
	b.Run("one-search", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			if bytes.Contains(doc, []byte("correct horse")) {
				b.Fatal("found what is not there")
			}
		}
	})
	for _, n := range []int{0, 1, 10, 500} {
		r := secrets.NewRedactor(many(n), nil)
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if got := r.Data(doc); len(got) != len(doc) {
					b.Fatal("found what is not there")
				}
			}
		})
	}
}
