package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	version = "1.0.0"

	// attempts is the most that there can be; with the host's longest pause, a minute, they take 16 hours. Those that do
	// not reach the server are not counted.
	attempts = 1000
	// lanes is more than there are connections to the server, so that digests are not held up by single mails.
	lanes = 64
	// eventTimeout is more than twice maxTimeout: an event may wait for a connection as long as a mail may take.
	eventTimeout = 5 * time.Minute
)

// plugin is the plugin.
func plugin() sdk.Plugin {
	m := &mailer{}
	return sdk.Plugin{
		Name:        "mail",
		Version:     version,
		Title:       "Sends events by mail.",
		Description: "By SMTP with TLS, as text and HTML: each event at once, or many in one mail.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      m,
		Permissions: sdk.Permissions{
			Network: sdk.NetworkAny, FSRead: []string{"config:/ca_file", "config:/password_file"}, FSWrite: []string{"config:/digests"},
		},
		Subscribers: sdk.Subscribers{
			"events": sdk.Subscribe(sdk.OnNamed("*", m.deliver), sdk.SubscriberOptions{
				Description: "Mails the events that a binding chooses.", Order: sdk.TaskOrder, Lanes: lanes,
				Bound: true, Config: binding{}, MaxAttempts: attempts, Timeout: eventTimeout,
			}),
		},
	}
}

// mailer is the plugin's configuration, and what is made of it.
type mailer struct {
	config

	post    *post
	writer  *writer
	digests *digests
}

var (
	_ sdk.Checker = (*mailer)(nil)
	_ io.Closer   = (*mailer)(nil)
)

// Check refuses what the schema cannot, and takes up the digests that an earlier process has left.
func (m *mailer) Check(ctx context.Context) error {
	m.config = m.withDefaults()
	if err := m.validate(); err != nil {
		return err
	}
	var err error
	if m.post, err = newPost(m.config); err != nil {
		return err
	}
	if m.writer, err = newWriter(); err != nil {
		return err
	}
	m.digests, err = openDigests(m.Digests, m.sendDigest, sdk.Slog(ctx))
	return err
}

// Close stops sending digests; what waits is sent by the next process.
func (m *mailer) Close() error {
	if m.digests != nil {
		m.digests.close()
	}
	return nil
}

// deliver mails one event as its binding says, or puts it with the digest. A nil error means that the server has
// accepted the mail, or that the event is on disk.
func (m *mailer) deliver(ctx context.Context, e sdk.Event[json.RawMessage]) error {
	b, err := sdk.BindingConfig[binding](ctx)
	if err != nil {
		return err
	}
	return m.mail(ctx, e, b)
}

func (m *mailer) mail(ctx context.Context, e sdk.Event[json.RawMessage], b binding) error {
	if m.Host == "" { // a plugin that is installed and not used needs no configuration
		return sdk.Unavailable(errors.New("the plugin's configuration has no host to send mail to"))
	}
	decoded, err := decode(e)
	if err != nil {
		return sdk.Permanent(err)
	}
	if b.Digest.Window > 0 {
		if _, err := m.writer.digest(b, []decodedEvent{decoded}); err != nil { // later there is nobody to tell
			return sdk.Permanent(err)
		}
		return m.digests.add(b, e)
	}
	c, err := m.writer.single(b, decoded)
	if err != nil {
		return sdk.Permanent(err)
	}
	head := headers{id: eventPart(e.ID), event: e.Type, task: e.Task}
	return m.post.send(ctx, b, head, c)
}

// sendDigest mails many events at once. The id is the same for the same events.
func (m *mailer) sendDigest(ctx context.Context, b binding, id string, events []sdk.Event[json.RawMessage]) error {
	all := make([]decodedEvent, len(events))
	for i, e := range events {
		var err error
		if all[i], err = decode(e); err != nil {
			return sdk.Permanent(err)
		}
	}
	c, err := m.writer.digest(b, all)
	if err != nil {
		return sdk.Permanent(err)
	}
	return m.post.send(ctx, b, headers{id: "digest-" + id}, c)
}
