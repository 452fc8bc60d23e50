package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// How the connection to the server is protected.
const (
	securityStartTLS = "starttls"
	securityTLS      = "tls"
	securityNone     = "none"
)

const (
	defaultTimeout     = sdk.Duration(30 * time.Second)
	maxTimeout         = sdk.Duration(2 * time.Minute)
	defaultConnections = 4
	defaultDigests     = "digests"
	defaultMaxEvents   = 100
)

// config is the plugin's configuration.
type config struct {
	Host         string       `json:"host,omitempty"          jsonschema_description:"The SMTP server. Without one no mail can be sent."`
	Port         int          `json:"port,omitempty"          jsonschema:"minimum=1,maximum=65535" jsonschema_description:"Default 587; 465 with security: tls, 25 with security: none."`
	Security     string       `json:"security,omitempty"      jsonschema:"enum=starttls,enum=tls,enum=none" jsonschema_description:"starttls: the server must offer STARTTLS. tls: TLS from the start. none: no TLS, and no password. Default starttls."`
	Username     string       `json:"username,omitempty"      jsonschema_description:"With which the plugin signs in. Default none: it does not."`
	Password     string       `json:"password,omitempty"      jsonschema:"writeOnly=true" jsonschema_description:"Of the user."`
	PasswordFile string       `json:"password_file,omitempty" jsonschema_description:"A file with the password, instead of password."`
	CAFile       string       `json:"ca_file,omitempty"       jsonschema_description:"Certificates, PEM, of which one must have signed the server's. Default the system's."`
	ServerName   string       `json:"server_name,omitempty"   jsonschema_description:"The name that the server's certificate must have. Default host."`
	From         string       `json:"from,omitempty"          jsonschema_description:"The sender, needed with a host: tasker@example.com, or Tasker <tasker@example.com>."`
	Hello        string       `json:"hello,omitempty"         jsonschema_description:"The name with which the plugin greets the server. Default localhost."`
	Timeout      sdk.Duration `json:"timeout,omitempty"       jsonschema_description:"How long a mail may take, from the connection to the acceptance, up to 2m. Default 30s."`
	Connections  int          `json:"connections,omitempty"   jsonschema:"minimum=1,maximum=64" jsonschema_description:"How many connections there may be at once. Default 4."`
	Digests      string       `json:"digests,omitempty"       jsonschema_description:"The directory where events wait for their digest, relative to the plugin's data directory. Default digests."`
}

// binding is the config of a binding: to whom, and how the mail looks.
type binding struct {
	To      []string          `json:"to"                 jsonschema:"minItems=1" jsonschema_description:"Recipients: ops@example.com, or Ops <ops@example.com>."`
	Cc      []string          `json:"cc,omitempty"       jsonschema_description:"Recipients of a copy."`
	Bcc     []string          `json:"bcc,omitempty"      jsonschema_description:"Recipients of a copy that the others do not see."`
	ReplyTo string            `json:"reply_to,omitempty" jsonschema_description:"Where answers go. Default the sender."`
	Subject string            `json:"subject,omitempty"  jsonschema_description:"The subject, as a template. Default one that suits the event."`
	Text    string            `json:"text,omitempty"     jsonschema_description:"The text, as a template of Go's text/template. Default one that suits the event; none, if there is html."`
	HTML    string            `json:"html,omitempty"     jsonschema_description:"The text in HTML, as a template of Go's html/template. Default one that suits the event; none, if there is text."`
	Headers map[string]string `json:"headers,omitempty"  jsonschema_description:"Further headers, whose names begin with X-, List- or Importance."`
	Digest  digestConfig      `json:"digest,omitzero"    jsonschema_description:"Sends many events in one mail."`
}

// digestConfig is when the mail of many events is sent.
type digestConfig struct {
	Window    sdk.Duration `json:"window"               jsonschema_description:"How long after its first event a digest is sent. 0s = each event at once."`
	MaxEvents int          `json:"max_events,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"How many events there are in one at most; it is sent earlier, then. Default 100."`
}

func (c config) withDefaults() config {
	c.Security = cmp.Or(c.Security, securityStartTLS)
	if c.Port == 0 {
		c.Port = map[string]int{securityStartTLS: 587, securityTLS: 465, securityNone: 25}[c.Security]
	}
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.Connections = cmp.Or(c.Connections, defaultConnections)
	c.Digests = cmp.Or(c.Digests, defaultDigests)
	c.Hello = cmp.Or(c.Hello, "localhost")
	return c
}

// validate refuses what the schema cannot.
func (c config) validate() error {
	switch {
	case c.Host == "" && c.From != "":
		return errors.New("/host: there is a sender, but no server")
	case c.Timeout < 0 || c.Timeout > maxTimeout:
		return fmt.Errorf("/timeout: %s is not between 0s and %s", c.Timeout, maxTimeout)
	case c.Password != "" && c.PasswordFile != "":
		return errors.New("/password_file: there is a password, too; set one of them")
	case c.Username != "" && c.Security == securityNone:
		return errors.New("/username: without TLS everybody could read the password; set security to starttls or tls")
	case c.Username == "" && (c.Password != "" || c.PasswordFile != ""):
		return errors.New("/username: there is a password, but no user")
	}
	if _, err := mail.ParseAddress(c.From); c.Host != "" && err != nil {
		return fmt.Errorf("/from: %q is no address: %w", c.From, err)
	}
	return nil
}

// password returns the password.
func (c config) password() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("/password_file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// tls makes the TLS configuration.
func (c config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cmp.Or(c.ServerName, c.Host)}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("/ca_file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("/ca_file: there is no certificate in %s", c.CAFile)
	}
	return t, nil
}

var _ sdk.Checker = binding{}

// Check refuses what the schema cannot: addresses, headers and templates.
func (b binding) Check(context.Context) error {
	for _, list := range []struct {
		key       string
		addresses []string
	}{{"to", b.To}, {"cc", b.Cc}, {"bcc", b.Bcc}} {
		for i, a := range list.addresses {
			if _, err := mail.ParseAddress(a); err != nil {
				return fmt.Errorf("/%s/%d: %q is no address: %w", list.key, i, a, err)
			}
		}
	}
	if _, err := mail.ParseAddress(b.ReplyTo); b.ReplyTo != "" && err != nil {
		return fmt.Errorf("/reply_to: %q is no address: %w", b.ReplyTo, err)
	}
	for name, value := range b.Headers {
		allowed := strings.HasPrefix(name, "X-") || strings.HasPrefix(name, "List-") || name == "Importance"
		if !allowed || strings.ContainsFunc(name, notInName) || strings.ContainsAny(value, "\r\n") {
			return fmt.Errorf("/headers/%s: want one line, and a name that begins with X- or List-, or is Importance", name)
		}
	}
	w, err := newWriter()
	if err != nil {
		return err
	}
	_, err = w.compile(b.templates(b.Digest.Window > 0))
	return err
}

// templates are what its templates are made of.
func (b binding) templates(digest bool) templateKey {
	return templateKey{subject: b.Subject, text: b.Text, html: b.HTML, digest: digest}
}

// notInName reports whether a rune cannot be in the name of a header.
func notInName(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }
