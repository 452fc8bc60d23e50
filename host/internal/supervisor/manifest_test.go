package supervisor

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func TestReadManifest(t *testing.T) {
	schema := []byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`)
	m, err := readManifest(&pluginv1.Manifest{
		Name: "pay", Version: "1.2.3-rc.1", Sdk: &pluginv1.Sdk{Language: "go", Version: "0.1.0"},
		ConfigSchema: schema, Limits: &pluginv1.Limits{MaxConcurrency: 5},
		Handlers: []*pluginv1.HandlerSpec{
			{
				Name: "charge", Version: 2, InputSchema: schema, Results: pluginv1.ResultsWanted_RESULTS_WANTED_NONE,
				Idempotency: pluginv1.Idempotency_IDEMPOTENCY_NO, Timeout: durationpb.New(time.Minute), MaxConcurrency: 1,
				Retry: &pluginv1.RetryPolicy{Limit: 7, Backoff: "linear", Base: durationpb.New(time.Second)},
			},
			{Name: "charge", Version: 1},
		},
		Permissions: &pluginv1.Permissions{Env: []string{"TOKEN"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []task.Offer{
		{
			Plugin: "pay", PluginVersion: "1.2.3-rc.1", Handler: "charge", Version: 2, Results: task.ResultsNone, Idempotent: task.IdempotentNo,
			Timeout: time.Minute, MaxConcurrency: 1, Retry: &task.Retry{Limit: 7, Backoff: task.BackoffLinear, Base: task.Duration(time.Second)},
		},
		{Plugin: "pay", PluginVersion: "1.2.3-rc.1", Handler: "charge", Version: 1, Results: task.ResultsAll, Idempotent: task.IdempotentKeyed},
	}
	if diff := cmp.Diff(want, m.offers()); diff != "" {
		t.Errorf("offers (-want +got):\n%s", diff)
	}
	if err := m.checkConfig(json.RawMessage(`{"n":1}`)); err != nil {
		t.Errorf("checkConfig of a good configuration: %v", err)
	}
	if err := m.checkConfig(json.RawMessage(`{"n":"one"}`)); err == nil {
		t.Error("checkConfig of a bad configuration: no error")
	}
}

// TestConfigNullable: where null would do as well, a mistake deeper down is told alone.
func TestConfigNullable(t *testing.T) {
	m := Manifest{ConfigSchema: json.RawMessage(`{
		"properties": {"endpoints": {"anyOf": [
			{"type": "object", "additionalProperties": {"type": "object", "required": ["url"]}},
			{"type": "null"}
		]}}
	}`)}
	err := m.checkConfig(json.RawMessage(`{"endpoints": {"a": {}}}`))
	if want := "does not fit the schema: at /endpoints/a: missing property 'url'"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestReadManifestRefuses(t *testing.T) {
	good := func() *pluginv1.Manifest {
		return &pluginv1.Manifest{Name: "pay", Version: "1.0.0", Handlers: []*pluginv1.HandlerSpec{{Name: "charge", Version: 1}}}
	}
	tests := []struct {
		name   string
		change func(*pluginv1.Manifest)
		want   string
	}{
		{"nothing at all", func(m *pluginv1.Manifest) { m.Name = "" }, `name ""`},
		{"a long name", func(m *pluginv1.Manifest) { m.Name = strings.Repeat("a", 33) }, "name "},
		{"a version that is no semver", func(m *pluginv1.Manifest) { m.Version = "v1.0" }, `version "v1.0": want semver`},
		{"a handler without a version", func(m *pluginv1.Manifest) { m.Handlers[0].Version = 0 }, `handler "charge": version`},
		{"the same handler twice", func(m *pluginv1.Manifest) { m.Handlers = append(m.Handlers, m.GetHandlers()[0]) }, "handler charge@1: declared twice"},
		{"a schema that is no JSON", func(m *pluginv1.Manifest) { m.Handlers[0].OutputSchema = []byte("{") }, `handler "charge": output_schema: no valid JSON`},
		{"a schema that reads a file", func(m *pluginv1.Manifest) { m.ConfigSchema = []byte(`{"$ref":"file:///etc/passwd"}`) }, "references within the schema only"},
		{"a negative timeout", func(m *pluginv1.Manifest) { m.Handlers[0].Timeout = durationpb.New(-1) }, `handler "charge": timeout: want a duration of at least 0`},
		{"an endless timeout", func(m *pluginv1.Manifest) { m.Handlers[0].HeartbeatTimeout = durationpb.New(math.MaxInt64) }, `handler "charge": heartbeat_timeout: want at most 87600h`},
		{"a negative base", func(m *pluginv1.Manifest) {
			m.Handlers[0].Retry = &pluginv1.RetryPolicy{Base: durationpb.New(-time.Second)}
		}, `retry: base: want a duration of at least 0`},
		{"an endless cap", func(m *pluginv1.Manifest) {
			m.Handlers[0].Retry = &pluginv1.RetryPolicy{Cap: durationpb.New(math.MaxInt64)}
		}, `retry: cap: want at most 87600h`},
		{"an endless wait in a list", func(m *pluginv1.Manifest) {
			m.Handlers[0].Retry = &pluginv1.RetryPolicy{List: []*durationpb.Duration{durationpb.New(math.MaxInt64)}}
		}, `retry: list: want at most 87600h`},
		{"a factor that is no number", func(m *pluginv1.Manifest) { m.Handlers[0].Retry = &pluginv1.RetryPolicy{Factor: math.NaN()} }, `retry: factor NaN`},
		{"an infinite factor", func(m *pluginv1.Manifest) { m.Handlers[0].Retry = &pluginv1.RetryPolicy{Factor: math.Inf(1)} }, `retry: factor +Inf`},
		{"an unknown backoff", func(m *pluginv1.Manifest) { m.Handlers[0].Retry = &pluginv1.RetryPolicy{Backoff: "fibonacci"} }, `backoff "fibonacci"`},
		{"an absurd concurrency", func(m *pluginv1.Manifest) { m.Limits = &pluginv1.Limits{MaxConcurrency: 1 << 31} }, "max_concurrency"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := good()
			tt.change(m)
			if _, err := readManifest(m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("readManifest: %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, err := readManifest(nil); err == nil {
		t.Error("readManifest of none: no error")
	}
}
