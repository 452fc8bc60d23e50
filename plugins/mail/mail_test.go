package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"mime"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMain makes the test binary its own plugin.
func TestMain(m *testing.M) {
	if sdktest.Launched() {
		main()
	}
	goleak.VerifyTestMain(m)
}

const taskID = "01JD3Z9Q7V8T4K2M6N1P5R3S0W"

// example is the catalog's example of an event, as it would be delivered.
func example(t *testing.T, name string) sdk.Event[json.RawMessage] {
	t.Helper()
	entry, ok := event.Lookup(name)
	if !ok {
		t.Fatalf("the catalog has no %s", name)
	}
	e := sdk.Event[json.RawMessage]{
		ID: taskID + "/7", Type: name, Seq: 4711, At: time.Date(2026, 5, 4, 12, 0, 1, 500_000_000, time.UTC), Payload: entry.Example, Delivery: 1,
	}
	if entry.Category == "task" || entry.Category == "step" {
		e.Task, e.TaskSeq, e.Namespace, e.Template, e.Version, e.CorrelationID = taskID, 7, "shop", "order", "1.2.0", "web-8842"
	}
	if entry.Category == "step" {
		e.Step = "charge"
	}
	return e
}

// numbered is an event that is told from others by its number.
func numbered(t *testing.T, n int) sdk.Event[json.RawMessage] {
	t.Helper()
	e := example(t, event.NameTaskFailed)
	e.Seq = uint64(n)
	e.ID = taskID + "/" + string(rune('0'+n))
	return e
}

// config is one of the plugin that fits the server.
func (s *server) config(t *testing.T, security string) config {
	t.Helper()
	return config{
		Host: "localhost", Port: s.addr.Port, Security: security, CAFile: s.caFile,
		From: "Tasker <tasker@example.com>", Digests: filepath.Join(t.TempDir(), "digests"), Timeout: sdk.Duration(20 * time.Second),
	}
}

// start makes the plugin ready; stop ends it before the test does.
func start(t *testing.T, c config) (m *mailer, stop func()) {
	t.Helper()
	m = &mailer{config: c}
	if err := m.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// TestSecurity sends by every way to protect the connection, signed in where that is possible.
func TestSecurity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		security string
		change   func(*config)
		user     string
	}{
		"starttls":      {securityStartTLS, func(c *config) { c.Username, c.Password = user, password }, user},
		"tls":           {securityTLS, func(c *config) { c.Username, c.Password = user, password }, user},
		"password file": {securityTLS, func(c *config) { c.Username, c.PasswordFile = user, file }, user},
		"anonymous":     {securityStartTLS, func(*config) {}, ""},
		"none":          {securityNone, func(*config) {}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serveSMTP(t, tt.security)
			c := s.config(t, tt.security)
			tt.change(&c)
			m, _ := start(t, c)
			if err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"ops@example.com"}}); err != nil {
				t.Fatal(err)
			}
			got := s.next(t)
			if got.user != tt.user || got.from != "tasker@example.com" || !slices.Equal(got.to, []string{"ops@example.com"}) {
				t.Errorf("got %+v, want it from user %q", got, tt.user)
			}
		})
	}
}

