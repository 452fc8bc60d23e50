package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

var update = flag.Bool("update", false, "write the golden files")

// example is the catalog's example of an event, as it would be delivered.
func example(t *testing.T, name string) sdk.Event[json.RawMessage] {
	t.Helper()
	entry, ok := event.Lookup(name)
	if !ok {
		t.Fatalf("the catalog has no %s", name)
	}
	e := sdk.Event[json.RawMessage]{
		ID: "01JD3Z9Q7V8T4K2M6N1P5R3S0W/7", Type: name, Seq: 4711, At: time.Date(2026, 5, 4, 12, 0, 1, 500_000_000, time.UTC),
		Payload: entry.Example, Delivery: 1,
	}
	if entry.Category == "task" || entry.Category == "step" {
		e.Task, e.TaskSeq, e.Namespace, e.Template, e.Version = "01JD3Z9Q7V8T4K2M6N1P5R3S0W", 7, "shop", "order", "1.2.0"
		e.CorrelationID = "web-8842"
		e.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	}
	if entry.Category == "step" {
		e.Step = "charge"
	}
	return e
}

// TestBodies compares whole bodies with those under testdata.
func TestBodies(t *testing.T) {
	own := `{"who": {{json .Task}}, "text": "{{quoted .Payload.error_message}} ({{default "no code" .Payload.no_such_code}})", "attempt": {{json .Payload.attempt_number}}}`
	bindings := map[string]binding{
		"json":        {},
		"cloudevents": {Format: formatCloudEvents},
		"slack":       {Format: formatSlack},
		"teams":       {Format: formatTeams},
		"discord":     {Format: formatDiscord},
		"template":    {Template: own},
	}
	w := &webhooks{}
	for _, name := range []string{event.NameStepFailed, event.NameTaskFailed, event.NameTaskCompleted, event.NamePluginCrashed, event.NameSubscriberDeadLettered} {
		for format, b := range bindings {
			t.Run(name+"/"+format, func(t *testing.T) {
				m, err := w.encode(example(t, name), b)
				if err != nil {
					t.Fatal(err)
				}
				var indented bytes.Buffer
				if err := json.Indent(&indented, m.body, "", "  "); err != nil {
					t.Fatalf("body: %v\n%s", err, m.body)
				}
				golden(t, filepath.Join("testdata", format, name+".json"), indented.Bytes())
			})
		}
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	got = append(got, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestCatalog encodes every event of the catalog in every format.
func TestCatalog(t *testing.T) {
	w := &webhooks{}
	for _, entry := range event.Catalog() {
		for _, format := range []string{formatJSON, formatCloudEvents, formatCloudEventsBinary, formatSlack, formatTeams, formatDiscord} {
			m, err := w.encode(example(t, entry.Name), binding{Format: format})
			if err != nil || !json.Valid(m.body) {
				t.Errorf("%s as %s: error %v, body %s", entry.Name, format, err, m.body)
			}
		}
	}
}

// TestHostilePayload puts text that is special in JSON and in chats into every message.
func TestHostilePayload(t *testing.T) {
	const evil = "\"}]} <!channel> & {{.}} \u2028 \\ @everyone\n\x00"
	payload, err := json.Marshal(map[string]any{"error_message": evil, "reason": evil, "failed_steps": []any{map[string]any{"step_name": evil, "error_message": evil}}})
	if err != nil {
		t.Fatal(err)
	}
	e := example(t, event.NameStepFailed)
	e.Payload = payload
	w := &webhooks{}
	for _, format := range []string{formatSlack, formatTeams, formatDiscord} {
		m, err := w.encode(e, binding{Format: format})
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if format == formatSlack && bytes.Contains(m.body, []byte("<!channel>")) {
			t.Errorf("the message for Slack calls everybody: %s", m.body)
		}
		if !bytes.Contains(m.body, []byte("@everyone")) {
			t.Errorf("%s: the text is not in %s", format, m.body)
		}
	}
}

func TestTemplates(t *testing.T) {
	long := strings.Repeat("x", 100)
	tests := map[string]struct {
		binding binding
		want    string
		err     string
	}{
		"not JSON":          {binding: binding{Template: "oops"}, err: "the template made no JSON"},
		"no template":       {binding: binding{Format: formatTemplate}, err: "the binding has no template"},
		"syntax":            {binding: binding{Template: "{{"}, err: "template: body:1: unclosed action"},
		"no such field":     {binding: binding{Template: "{{.Nope}}"}, err: "can't evaluate field Nope"},
		"too large":         {binding: binding{Template: `{{printf "%2000000d" 1}}`}, err: "the body is too large"},
		"text":              {binding: binding{Template: "{{.Headline}}\n", ContentType: "text/plain"}, want: "Step charge of shop/order failed\n"},
		"64 bits":           {binding: binding{Template: `{{json .Payload.n}}`}, want: "9007199254740993"},
		"nothing":           {binding: binding{Template: `["{{text .Payload.x}}",{{json .Payload.x}}]`}, want: `["",null]`},
		"truncated":         {binding: binding{Template: `"{{truncate 10 .Payload.long}}"`}, want: `"xxxxxxx..."`},
		"object":            {binding: binding{Template: `{{json .Payload.o}} `}, want: `{"a":"<b>"}`},
		"object as a text":  {binding: binding{Template: `"{{quoted .Payload.o}}"`}, want: `"{\"a\":\"<b>\"}"`},
		"named as template": {binding: binding{Format: formatTemplate, Template: "1"}, want: "1"},
	}
	e := example(t, event.NameStepFailed)
	e.Payload = json.RawMessage(`{"n":9007199254740993,"long":"` + long + `","o":{"a":"<b>"}}`)
	w := &webhooks{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := w.encode(e, tt.binding)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || string(m.body) != tt.want {
				t.Errorf("body %q, error %v, want %q", m.body, err, tt.want)
			}
		})
	}
}

// TestCloudEvents reads the events back with the CloudEvents SDK.
func TestCloudEvents(t *testing.T) {
	strange := example(t, event.NameStepFailed)
	strange.CorrelationID = `50% of "größe"` + "\x7f"
	tests := map[string]struct {
		event  sdk.Event[json.RawMessage]
		config cloudEventsConfig
		source string
		typ    string
	}{
		"step":    {example(t, event.NameStepFailed), cloudEventsConfig{}, "/tasker/shop/order", "step.failed"},
		"host":    {example(t, event.NameHostStarted), cloudEventsConfig{}, "/tasker", "host.started"},
		"chosen":  {example(t, event.NameTaskCompleted), cloudEventsConfig{Source: "urn:shop", TypePrefix: "com.example."}, "urn:shop", "com.example.task.completed"},
		"strange": {strange, cloudEventsConfig{}, "/tasker/shop/order", "step.failed"},
	}
	for name, tt := range tests {
		for _, format := range []string{formatCloudEvents, formatCloudEventsBinary} {
			t.Run(name+"/"+format, func(t *testing.T) {
				s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
				w := s.webhooks(t, nil)
				if err := w.post(t.Context(), tt.event, binding{Endpoint: "e", Format: format, CloudEvents: tt.config}); err != nil {
					t.Fatal(err)
				}
				r := s.next(t)
				got, err := cloudevents.NewEventFromHTTPRequest(r.Request)
				if err != nil {
					t.Fatal(err)
				}
				if err := got.Validate(); err != nil {
					t.Errorf("not valid: %v", err)
				}
				if got.ID() != tt.event.ID || got.Source() != tt.source || got.Type() != tt.typ || got.Subject() != tt.event.Task || !got.Time().Equal(tt.event.At) {
					t.Errorf("got %s", got)
				}
				ext := got.Extensions()
				c, _ := ext["correlationid"].(string)
				if format == formatCloudEventsBinary { // the library leaves this to its user
					c, err = url.PathUnescape(c)
				}
				if err != nil || c != tt.event.CorrelationID || ext["sequence"] != "00000000000000004711" {
					t.Errorf("extensions %v, want correlation %q", ext, tt.event.CorrelationID)
				}
				if !sameJSON(t, got.Data(), tt.event.Payload) {
					t.Errorf("data %s, want %s", got.Data(), tt.event.Payload)
				}
			})
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var va, vb any
	if err := json.Unmarshal(a, &va); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if err := json.Unmarshal(b, &vb); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return cmp.Equal(va, vb)
}

func TestConfig(t *testing.T) {
	key := secretPrefix + base64.StdEncoding.EncodeToString(make([]byte, minSecret))
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		target target
		want   string
	}{
		"fine":              {target{URL: "https://example.com/a?b", Secrets: []string{key, key}, Headers: map[string]string{"Authorization": "Bearer x"}}, ""},
		"no URL":            {target{}, "/endpoints/e/url: want an http or https URL with a host"},
		"scheme":            {target{URL: "ftp://token@h"}, "/endpoints/e/url: want an http or https URL with a host"},
		"no prefix":         {target{URL: "http://h", Secrets: []string{key, strings.TrimPrefix(key, secretPrefix)}}, "/endpoints/e/secrets/1: want whsec_ and the base64 of 24 to 64 bytes"},
		"short secret":      {target{URL: "http://h", Secrets: []string{"whsec_YWJj"}}, "/endpoints/e/secrets/0: want whsec_ and the base64 of 24 to 64 bytes"},
		"name of header":    {target{URL: "http://h", Headers: map[string]string{"a b": "c"}}, `/endpoints/e/headers: "a b" is no name of a header`},
		"header in lines":   {target{URL: "http://h", Headers: map[string]string{"A": "b\r\nc: d"}}, "/endpoints/e/headers/A: the value has more than one line"},
		"header of ours":    {target{URL: "http://h", Headers: map[string]string{"webhook-id": "1"}}, "/endpoints/e/headers/webhook-id: this header is the plugin's to set"},
		"timeout":           {target{URL: "http://h", Timeout: sdk.Duration(time.Hour)}, "/endpoints/e/timeout: 1h0m0s is not between 0s and 2m0s"},
		"delay":             {target{URL: "http://h", Breaker: breakerConfig{Delay: -1}}, "/endpoints/e/breaker/delay: -1ns is less than nothing"},
		"no CA file":        {target{URL: "https://h", TLS: tlsConfig{CAFile: filepath.Join(dir, "none.pem")}}, "/endpoints/e/tls/ca_file: open "},
		"empty CA file":     {target{URL: "https://h", TLS: tlsConfig{CAFile: empty}}, "/endpoints/e/tls/ca_file: there is no certificate in "},
		"half of a pair":    {target{URL: "https://h", TLS: tlsConfig{CertFile: empty}}, "/endpoints/e/tls/cert_file: open : "},
		"secret in message": {target{URL: "http://%zz:secret@h"}, "/endpoints/e/url: want an http or https URL with a host"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := &webhooks{Endpoints: map[string]target{"e": tt.target}}
			err := w.Check(t.Context())
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v, want none", err)
			case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
				t.Errorf("error %v, want %s", err, tt.want)
			case err != nil && slices.ContainsFunc(append(tt.target.Secrets, "token", "secret@"), func(s string) bool { return strings.Contains(err.Error(), s) }):
				t.Errorf("error %v shows a secret", err)
			}
		})
	}
}
