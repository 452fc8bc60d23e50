package cli

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tasker-engine/tasker/host"
)

// TestSettingsHaveEffect: a key that changes nothing would be a trap.
func TestSettingsHaveEffect(t *testing.T) {
	samples := map[string]string{
		"home": "elsewhere", "plugin_dirs": "p", "template_dirs": "t", "environment": "e", "log_level": "debug",
		"log_format": "json", "health_addr": "127.0.0.1:1", "grace": "1s", "cancel_grace": "1s", "start_timeout": "1s",
		"hang_timeout": "20s", "concurrency": "3", "events.workflow": "true",
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
				if !bytes.HasPrefix(text.Bytes(), []byte("{")) {
					t.Errorf("logged %q, want JSON", text.String())
				}
				return
			}
			ignore := cmpopts.IgnoreFields(host.Options{}, "Logger", "Now", "Rand", "Abort")
			if cmp.Equal(before.hostOptions(), after.hostOptions(), ignore) {
				t.Error("the host's options are the same with and without it")
			}
		})
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
