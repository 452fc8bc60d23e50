package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

type values = map[string]any

// configuration is one of the plugin that fits the server.
func (s *server) configuration() values {
	return values{
		"host": "localhost", "port": s.addr.Port, "ca_file": s.caFile, "username": user, "password": password, "from": "tasker@example.com",
	}
}

func to(address string, more ...any) values {
	v := values{"to": []string{address}}
	for i := 0; i < len(more); i += 2 {
		key, _ := more[i].(string)
		v[key] = more[i+1]
	}
	return v
}

// TestDelivery is what a host sees of it: answers to events, by binding.
func TestDelivery(t *testing.T) {
	s := serveSMTP(t, securityStartTLS)
	s.does(func(command, argument string) error {
		switch {
		case command != "rcpt":
			return nil
		case strings.Contains(argument, "later@"):
			return reply(450, "later")
		case strings.Contains(argument, "never@"):
			return reply(550, "never")
		}
		return nil
	})
	config := s.configuration()
	config["digests"] = filepath.Join(t.TempDir(), "digests")
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: config})
	sub := p.Subscribe(
		t, "events", sdktest.Binding{Config: to("ops@example.com")}, sdktest.Binding{Config: to("later@example.com")},
		sdktest.Binding{Config: to("never@example.com")}, sdktest.Binding{Config: to("ops@example.com", "subject", "{{")},
		sdktest.Binding{Config: to("digest@example.com", "digest", values{"window": "1h", "max_events": 2})},
	)
	refused := "the server refuses recipient "
	tests := []sdktest.Answer{
		{Verdict: sdktest.Acked},
		{Verdict: sdktest.Retried, Reason: refused + `<later@example.com>: 450 "4.0.0 later"`},
		{Verdict: sdktest.Rejected, Reason: refused + `<never@example.com>: 550 "5.0.0 never"`},
		{Verdict: sdktest.Retried, Reason: "the binding's config: the template of subject: template: own:1: unclosed action", Unavailable: true},
		{Verdict: sdktest.Acked},
	}
	for i, want := range tests {
		got := sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Binding: i + 1, Task: string(rune('A' + i))})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("binding %d: answer (-want +got):\n%s", i+1, diff)
		}
	}
	if got := s.next(t); got.to[0] != "ops@example.com" || got.user != user {
		t.Errorf("got %+v", got)
	}
	if len(s.mails) > 0 {
		t.Errorf("the digest did not wait: %+v", <-s.mails)
	}
	sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Binding: 5})
	if got := s.next(t); got.to[0] != "digest@example.com" || !strings.HasPrefix(got.text, "2 events\n") {
		t.Errorf("got %+v", got)
	}
}

// TestRefusedConfiguration says where, and not what.
func TestRefusedConfiguration(t *testing.T) {
	_, err := sdktest.TryStart(t, plugin(), sdktest.Options{Config: values{"host": "h", "from": "x", "username": "u", "password": "hidden"}})
	if want := `: check Config: /from: "x" is no address: mail: missing '@' or angle-addr`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestNotConfigured starts without a configuration, as a plugin does that is installed and not used.
func TestNotConfigured(t *testing.T) {
	sub := sdktest.Start(t, plugin()).Subscribe(t, "events", sdktest.Binding{Config: to("ops@example.com")})
	got := sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Binding: 1})
	if want := (sdktest.Answer{Verdict: sdktest.Retried, Unavailable: true, Reason: "the plugin's configuration has no host to send mail to"}); got != want {
		t.Errorf("answer %+v, want %+v", got, want)
	}
}

// TestBinaryCrash kills the plugin's process while a digest has acknowledged events, and starts another.
func TestBinaryCrash(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := serveSMTP(t, securityStartTLS)
	options := sdktest.Options{Config: s.configuration(), DataDir: t.TempDir()}
	binding := sdktest.Binding{Config: to("ops@example.com", "text", "{{range .Events}}{{.ID}} {{end}}", "digest", values{"window": "1h", "max_events": 3})}
	deliver := func(sub *sdktest.Subscription, id string) {
		t.Helper()
		if got := sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Binding: 1, ID: id, Task: id}); got.Verdict != sdktest.Acked {
			t.Fatalf("event %s was %s: %s", id, got.Verdict, got.Reason)
		}
	}
	p := sdktest.Launch(t, binary, options)
	sub := p.Subscribe(t, "events", binding)
	deliver(sub, "a")
	deliver(sub, "b")
	p.Kill()
	p.Exit(t)
	p = sdktest.Launch(t, binary, options)
	sub = p.Subscribe(t, "events", binding)
	deliver(sub, "b") // as if the answer had been lost
	deliver(sub, "c")
	if got := s.next(t); got.text != "a b c \n" && got.text != "a b c\n" {
		t.Errorf("text %q, want events a, b and c, once each", got.text)
	}
	if log := p.Stderr(); strings.Contains(log, password) {
		t.Errorf("the log shows the password: %s", log)
	}
}

// TestBinaryKilledWhileSending kills the process when the server has the mail and has not answered. It may come twice, and
// then under one id.
func TestBinaryKilledWhileSending(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := serveSMTP(t, securityStartTLS)
	answer := make(chan struct{})
	s.does(func(command, _ string) error {
		if command == "data" {
			<-answer
		}
		return nil
	})
	options := sdktest.Options{Config: s.configuration(), DataDir: t.TempDir()}
	p := sdktest.Launch(t, binary, options)
	sub := p.Subscribe(t, "events", sdktest.Binding{Config: to("ops@example.com", "text", "{{range .Events}}{{.ID}} {{end}}", "digest", values{"window": "1ms"})})
	if got := sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Binding: 1, ID: "a"}); got.Verdict != sdktest.Acked {
		t.Fatalf("the event was %s: %s", got.Verdict, got.Reason)
	}
	<-s.entered
	p.Kill()
	p.Exit(t)
	close(answer) // the server accepts the mail, and nobody hears of it
	first := s.next(t)
	sdktest.Launch(t, binary, options)
	second := s.next(t)
	if first.text != "a \n" && first.text != "a\n" || second.text != first.text || second.header.Get("Message-Id") != first.header.Get("Message-Id") {
		t.Errorf("got %+v, then %+v; want the same", first, second)
	}
}
