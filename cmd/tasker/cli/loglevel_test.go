package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseLogLevels(t *testing.T) {
	tests := []struct {
		name, text string
		all        string
		parts      map[string]string
		err        string
	}{
		{name: "one for all", text: "warn", all: "warn"},
		{name: "parts", text: "warn, delivery=debug,plugin.http=trace", all: "warn", parts: map[string]string{"delivery": "debug", "plugin.http": "trace"}},
		{name: "a part alone", text: "runner=debug", all: "info", parts: map[string]string{"runner": "debug"}},
		{name: "unknown level", text: "loud", err: `"loud": want one of trace, debug, info, warn, error`},
		{name: "misspelt level", text: "info,store=debgu", err: `did you mean "debug"?`},
		{name: "misspelt part", text: "delivry=debug", err: `did you mean "delivery"?`},
		{name: "no part", text: "=debug", err: "want part=level"},
		{name: "no plugin name", text: "plugin.Http=debug", err: `"Http" is no plugin name`},
		{name: "two for all", text: "info,debug", err: `"debug" stands twice`},
		{name: "twice", text: "store=info,store=debug", err: `"store" stands twice`},
		{name: "empty", text: "", err: `"": want one of`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLogLevels(tt.text)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if tt.parts == nil {
				tt.parts = map[string]string{}
			}
			if err != nil || got.all != tt.all || !cmp.Equal(got.parts, tt.parts) {
				t.Errorf("got %+v, %v; want %s and %v", got, err, tt.all, tt.parts)
			}
		})
	}
}

// TestLevelsOfParts: each part logs at its own level, and plugins are told theirs.
func TestLevelsOfParts(t *testing.T) {
	var text bytes.Buffer
	a := &app{stderr: &text, now: time.Now}
	cfg := defaults()
	cfg.LogFormat = formatText
	cfg.LogLevel = "warn,delivery=debug,plugin.http=trace"
	log := a.logger(cfg, cfg.LogLevel)
	log.Info("of the host")
	log.Warn("warning")
	log.Named("delivery").Debug("of delivery")
	log.Named("delivery").Trace("too much")
	log.Named("runner").Info("of the runner")
	log.Named("plugin").Info("of the supervisor")
	var got []string
	for line := range strings.Lines(text.String()) {
		for _, word := range []string{"of the host", "warning", "of delivery", "too much", "of the runner", "of the supervisor"} {
			if strings.Contains(line, word) {
				got = append(got, word)
			}
		}
	}
	if diff := cmp.Diff(got, []string{"warning", "of delivery"}); diff != "" {
		t.Errorf("logged (-got +want):\n%s", diff)
	}
	o := cfg.hostOptions()
	if o.LogLevel != "warn" || o.PluginLogLevels["http"] != "trace" || len(o.PluginLogLevels) != 1 {
		t.Errorf("plugins are told %q and %v, want warn, and trace for http", o.LogLevel, o.PluginLogLevels)
	}
}

// TestLogFormat: people at a terminal read text, programs JSON, unless it is set.
func TestLogFormat(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal to test with: %v", err)
	}
	defer func() { _ = pty.Close() }()
	if !isTerminal(pty) {
		t.Skip("this end of a terminal is none here")
	}
	for _, tt := range []struct {
		format              string
		terminal, elsewhere bool
	}{{formatAuto, false, true}, {formatText, false, false}, {formatJSON, true, true}} {
		cfg := defaults()
		cfg.LogFormat = tt.format
		if got := cfg.logsJSON(pty); got != tt.terminal {
			t.Errorf("%s on a terminal: JSON is %v, want %v", tt.format, got, tt.terminal)
		}
		if got := cfg.logsJSON(&bytes.Buffer{}); got != tt.elsewhere {
			t.Errorf("%s elsewhere: JSON is %v, want %v", tt.format, got, tt.elsewhere)
		}
	}
	if got := defaults().LogFormat; got != formatAuto {
		t.Errorf("the default is %s, want %s", got, formatAuto)
	}
}
