package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is the plugin's configuration.
type config struct {
	Servers []string     `json:"servers,omitempty" jsonschema_description:"The servers of one cluster, such as nats://nats.example.com:4222. Default nats://127.0.0.1:4222."`
	Subject string       `json:"subject,omitempty" jsonschema_description:"The subject of an event's message; {namespace}, {template}, {version}, {family}, {type}, {step} and {task} stand for its parts. Default tasker.{namespace}.{template}.{type}."`
	Format  string       `json:"format,omitempty"  jsonschema:"enum=json,enum=cloudevents" jsonschema_description:"An envelope in JSON, or a CloudEvent: its attributes are headers, the body is the payload. Default json."`
	Auth    authConfig   `json:"auth,omitzero"     jsonschema_description:"Who the plugin is: at most one of them. Default nobody."`
	TLS     tlsConfig    `json:"tls,omitzero"      jsonschema_description:"Of the connection. Default as the servers ask for."`
	Stream  streamConfig `json:"stream,omitzero"   jsonschema_description:"The stream that must take the messages. Default any."`
}

// authConfig is who the plugin is.
type authConfig struct {
	User      string `json:"user,omitempty"       jsonschema_description:"A user's name, with password."`
	Password  string `json:"password,omitempty"   jsonschema:"writeOnly=true" jsonschema_description:"The user's password."`
	Token     string `json:"token,omitempty"      jsonschema:"writeOnly=true" jsonschema_description:"A token."`
	NkeySeed  string `json:"nkey_seed,omitempty"  jsonschema:"writeOnly=true" jsonschema_description:"The seed of a user's nkey: SU..."`
	Creds     string `json:"creds,omitempty"      jsonschema:"writeOnly=true" jsonschema_description:"What a .creds file has: a user's JWT and seed."`
	CredsFile string `json:"creds_file,omitempty" jsonschema_description:"The path of a .creds file, which is read at each connection."`
}

// tlsConfig is whom the servers are trusted by, and trust.
type tlsConfig struct {
	CAFile   string `json:"ca_file,omitempty"   jsonschema_description:"Certificates, PEM, of which one must have signed the server's. Default the system's."`
	CertFile string `json:"cert_file,omitempty" jsonschema_description:"The plugin's own certificate, PEM."`
	KeyFile  string `json:"key_file,omitempty"  jsonschema_description:"The key of that certificate, PEM."`
}

// streamConfig is a stream, which is created if there is none of its name; one that is there stays as it is.
type streamConfig struct {
	Name        string       `json:"name,omitempty"         jsonschema:"pattern=^[A-Za-z0-9_-]+$" jsonschema_description:"Its name; the other keys count when it is created. Default the stream is not looked after."`
	Subjects    []string     `json:"subjects,omitempty"     jsonschema_description:"What it takes. Default what the subject begins with, and .> such as tasker.>."`
	MaxMiB      int64        `json:"max_mib,omitempty"      jsonschema:"minimum=1" jsonschema_description:"Its largest size, in MiB. Default no limit."`
	MaxMessages int64        `json:"max_messages,omitempty" jsonschema:"minimum=1" jsonschema_description:"How many messages it has at most. Default no limit."`
	MaxAge      sdk.Duration `json:"max_age,omitempty"      jsonschema_description:"How long messages are kept. Default no limit."`
	Discard     string       `json:"discard,omitempty"      jsonschema:"enum=old,enum=new" jsonschema_description:"What goes when it is full: its oldest messages; or none, and events wait. Default old."`
	Duplicates  sdk.Duration `json:"duplicates,omitempty"   jsonschema_description:"How long it recognises an event that comes again. Default 10m."`
	Replicas    int          `json:"replicas,omitempty"     jsonschema:"minimum=1,maximum=5" jsonschema_description:"How many servers have it. Default 1."`
	Memory      bool         `json:"memory,omitempty"       jsonschema_description:"Keep it in memory, not in files."`
}

// binding is the config of a binding.
type binding struct {
	Subject string `json:"subject,omitempty" jsonschema_description:"The subject, in place of the one in the plugin's configuration."`
}

// The formats, and defaults of the configuration.
const (
	formatJSON        = "json"
	formatCloudEvents = "cloudevents"

	defaultSubject    = "tasker.{namespace}.{template}.{type}"
	defaultDuplicates = sdk.Duration(10 * time.Minute)
	// reconnect is the pause between attempts to connect.
	reconnect = time.Second
)

