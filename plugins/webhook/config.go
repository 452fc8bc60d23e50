package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// target is the configuration of an endpoint: all that a template's author need not know.
type target struct {
	URL             string            `json:"url"                        jsonschema:"writeOnly=true" jsonschema_description:"Where events are posted to. Kept secret: the addresses of chats are their passwords."`
	Secrets         []string          `json:"secrets,omitempty"          jsonschema:"writeOnly=true" jsonschema_extras:"writeOnly=true" jsonschema_description:"Keys that requests are signed with: whsec_ and base64 of 24 to 64 bytes. With several, each request has a signature of each: so keys are replaced without a gap."`
	Headers         map[string]string `json:"headers,omitempty"          jsonschema_extras:"writeOnly=true" jsonschema_description:"Further headers, such as Authorization."`
	Timeout         sdk.Duration      `json:"timeout,omitempty"          jsonschema_description:"How long a request may take, up to 2m. Default 10s."`
	MaxConcurrent   int               `json:"max_concurrent,omitempty"   jsonschema:"minimum=1,maximum=256" jsonschema_description:"How many requests there may be at once. Default 8."`
	FollowRedirects bool              `json:"follow_redirects,omitempty" jsonschema_description:"Follow redirects that keep method and host (307, 308)."`
	TLS             tlsConfig         `json:"tls,omitzero"               jsonschema_description:"Of https URLs."`
	Breaker         breakerConfig     `json:"breaker,omitzero"           jsonschema_description:"When an endpoint that fails is left alone."`
}

// tlsConfig is whom an https endpoint trusts, and is trusted by.
type tlsConfig struct {
	CAFile     string `json:"ca_file,omitempty"     jsonschema_description:"Certificates, PEM, of which one must have signed the endpoint's. Default the system's."`
	CertFile   string `json:"cert_file,omitempty"   jsonschema_description:"The plugin's own certificate, PEM."`
	KeyFile    string `json:"key_file,omitempty"    jsonschema_description:"The key of that certificate, PEM."`
	ServerName string `json:"server_name,omitempty" jsonschema_description:"The name that the endpoint's certificate must have. Default the URL's."`
}

// breakerConfig is when an endpoint is left alone.
type breakerConfig struct {
	Failures int          `json:"failures,omitempty" jsonschema:"minimum=1" jsonschema_description:"How many failures in a row it takes. Default 5."`
	Delay    sdk.Duration `json:"delay,omitempty"    jsonschema_description:"For how long; then one request tries it. Default 30s."`
}

// The formats of a body.
const (
	formatJSON              = "json"
	formatCloudEvents       = "cloudevents"
	formatCloudEventsBinary = "cloudevents-binary"
	formatSlack             = "slack"
	formatTeams             = "teams"
	formatDiscord           = "discord"
	formatTemplate          = "template"
)

// binding is the config of a binding: which endpoint, and how the body looks.
type binding struct {
	Endpoint    string            `json:"endpoint"               jsonschema_description:"The name of an endpoint in the plugin's configuration."`
	Format      string            `json:"format,omitempty"       jsonschema:"enum=json,enum=cloudevents,enum=cloudevents-binary,enum=slack,enum=teams,enum=discord,enum=template" jsonschema_description:"What is posted. Default json; template, if there is a template."`
	Template    string            `json:"template,omitempty"     jsonschema_description:"The body, as a template of Go's text/template."`
	ContentType string            `json:"content_type,omitempty" jsonschema_description:"Of a templated body. Default application/json, and then the body must be JSON."`
	CloudEvents cloudEventsConfig `json:"cloudevents,omitzero"   jsonschema_description:"Of the formats cloudevents and cloudevents-binary."`
}

// cloudEventsConfig is what of a CloudEvent a binding chooses.
type cloudEventsConfig struct {
	Source     string `json:"source,omitempty"      jsonschema_description:"The attribute source, a URI reference. Default /tasker/NAMESPACE/TEMPLATE, and /tasker for events without a task."`
	TypePrefix string `json:"type_prefix,omitempty" jsonschema_description:"Put before the event's name to make the attribute type, such as com.example."`
}

func (b binding) format() string {
	if b.Format == "" && b.Template != "" {
		return formatTemplate
	}
	return cmp.Or(b.Format, formatJSON)
}

var _ sdk.Checker = binding{}

// Check refuses what the schema cannot. Whether there is such an endpoint is not the binding's to know.
func (b binding) Check(context.Context) error {
	if b.format() != formatTemplate {
		return nil
	}
	if b.Template == "" {
		return errors.New("/template: there is none")
	}
	if _, err := parseTemplate(b.Template); err != nil {
		return fmt.Errorf("/template: %w", err)
	}
	return nil
}

// Limits of what an endpoint is asked for, and of its secrets.
const (
	defaultTimeout       = sdk.Duration(10 * time.Second)
	maxTimeout           = sdk.Duration(2 * time.Minute)
	defaultMaxConcurrent = 8
	defaultFailures      = 5
	defaultDelay         = sdk.Duration(30 * time.Second)

	secretPrefix         = "whsec_"
	minSecret, maxSecret = 24, 64 // bytes, as Standard Webhooks says
)

func (t target) withDefaults() target {
	t.Timeout = cmp.Or(t.Timeout, defaultTimeout)
	t.MaxConcurrent = cmp.Or(t.MaxConcurrent, defaultMaxConcurrent)
	t.Breaker.Failures = cmp.Or(t.Breaker.Failures, defaultFailures)
	t.Breaker.Delay = cmp.Or(t.Breaker.Delay, defaultDelay)
	return t
}

// validate refuses what the schema cannot.
func (t target) validate() error {
	switch {
	case t.Timeout < 0 || t.Timeout > maxTimeout:
		return fmt.Errorf("/timeout: %s is not between 0s and %s", t.Timeout, maxTimeout)
	case t.Breaker.Delay < 0:
		return fmt.Errorf("/breaker/delay: %s is less than nothing", t.Breaker.Delay)
	default:
		return nil
	}
}

// parseURL returns the URL. Its errors do not repeat it.
func (t target) parseURL() (*url.URL, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("/url: want an http or https URL with a host")
	}
	return u, nil
}

// signers returns what signs with each secret. Its errors do not repeat them.
func (t target) signers() ([]*standardwebhooks.Webhook, error) {
	var signers []*standardwebhooks.Webhook
	for i, secret := range t.Secrets {
		encoded, ok := strings.CutPrefix(secret, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
			return nil, fmt.Errorf("/secrets/%d: want %s and the base64 of %d to %d bytes", i, secretPrefix, minSecret, maxSecret)
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("/secrets/%d: %w", i, err)
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// header returns the further headers.
func (t target) header() (http.Header, error) {
	h := make(http.Header, len(t.Headers)+1)
	h.Set("User-Agent", "tasker-plugin-webhook/"+version)
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		key, value := textproto.CanonicalMIMEHeaderKey(name), t.Headers[name]
		switch {
		case name == "" || strings.ContainsFunc(name, notInToken):
			return nil, fmt.Errorf("/headers: %q is no name of a header", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return nil, fmt.Errorf("/headers/%s: the value has more than one line", name)
		case strings.HasPrefix(key, "Webhook-") || strings.HasPrefix(key, "Ce-") || key == "Content-Type" || key == "Content-Length" || key == "Host":
			return nil, fmt.Errorf("/headers/%s: this header is the plugin's to set", name)
		}
		h.Set(key, value)
	}
	return h, nil
}

// notInToken reports whether a rune cannot be in the name of a header.
func notInToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}

// config makes the TLS configuration.
func (t tlsConfig) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("/tls/ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("/tls/ca_file: there is no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("/tls/cert_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