// TestMail compares all of a mail but its date.
func TestMail(t *testing.T) {
	s := serveSMTP(t, securityNone)
	m, _ := start(t, s.config(t, securityNone))
	b := binding{
		To: []string{"Ops <ops@example.com>", "dev@example.com"}, Cc: []string{"cc@example.com"}, Bcc: []string{"secret@example.com"},
		ReplyTo: "desk@example.com", Headers: map[string]string{"X-Team": "größe", "Importance": "high"},
	}
	if err := m.mail(t.Context(), example(t, event.NameTaskFailed), b); err != nil {
		t.Fatal(err)
	}
	got := s.next(t)
	if diff := cmp.Diff([]string{"cc@example.com", "dev@example.com", "ops@example.com", "secret@example.com"}, got.receivers()); diff != "" {
		t.Errorf("recipients (-want +got):\n%s", diff)
	}
	if _, err := got.header.Date(); err != nil {
		t.Errorf("date: %v", err)
	}
	delete(got.header, "Date")
	if kind := got.header.Get("Content-Type"); !strings.HasPrefix(kind, "multipart/alternative;") {
		t.Errorf("content type %q", kind)
	}
	delete(got.header, "Content-Type")
	headers := make(map[string]string)
	for name := range got.header {
		text, err := (&mime.WordDecoder{}).DecodeHeader(got.header.Get(name))
		if err != nil {
			t.Error(err)
		}
		headers[name] = text
	}
	want := map[string]string{
		"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All", "Mime-Version": "1.0",
		"User-Agent": "tasker-plugin-mail/1.0.0", "X-Mailer": "tasker-plugin-mail/1.0.0",
		"From": `"Tasker" <tasker@example.com>`, "To": `"Ops" <ops@example.com>, <dev@example.com>`, "Cc": "<cc@example.com>", "Reply-To": "<desk@example.com>",
		"Subject": "Task shop/order failed", "Message-Id": "<" + taskID + ".7@example.com>", "References": "<" + taskID + "@example.com>",
		"X-Tasker-Event": "task.failed", "X-Tasker-Task": taskID, "X-Team": "größe", "Importance": "high",
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	golden(t, "task.failed.txt", got.text)
	golden(t, "task.failed.html", got.html)
}

// TestRefusals maps what servers say to what the host shall do.
func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		does    func(string, string) error
		verdict sdk.Verdict
		after   time.Duration
		reason  string
		arrives bool
		away    bool
	}{
		"greylisted":       {refuses("rcpt", "", reply(450, "come back later")), sdk.Undecided, 0, `the server refuses recipient <a@example.com>: 450 "4.0.0 come back later"`, false, false},
		"one of two later": {refuses("rcpt", "b@", reply(450, "come back later")), sdk.Undecided, 0, `the server refuses recipient <b@example.com>: 450 "4.0.0 come back later"`, false, false},
		"unknown":          {refuses("rcpt", "", reply(550, "no such user")), sdk.Final, 0, `the server refuses recipient <a@example.com>: 550 "5.0.0 no such user"; the server refuses recipient <b@example.com>: 550 "5.0.0 no such user"`, false, false},
		"one of two":       {refuses("rcpt", "b@", reply(550, "no such user")), sdk.Final, 0, `the mail went to 1 of 2 recipients: the server refuses recipient <b@example.com>: 550 "5.0.0 no such user"`, true, false},
		"sender":           {refuses("mail", "", reply(553, "not you")), sdk.Final, 0, `the server refuses sender <tasker@example.com>: 553 "5.0.0 not you"`, false, false},
		"sign in first":    {refuses("mail", "", reply(530, "sign in first")), sdk.Retryable, loginPause, `the server refuses sender <tasker@example.com>: 530 "5.0.0 sign in first"`, false, true},
		"spam":             {refuses("data", "", reply(554, "spam")), sdk.Final, 0, `the server refuses the mail: 554 "5.0.0 spam"`, false, false},
		"full":             {refuses("data", "", reply(452, "disk full")), sdk.Undecided, 0, `the server refuses the mail: 452 "4.0.0 disk full"`, false, false},
		"no service":       {refuses("connect", "", reply(421, "not now")), sdk.Retryable, 0, "reach the server: ", false, true},
		"stops":            {refuses("mail", "", reply(421, "I stop")), sdk.Retryable, 0, `the server refuses sender <tasker@example.com>: 421 "4.0.0 I stop"`, false, true},
		"drops":            {refuses("data", "", errDrop), sdk.Undecided, 0, "the connection to the server broke: ", false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serveSMTP(t, securityStartTLS)
			s.does(tt.does)
			m, _ := start(t, s.config(t, securityStartTLS))
			err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"a@example.com", "b@example.com"}})
			got := sdk.Explain(err)
			if err == nil || !strings.HasPrefix(err.Error(), tt.reason) || got.Verdict != tt.verdict || got.RetryAfter != tt.after || got.Unavailable != tt.away {
				t.Errorf("error %v, %+v; want %s, %s after %s, unavailable %t", err, got, tt.reason, tt.verdict, tt.after, tt.away)
			}
			if tt.arrives {
				if got := s.next(t); !slices.Equal(got.to, []string{"a@example.com"}) {
					t.Errorf("recipients %v", got.to)
				}
			}
			s.does(nil)
			if err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"a@example.com", "b@example.com"}}); err != nil {
				t.Errorf("again: %v", err)
			}
		})
	}
}