func (c config) withDefaults() config {
	if len(c.Servers) == 0 {
		c.Servers = []string{nats.DefaultURL}
	}
	c.Subject = cmp.Or(c.Subject, defaultSubject)
	c.Format = cmp.Or(c.Format, formatJSON)
	if s := &c.Stream; s.Name != "" {
		s.Duplicates = cmp.Or(s.Duplicates, defaultDuplicates)
		if s.MaxAge > 0 {
			s.Duplicates = min(s.Duplicates, s.MaxAge) // the server wants it so
		}
		s.Replicas = cmp.Or(s.Replicas, 1)
		if len(s.Subjects) == 0 {
			s.Subjects = subjectsOf(c.Subject)
		}
	}
	return c
}

// subjectsOf returns a pattern of all subjects that a template makes; none if it begins with a part of an event.
func subjectsOf(template string) []string {
	fixed, _, open := strings.Cut(template, "{")
	if !open {
		return []string{template}
	}
	if end := strings.LastIndexByte(fixed, '.'); end > 0 {
		return []string{fixed[:end] + ".>"}
	}
	return nil
}

// validate refuses what the schema cannot.
func (c config) validate() error {
	if err := checkSubject(c.Subject); err != nil {
		return fmt.Errorf("/subject: %w", err)
	}
	if c.Stream.Name != "" && len(c.Stream.Subjects) == 0 {
		return errors.New("/stream/subjects: want some: the subject does not begin with a fixed part")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return errors.New("/tls: want cert_file and key_file, or none of them")
	}
	ways := 0
	for _, way := range []string{c.Auth.User, c.Auth.Token, c.Auth.NkeySeed, c.Auth.Creds, c.Auth.CredsFile} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("/auth: want one of user, token, nkey_seed, creds and creds_file")
	}
	return nil
}

func (c config) servers() string { return strings.Join(c.Servers, ",") }

// options returns how to connect: for ever, and with nothing kept in memory meanwhile, as events come again.
func (c config) options(t *trouble) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name("tasker-plugin-bridge/" + version), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(reconnect),
		nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(conn *nats.Conn, _ *nats.Subscription, err error) { t.notice(conn, err) }),
		nats.DisconnectErrHandler(t.notice), nats.ReconnectErrHandler(t.notice), nats.ConnectHandler(t.over), nats.ReconnectHandler(t.over),
	}
	auth, err := c.Auth.option()
	if err != nil {
		return nil, err
	}
	if auth != nil {
		opts = append(opts, auth)
	}
	if c.TLS.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.TLS.CAFile))
	}
	if c.TLS.CertFile != "" {
		opts = append(opts, nats.ClientCert(c.TLS.CertFile, c.TLS.KeyFile))
	}
	return opts, nil
}

// option returns how to say who the plugin is; nil for nobody. Its errors do not repeat secrets.
func (a authConfig) option() (nats.Option, error) {
	switch {
	case a.User != "":
		return nats.UserInfo(a.User, a.Password), nil
	case a.Token != "":
		return nats.Token(a.Token), nil
	case a.Creds != "":
		return nats.UserCredentialBytes([]byte(a.Creds)), nil
	case a.CredsFile != "":
		return nats.UserCredentials(a.CredsFile), nil
	case a.NkeySeed != "":
		pair, err := nkeys.FromSeed([]byte(a.NkeySeed))
		if err != nil {
			return nil, errors.New("/auth/nkey_seed: want the seed of an nkey: SU and more")
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, errors.New("/auth/nkey_seed: want the seed of an nkey: SU and more")
		}
		return nats.Nkey(public, pair.Sign), nil
	default:
		return nil, nil //nolint:nilnil // nobody is somebody, too
	}
}

// config returns how the stream is created.
func (s streamConfig) config() jetstream.StreamConfig {
	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	out := jetstream.StreamConfig{
		Name: s.Name, Description: "Events of Tasker.", Subjects: s.Subjects, MaxMsgs: unlimited(s.MaxMessages), MaxBytes: unlimited(s.MaxMiB << 20),
		MaxAge: s.MaxAge.D(), Duplicates: s.Duplicates.D(), Replicas: s.Replicas,
	}
	if s.Discard == "new" {
		out.Discard = jetstream.DiscardNew
	}
	if s.Memory {
		out.Storage = jetstream.MemoryStorage
	}
	return out
}
