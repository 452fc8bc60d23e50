package cli

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// TestSettingsHaveEffect: a key that changes nothing would be a trap.
func TestSettingsHaveEffect(t *testing.T) {
	samples := map[string]string{
		"home": "elsewhere", "plugin_dirs": "p", "template_dirs": "t", "environment": "e", "log_level": "debug",
		"log_format": "text", "health_addr": "127.0.0.1:1", "metrics.listen": "127.0.0.1:1", "store.slow_operation": "1s", "grace": "1s", "cancel_grace": "1s", "start_timeout": "1s",
		"hang_timeout": "20s", "concurrency": "3", "isolation": "strict", "delivery_grace": "1s",
		"events.keep": "forever", "events.workflow": "true", "tracing.keep": "false",
		"retention.complete": "1h", "retention.error": "1h", "retention.cancelled": "1h", "retention.resolved_manually": "1h",
		"retention.last": "3", "retention.export": "dir",
	}
	for _, s := range settings() {
		t.Run(s.key, func(t *testing.T) {
			sample, ok := samples[s.key]
			if !ok {
				t.Fatal("no sample: add one, and whatever makes the key take effect")
			}
			before, after := defaults(), defaults()
			if err := after.apply(s, sample); err != nil {
				t.Fatal(err)
			}
			if s.key == "log_format" {
				var text bytes.Buffer
				a := &app{stderr: &text, now: time.Now}
				a.logger(after, "info").Info("hello")
				if !bytes.Contains(text.Bytes(), []byte("[INFO]")) {
					t.Errorf("logged %q, want text", text.String())
				}
				return
			}
			ignore := cmp.Options{
				cmpopts.IgnoreFields(host.Options{}, "Logger", "Now", "Rand", "Abort"),
				cmpopts.IgnoreFields(host.Retention{}, "Document"),
			}
			if cmp.Equal(before.hostOptions(), after.hostOptions(), ignore) {
				t.Error("the host's options are the same with and without it")
			}
		})
	}
}

// TestSubscriptionsHaveEffect: each key that the documents list is read and reaches the
// host; no other is read.
func TestSubscriptionsHaveEffect(t *testing.T) {
	samples := map[string]string{
		"subscriber": "mail/failures", "template": "shop/order@1.0.0", "events": "[task.failed]", "filter": "payload.final",
		"config": "{to: [a]}", "enabled": "false",
	}
	read := func(t *testing.T, entry string) (host.Options, error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), configFile)
		if err := os.WriteFile(path, []byte("subscriptions:\n  - {"+entry+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := defaults()
		err := cfg.readFile(path)
		return cfg.hostOptions(), err
	}
	without, err := read(t, "subscriber: mail")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, k := range subscriptionKeys() {
		keys = append(keys, k.key)
		t.Run(k.key, func(t *testing.T) {
			entry := k.key + ": " + samples[k.key]
			if k.key != "subscriber" {
				entry = "subscriber: mail, " + entry
			}
			with, err := read(t, entry)
			if err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(without.Subscriptions, with.Subscriptions, cmpopts.IgnoreFields(host.Subscriber{}, "Position")) {
				t.Error("the host's options are the same with and without it")
			}
		})
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(samples)), slices.Sorted(slices.Values(keys))); diff != "" {
		t.Errorf("samples and keys differ (-samples +keys):\n%s", diff)
	}
	if _, err := read(t, "subscriber: mail, order: task"); err == nil {
		t.Error("an unknown key is read")
	}
}

// TestRetentionRulesHaveEffect: each key of a rule is read and reaches the host.
func TestRetentionRulesHaveEffect(t *testing.T) {
	path := filepath.Join(t.TempDir(), configFile)
	rule := "{template: shop/*, complete: forever, error: 1h, cancelled: 2h, resolved_manually: 3h, last: 4}"
	if err := os.WriteFile(path, []byte("retention: {rules: ["+rule+"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := defaults()
	if err := cfg.readFile(path); err != nil {
		t.Fatal(err)
	}
	want := []template.RetentionRule{{Template: "shop/*", Retention: template.Retention{
		Complete: template.Forever, Error: task.Duration(time.Hour), Cancelled: task.Duration(2 * time.Hour),
		ResolvedManually: task.Duration(3 * time.Hour), Last: 4,
	}}}
	if diff := cmp.Diff(want, cfg.hostOptions().Retention.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"{}", "{template: Shop}", "{template: a, complete: 0}", "{template: a, nonsense: 1}", "{complete: 1h}", "1"} {
		if err := os.WriteFile(path, []byte("retention: {rules: ["+bad+"]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := defaults().readFile(path); err == nil {
			t.Errorf("rule %s: no error", bad)
		}
	}
}

func TestKeepFor(t *testing.T) {
	for text, want := range map[string]time.Duration{"720h": 720 * time.Hour, "0": 0, "forever": 0, "0s": 0} {
		cfg := defaults()
		path := filepath.Join(t.TempDir(), configFile)
		if err := os.WriteFile(path, []byte("events: {keep: "+text+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := cfg.readFile(path); err != nil {
			t.Fatal(err)
		}
		if got := cfg.hostOptions().EventsKeep; got != want {
			t.Errorf("events.keep: %s: %s, want %s", text, got, want)
		}
	}
	if got := defaults().hostOptions().EventsKeep; got != host.DefaultEventsKeep {
		t.Errorf("default %s, want %s", got, host.DefaultEventsKeep)
	}
}

func TestDefaultDirs(t *testing.T) {
	home := t.TempDir()
	a := &app{lookup: func(string) (string, bool) { return "", false }, now: time.Now, out: &answer{}}
	c := a.configShowCommand()
	c.Flags().String("home", "", "")
	if err := c.Flags().Set("home", home); err != nil {
		t.Fatal(err)
	}
	cfg, err := a.config(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.TemplateDirs) != 0 {
		t.Errorf("template directories %v of a home that has none", cfg.TemplateDirs)
	}
	templates := filepath.Join(home, "templates")
	makeDir(t, templates)
	if cfg, err = a.config(c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{templates}, cfg.TemplateDirs); diff != "" {
		t.Errorf("template directories (-want +got):\n%s", diff)
	}
}
