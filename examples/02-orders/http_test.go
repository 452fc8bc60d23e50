package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestClassify asks a real server for every status there is.
func TestClassify(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "/200")
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified && status != http.StatusResetContent {
			_, _ = w.Write([]byte(`{"message":"why"}`))
		}
	}))
	defer server.Close()
	c := newClient()
	for status := 200; status < 600; status++ {
		wantVerdict, wantAfter := sdk.Retryable, time.Duration(0)
		switch status {
		case 400, 401, 403, 404, 422:
			wantVerdict = sdk.Final
		case 429, 503:
			wantAfter = 7 * time.Second
		}
		var out struct {
			Message string `json:"message"`
		}
		err := c.get(t.Context(), fmt.Sprintf("%s/%d", server.URL, status), &out)
		if status <= 226 && status != http.StatusNoContent && status != http.StatusResetContent {
			if err != nil || out.Message != "why" {
				t.Errorf("%d: %v, want the answer", status, err)
			}
			continue
		}
		if status <= 226 {
			continue // success without the JSON that was asked for: see TestAnswersThatDoNotFit
		}
		got := sdk.Explain(err)
		if got.Verdict != wantVerdict || got.RetryAfter != wantAfter || got.Code != fmt.Sprintf("HTTP_%d", status) || got.Source != sdk.FromDownstream {
			t.Errorf("%d: %v, after %v, %s, source %v; want %v, after %v", status, got.Verdict, got.RetryAfter, got.Code, got.Source, wantVerdict, wantAfter)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, test := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0},
		{"3", 3 * time.Second},
		{" 3 ", 3 * time.Second},
		{"0", 0},
		{"301", 300 * time.Second},
		{"18446744073709551615", 300 * time.Second},
		{"99999999999999999999", 0},
		{"-1", 0},
		{"1.5", 0},
		{"soon", 0},
		{noon.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{noon.Add(-time.Hour).Format(http.TimeFormat), time.Second},
		{noon.Add(time.Hour).Format(http.TimeFormat), 300 * time.Second},
	} {
		if got := retryAfter(test.header, noon); got != test.want {
			t.Errorf("retryAfter(%q) = %v, want %v", test.header, got, test.want)
		}
	}
}

func TestAnswersThatDoNotFit(t *testing.T) {
	for name, body := range map[string]string{"cut short": `{"id": "ch_`, "something else": `[]`, "nothing": ``} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
			defer server.Close()
			var out struct {
				ID string `json:"id"`
			}
			got := sdk.Explain(newClient().get(t.Context(), server.URL, &out))
			if got.Err == nil || got.Verdict == sdk.Final || got.Source != sdk.FromDownstream {
				t.Errorf("error = %v, %v; want another attempt", got.Err, got.Verdict)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	got := sdk.Explain(newClient().get(t.Context(), server.URL, nil))
	if got.Err == nil || got.Verdict == sdk.Final || got.Source != sdk.FromDownstream {
		t.Errorf("error = %v, %v; want another attempt", got.Err, got.Verdict)
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("ä", maxExcerpt)
	if got := excerpt([]byte("x" + long)); len(got) > maxExcerpt || !strings.HasPrefix("x"+long, got) {
		t.Errorf("an excerpt of %d bytes, want at most %d of the beginning, in whole characters", len(got), maxExcerpt)
	}
}