// TestUnreachable is about servers that do not come as far as the mail: it waits for them.
func TestUnreachable(t *testing.T) {
	s := serveSMTP(t, securityStartTLS)
	plain := serveSMTP(t, securityNone)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }() // it never accepts: the connection stands and nothing comes
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	port := func(l net.Listener) int { a, _ := l.Addr().(*net.TCPAddr); return a.Port }
	tests := map[string]struct {
		change func(*config)
		after  time.Duration
		reason string
	}{
		"password": {
			func(c *config) { c.Username, c.Password = user, "wrong" },
			loginPause, "the server refuses the plugin's credentials, correct its configuration: SMTP AUTH failed: 535 ",
		},
		"nobody knows the CA": {func(c *config) { c.CAFile = "" }, 0, "reach the server: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"another name":        {func(c *config) { c.ServerName = "mail.example.com" }, 0, "reach the server: tls: failed to verify certificate: x509: certificate is valid for localhost"},
		"no STARTTLS":         {func(c *config) { c.Port = plain.addr.Port }, 0, "reach the server: STARTTLS mode set to"},
		"TLS too early":       {func(c *config) { c.Security = securityTLS }, 0, "reach the server: tls: first record does not look like a TLS handshake"},
		"refused":             {func(c *config) { c.Port = port(closed) }, 0, "reach the server: dial tcp "},
		"silent": {func(c *config) {
			c.Host, c.Port, c.Timeout = "127.0.0.1", port(silent), sdk.Duration(100*time.Millisecond)
		}, 0, "the server did not finish within 100ms"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := s.config(t, securityStartTLS)
			tt.change(&c)
			m, _ := start(t, c)
			err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"ops@example.com"}})
			got := sdk.Explain(err)
			if err == nil || !strings.HasPrefix(err.Error(), tt.reason) || !got.Unavailable || got.RetryAfter != tt.after {
				t.Errorf("error %v, unavailable %t, after %s; want %s after %s", err, got.Unavailable, got.RetryAfter, tt.reason, tt.after)
			}
			if err != nil && strings.Contains(err.Error(), "wrong") {
				t.Errorf("error %v shows the password", err)
			}
		})
	}
}

// TestHangs gives a server up that takes the mail and does not answer, and one whose plugin ends.
func TestHangs(t *testing.T) {
	s := serveSMTP(t, securityNone)
	hold := make(chan struct{})
	s.does(func(command, _ string) error {
		if command == "data" {
			<-hold
		}
		return nil
	})
	defer close(hold)
	t.Run("time is up", func(t *testing.T) {
		c := s.config(t, securityNone)
		c.Timeout = sdk.Duration(200 * time.Millisecond)
		m, _ := start(t, c)
		err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"ops@example.com"}})
		if err == nil || sdk.Explain(err).Verdict != sdk.Undecided || err.Error() != "the server did not finish within 200ms" {
			t.Errorf("error %v, want one that is retried", err)
		}
		<-s.entered
	})
	t.Run("cancelled", func(t *testing.T) {
		m, _ := start(t, s.config(t, securityNone))
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- m.mail(ctx, example(t, event.NameTaskFailed), binding{To: []string{"ops@example.com"}})
		}()
		<-s.entered
		cancel(errors.New("over"))
		if err := <-ended; err == nil || err.Error() != "over" {
			t.Errorf("error %v, want the end of the context", err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		c := s.config(t, securityNone)
		c.Connections = 1
		m, _ := start(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- m.mail(ctx, example(t, event.NameTaskFailed), binding{To: []string{"ops@example.com"}})
		}()
		<-s.entered
		m.post.config.Timeout = sdk.Duration(time.Millisecond)
		err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"ops@example.com"}})
		if err == nil || err.Error() != "all 1 connections to the server are busy" || sdk.Explain(err).RetryAfter == 0 || !sdk.Explain(err).Unavailable {
			t.Errorf("error %v, want that all are busy", err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that it was cancelled", err)
		}
	})
}

