package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// gathering is a binding whose mails tell which events they have.
func gathering(window time.Duration, most int) binding {
	return binding{
		To: []string{"ops@example.com"}, Subject: "{{len .Events}}", Text: "{{range .Events}}{{.ID}} {{end}}",
		Digest: digestConfig{Window: sdk.Duration(window), MaxEvents: most},
	}
}

// ids is what the mail of a digest of these events says.
func ids(numbers ...int) string {
	text := make([]string, len(numbers))
	for i, n := range numbers {
		text[i] = fmt.Sprintf("%s/%d", taskID, n)
	}
	return strings.Join(text, " ") + "\n"
}

// files are those below the directory of digests, without what is random in their names.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			parent, _, _ := strings.Cut(filepath.Base(filepath.Dir(path)), "-")
			found = append(found, parent+"/"+filepath.Ext(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDigest sends when there are enough events, and when the first has waited long enough.
func TestDigest(t *testing.T) {
	s := serveSMTP(t, securityNone)
	c := s.config(t, securityNone)
	m, _ := start(t, c)
	full := gathering(time.Hour, 3)
	for _, n := range []int{2, 1, 2, 3, 4, 4} { // some are delivered again
		if err := m.mail(t.Context(), numbered(t, n), full); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.next(t); got.text != ids(1, 2, 3) || got.header.Get("Subject") != "3" {
		t.Errorf("got %+v, want events 1, 2 and 3, in order", got)
	}
	soon := gathering(50*time.Millisecond, 0)
	if err := m.mail(t.Context(), numbered(t, 5), soon); err != nil {
		t.Fatal(err)
	}
	if got := s.next(t); got.text != ids(5) {
		t.Errorf("got %+v, want event 5", got)
	}
	if err := m.mail(t.Context(), example(t, event.NameTaskFailed), binding{To: []string{"now@example.com"}}); err != nil {
		t.Fatal(err)
	}
	if got := s.next(t); got.to[0] != "now@example.com" {
		t.Errorf("got %+v, want the one that waits for nothing", got)
	}
	if len(s.mails) > 0 {
		t.Errorf("event 4 did not wait: %+v", <-s.mails)
	}
}

// TestDigestRestart sends what an earlier process has left: the same events, and when they are due.
func TestDigestRestart(t *testing.T) {
	s := serveSMTP(t, securityNone)
	c := s.config(t, securityNone)
	m, stop := start(t, c)
	b := gathering(time.Hour, 3)
	for n := range 2 {
		if err := m.mail(t.Context(), numbered(t, n), b); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := m.mail(t.Context(), numbered(t, 2), b); err == nil {
		t.Error("a plugin that ends takes an event")
	}
	m, _ = start(t, c)
	if len(s.mails) > 0 {
		t.Error("the digest was sent before it was due")
	}
	for _, n := range []int{1, 2} { // 1 is delivered again: the process died before its answer
		if err := m.mail(t.Context(), numbered(t, n), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.next(t); got.text != ids(0, 1, 2) {
		t.Errorf("got %+v, want events 0, 1 and 2", got)
	}
}

// TestDigestCrash repeats a mail of which it is not known whether it was accepted, under the same id.
func TestDigestCrash(t *testing.T) {
	s := serveSMTP(t, securityNone)
	c := s.config(t, securityNone)
	m, stop := start(t, c)
	accept := m.digests.send
	died := errors.New("died after the server had accepted it")
	m.digests.send = func(ctx context.Context, b binding, id string, events []sdk.Event[json.RawMessage]) error {
		if err := accept(ctx, b, id, events); err != nil {
			return err
		}
		return died
	}
	b := gathering(time.Hour, 2)
	for n := range 2 {
		if err := m.mail(t.Context(), numbered(t, n), b); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	first := s.next(t)
	start(t, c) // at once, since it is sealed
	second := s.next(t)
	if first.text != ids(0, 1) || second.text != first.text || second.header.Get("Message-Id") != first.header.Get("Message-Id") {
		t.Errorf("got %+v, then %+v; want the same", first, second)
	}
}

// TestDigestForgets what has no events.
func TestDigestForgets(t *testing.T) {
	s := serveSMTP(t, securityNone)
	c := s.config(t, securityNone)
	m, stop := start(t, c)
	if err := m.mail(t.Context(), numbered(t, 1), gathering(time.Hour, 1)); err != nil {
		t.Fatal(err)
	}
	s.next(t)
	stop()
	_, stop = start(t, c)
	stop()
	if got := files(t, c.Digests); len(got) > 0 {
		t.Errorf("there are still %v", got)
	}
}

// TestDigestRefused keeps events whose mail cannot be sent, and takes no more until it can.
func TestDigestRefused(t *testing.T) {
	tests := map[string]struct {
		err     error
		verdict sdk.Verdict
		reason  string
	}{
		"for now":  {reply(450, "come back later"), sdk.Retryable, `the server refuses recipient <ops@example.com>: 450 "4.0.0 come back later"`},
		"for good": {reply(550, "no such user"), sdk.Final, `the server refuses recipient <ops@example.com>: 550 "5.0.0 no such user"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serveSMTP(t, securityNone)
			c := s.config(t, securityNone)
			m, stop := start(t, c)
			s.does(refuses("rcpt", "", tt.err))
			b := gathering(time.Hour, 2)
			for n := range 2 {
				if err := m.mail(t.Context(), numbered(t, n), b); err != nil { // it is on disk, whatever became of the mail
					t.Fatal(err)
				}
			}
			err := m.mail(t.Context(), numbered(t, 2), b)
			if got := sdk.Explain(err); err == nil || err.Error() != tt.reason || got.Verdict != tt.verdict {
				t.Errorf("error %v, %s; want %s, %s", err, got.Verdict, tt.reason, tt.verdict)
			}
			if diff := cmp.Diff([]string{"sealed/.json", "sealed/.json"}, files(t, c.Digests)[1:]); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			s.does(nil)
			stop()
			m, _ = start(t, c)
			if got := s.next(t); got.text != ids(0, 1) {
				t.Errorf("got %+v, want events 0 and 1", got)
			}
			d, err := m.digests.of(b)
			if err != nil {
				t.Fatal(err)
			}
			d.mu.Lock() // until the sender has done with the mail, too
			failure := d.failure
			d.mu.Unlock()
			if failure != nil {
				t.Errorf("the digest has still failed: %v", failure)
			}
			if err := m.mail(t.Context(), numbered(t, 2), b); err != nil {
				t.Errorf("the next digest: %v", err)
			}
		})
	}
}

// TestDigestPauses gives a server more and more time.
func TestDigestPauses(t *testing.T) {
	ds, err := openDigests(t.TempDir(), func(context.Context, binding, string, []sdk.Event[json.RawMessage]) error { return errors.New("no") }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer ds.close()
	if err := ds.add(gathering(time.Hour, 1), numbered(t, 1)); err != nil {
		t.Fatal(err)
	}
	d, err := ds.of(gathering(time.Hour, 1))
	if err != nil {
		t.Fatal(err)
	}
	var pauses []time.Duration
	for range 8 {
		pauses = append(pauses, d.pause)
		d.mu.Lock()
		d.flush()
		d.mu.Unlock()
	}
	want := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 30 * time.Minute, 30 * time.Minute}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
}
