package sdk_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// mailConfig is a plugin's configuration with optional powers.
type mailConfig struct {
	SMTP struct {
		Host string `json:"host"`
		Port int    `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	} `json:"smtp"`
	Password string       `json:"password,omitempty" jsonschema:"writeOnly=true"`
	Timeout  sdk.Duration `json:"timeout,omitempty"`

	refuse error
	closed int
}

func (c *mailConfig) Check(ctx context.Context) error {
	sdk.Logger(ctx).Debug("checking", "host", c.SMTP.Host)
	return c.refuse
}

func (c *mailConfig) Close() error { c.closed++; return nil }

// mailer is a handler with optional powers.
type mailer struct {
	config *mailConfig
	check  func() error
	closed int
}

func (m *mailer) Process(context.Context, struct{}) (string, error) { return m.config.SMTP.Host, nil }
func (m *mailer) Check(context.Context) error                       { return m.check() }
func (m *mailer) Close() error                                      { m.closed++; return nil }

func TestConfigure(t *testing.T) {
	fine := func() error { return nil }
	tests := map[string]struct {
		config any
		refuse error
		check  func() error
		want   []string
		output string
	}{
		"accepted": {config: map[string]any{"smtp": map[string]any{"host": "h", "port": 25}}, check: fine, output: `"h"`},
		"missing":  {config: nil, check: fine, want: []string{`: missing property 'smtp'`}},
		"places": {
			config: map[string]any{"smtp": map[string]any{"host": 1, "port": 0, "x": 1}, "timeout": "soon"}, check: fine,
			want: []string{
				`/smtp/host: got number, want string`, `/smtp/port: minimum: got 0, want 1`, `/smtp: additional properties 'x' not allowed`,
				`/timeout: 'soon' does not match pattern`,
			},
		},
		"checks fail": {
			config: map[string]any{"smtp": map[string]any{"host": "h"}}, refuse: errors.New("no such host"), check: func() error { return errors.New("no templates") },
			want: []string{`: check Config: no such host`, `: check handler mail@1: no templates`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config := &mailConfig{refuse: tt.refuse}
			p, err := sdktest.TryStart(t, sdk.Plugin{
				Name: "test", Version: "1.0.0", Config: config,
				Handlers: sdk.Handlers{"mail": sdk.Typed(&mailer{config: config, check: tt.check})},
			}, sdktest.Options{Config: tt.config})
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) })); diff != "" {
				t.Fatalf("problems (-want +got):\n%s", diff)
			}
			if tt.output == "" {
				return
			}
			if got := p.Run(t, sdktest.Attempt{Handler: "mail"}); string(got.Output) != tt.output {
				t.Errorf("output %s (failure %v), want %s", got.Output, got.Failure, tt.output)
			}
		})
	}
}

func TestConfigureNone(t *testing.T) {
	_, err := sdktest.TryStart(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": sdk.Func(increment)}},
		sdktest.Options{Config: map[string]any{"a": 1}})
	if err == nil || err.Error() != ": the plugin takes no configuration" {
		t.Errorf("error %v, want a refusal", err)
	}
}

func TestConfigureOnce(t *testing.T) {
	p := one(t, sdk.Func(increment))
	_, err := pluginv1.NewPluginServiceClient(p.Conn()).Configure(t.Context(), &pluginv1.ConfigureRequest{})
	if err == nil || !strings.Contains(err.Error(), "configured already") {
		t.Errorf("error %v, want a refusal", err)
	}
}

func TestClose(t *testing.T) {
	config := &mailConfig{}
	m := &mailer{config: config, check: func() error { return nil }}
	t.Run("plugin", func(t *testing.T) {
		sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Config: config, Handlers: sdk.Handlers{"mail": sdk.Typed(m), "same": sdk.Typed(m)}},
			sdktest.Options{Config: map[string]any{"smtp": map[string]any{"host": "h"}}})
	})
	if config.closed != 1 || m.closed != 1 {
		t.Errorf("closed %d and %d times, want once each", config.closed, m.closed)
	}
}

// TestCheckPanics refuses the start, and leaves the process alone.
func TestCheckPanics(t *testing.T) {
	config := &mailConfig{}
	_, err := sdktest.TryStart(t, sdk.Plugin{
		Name: "test", Version: "1.0.0",
		Handlers: sdk.Handlers{"mail": sdk.Typed(&mailer{config: config, check: func() error { panic("boom") }})},
	})
	if err == nil || err.Error() != ": check handler mail@1: panic: boom" {
		t.Errorf("error %v, want the panic", err)
	}
}