func TestConfig(t *testing.T) {
	fine := config{Host: "localhost", From: "tasker@example.com"}
	none := filepath.Join(t.TempDir(), "none")
	tests := map[string]struct {
		change func(*config)
		want   string
	}{
		"fine":              {func(*config) {}, ""},
		"not used":          {func(c *config) { *c = config{} }, ""},
		"no server":         {func(c *config) { c.Host = "" }, "/host: there is a sender, but no server"},
		"timeout":           {func(c *config) { c.Timeout = sdk.Duration(time.Hour) }, "/timeout: 1h0m0s is not between 0s and 2m0s"},
		"two passwords":     {func(c *config) { c.Username, c.Password, c.PasswordFile = "u", "p", "f" }, "/password_file: there is a password, too; set one of them"},
		"password in clear": {func(c *config) { c.Username, c.Security = "u", securityNone }, "/username: without TLS everybody could read the password"},
		"nobody's password": {func(c *config) { c.Password = "p" }, "/username: there is a password, but no user"},
		"sender":            {func(c *config) { c.From = "tasker" }, `/from: "tasker" is no address: `},
		"no password file":  {func(c *config) { c.Username, c.PasswordFile = "u", none }, "/password_file: open "},
		"no CA file":        {func(c *config) { c.CAFile = none }, "/ca_file: open "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &mailer{config: fine}
			tt.change(&m.config)
			m.Digests = filepath.Join(t.TempDir(), "digests")
			err := m.Check(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			_ = m.Close()
		})
	}
}

// TestBindingCheck refuses what can be told without an event.
func TestBindingCheck(t *testing.T) {
	to := []string{"ops@example.com"}
	tests := map[string]struct {
		binding binding
		want    string
	}{
		"recipient":       {binding{To: []string{"ops@example.com", "ops"}}, `/to/1: "ops" is no address: `},
		"copy":            {binding{To: to, Bcc: []string{"a@b\r\nc"}}, `/bcc/0: "a@b\r\nc" is no address: `},
		"answers":         {binding{To: to, ReplyTo: "x"}, `/reply_to: "x" is no address: `},
		"header":          {binding{To: to, Headers: map[string]string{"Bcc": "x@example.com"}}, "/headers/Bcc: want one line"},
		"header in lines": {binding{To: to, Headers: map[string]string{"X-A": "b\r\nBcc: x@example.com"}}, "/headers/X-A: want one line"},
		"template":        {binding{To: to, Text: "{{"}, "the template of text: template: own:1: unclosed action"},
		"digest":          {binding{To: to, HTML: "{{end}}", Digest: digestConfig{Window: 1}}, "the template of html: template: own:1: unexpected {{end}}"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tt.binding.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
	fine := binding{To: to, Subject: "{{.Type}}", Text: "{{details .}}", HTML: `{{template "headline" .}}`, Headers: map[string]string{"X-A": "b"}}
	if err := fine.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBinding rejects events of which a template makes no mail.
func TestBinding(t *testing.T) {
	s := serveSMTP(t, securityNone)
	m, _ := start(t, s.config(t, securityNone))
	to := []string{"ops@example.com"}
	tests := map[string]struct {
		binding binding
		want    string
	}{
		"HTML template":     {binding{To: to, HTML: "{{.Nope}}"}, "the template of html: "},
		"of a digest":       {binding{To: to, Text: "{{.Type}}", Digest: digestConfig{Window: 1}}, "the template of text: "},
		"far too much text": {binding{To: to, Text: `{{printf "%2000000d" 1}}`}, "the template of text: the text is too large"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := m.mail(t.Context(), example(t, event.NameTaskFailed), tt.binding)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || sdk.Explain(err).Verdict != sdk.Final {
				t.Errorf("error %v, want %s, permanently", err, tt.want)
			}
		})
	}
	if len(s.mails) > 0 {
		t.Error("a mail was sent")
	}
}
