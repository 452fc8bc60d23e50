package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func write(t *testing.T, b binding, names ...string) content {
	t.Helper()
	w, err := newWriter()
	if err != nil {
		t.Fatal(err)
	}
	events := make([]decodedEvent, len(names))
	for i, name := range names {
		if events[i], err = decode(example(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	var c content
	if b.Digest.Window > 0 {
		c, err = w.digest(b, events)
	} else {
		c, err = w.single(b, events[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTexts compares what the shipped templates make with the files under testdata.
func TestTexts(t *testing.T) {
	for _, name := range []string{event.NameTaskFailed, event.NameTaskCompleted, event.NameStepFailed, event.NameSubscriberDeadLettered, event.NamePluginCrashed} {
		c := write(t, binding{}, name)
		golden(t, name+".txt", c.text)
		golden(t, name+".html", c.html)
		golden(t, name+".subject", c.subject)
	}
	digest := binding{Digest: digestConfig{Window: 1}}
	c := write(t, digest, event.NameStepFailed, event.NameTaskFailed, event.NamePluginCrashed)
	golden(t, "digest.txt", c.text)
	golden(t, "digest.html", c.html)
	golden(t, "digest.subject", c.subject)
	if c := write(t, digest, event.NameTaskFailed); c.subject != "Task shop/order failed" {
		t.Errorf("the subject of a digest of one event is %q", c.subject)
	}
}

// TestCatalog writes about every event of the catalog.
func TestCatalog(t *testing.T) {
	for _, entry := range event.Catalog() {
		c := write(t, binding{}, entry.Name)
		if c.subject == "" || c.text == "" || c.html == "" || strings.Contains(c.text+c.subject, "<no value>") {
			t.Errorf("%s: %+v", entry.Name, c)
		}
	}
}

// TestFinal tells the last failure of a step from the others.
func TestFinal(t *testing.T) {
	w, err := newWriter()
	if err != nil {
		t.Fatal(err)
	}
	for final, want := range map[bool]string{true: "Step charge of shop/order failed: oops", false: "Step charge of shop/order failed and is tried again: oops"} {
		e := example(t, event.NameStepFailed)
		if e.Payload, err = json.Marshal(map[string]any{"final": final, "error_message": "oops"}); err != nil {
			t.Fatal(err)
		}
		decoded, err := decode(e)
		if err != nil {
			t.Fatal(err)
		}
		c, err := w.single(binding{}, decoded)
		if err != nil || c.subject != want {
			t.Errorf("subject %q (%v), want %q", c.subject, err, want)
		}
	}
}

func TestOwnTemplates(t *testing.T) {
	tests := map[string]struct {
		binding binding
		want    content
	}{
		"text":         {binding{Text: "{{.Task}}", Subject: "a\n  {{.Type}}"}, content{subject: "a step.failed", text: taskID + "\n"}},
		"HTML":         {binding{HTML: "<p>{{.Payload.error_message}}{{.Payload.evil}}</p>", Subject: "s"}, content{subject: "s", html: "<p>the bank did not answer</p>\n"}},
		"both":         {binding{Text: `{{default "none" .Payload.x}}`, HTML: `{{template "headline" .}}`, Subject: "s"}, content{subject: "s", text: "none\n", html: "Step charge of shop/order failed and is tried again\n"}},
		"long subject": {binding{Subject: strings.Repeat("ü", 300), Text: "t"}, content{subject: strings.Repeat("ü", 197) + "...", text: "t\n"}},
		"helpers":      {binding{Subject: "s", Text: `{{truncate 6 .Payload.error_message}}|{{json .Payload.backtrace}}|{{text .Payload.backtrace}}`}, content{subject: "s", text: "the...|[\n  \"main.charge shop.go:12\"\n]|[\"main.charge shop.go:12\"]\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, write(t, tt.binding, event.NameStepFailed), cmp.AllowUnexported(content{})); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostileText cannot leave its place, in HTML and in headers.
func TestHostileText(t *testing.T) {
	e := example(t, event.NameTaskFailed)
	const evil = "</td><script>alert(1)</script>\r\nBcc: all@example.com\r\n\r\n.\r\nQUIT"
	payload, err := json.Marshal(map[string]any{"error_message": evil, "reason": evil})
	if err != nil {
		t.Fatal(err)
	}
	e.Payload = payload
	s := serveSMTP(t, securityNone)
	m, _ := start(t, s.config(t, securityNone))
	if err := m.mail(t.Context(), e, binding{To: []string{"ops@example.com"}, Subject: "{{.Payload.error_message}}"}); err != nil {
		t.Fatal(err)
	}
	got := s.next(t)
	if strings.Contains(got.html, "<script>") || got.header.Get("Bcc") != "" || len(got.to) != 1 {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(got.text, ".\nQUIT") {
		t.Errorf("the text is not whole: %s", got.text)
	}
}
