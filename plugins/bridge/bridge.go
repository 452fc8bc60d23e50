package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	version = "1.0.0"

	// attempts is the most that there can be; with the host's longest pause, a minute, they take 16 hours. Those that
	// fail for the server or the stream are not counted.
	attempts = 1000
	// lanes is how many messages may be on their way at once.
	lanes = 256
	// publishTimeout is how long the server may take to say that it has a message.
	publishTimeout = 10 * time.Second
)

// plugin is the plugin.
func plugin() sdk.Plugin {
	c := &config{}
	b := &bridge{config: c}
	b.SubscribeTo("*")
	return sdk.Plugin{
		Name:        "bridge",
		Version:     version,
		Title:       "Forwards events to NATS JetStream.",
		Description: "Each event becomes a message on a subject made of its parts, once, as JSON or as a CloudEvent.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      c,
		Permissions: sdk.Permissions{
			Network: sdk.NetworkAny, // all but ca_file are read at each connection, and so may have been replaced
			FSRead:  []string{"config:/tls/ca_file", "config-dir:/tls/cert_file", "config-dir:/tls/key_file", "config-dir:/auth/creds_file"},
		},
		Subscribers: sdk.Subscribers{"events": b},
	}
}

// bridge forwards events to a server.
type bridge struct {
	sdk.BaseSubscriber

	config  *config
	conn    *nats.Conn
	js      jetstream.JetStream
	trouble trouble
	created atomic.Bool // the stream is there
}

var (
	_ sdk.Checker = (*bridge)(nil)
	_ io.Closer   = (*bridge)(nil)
)

// SubscriberOptions says how events come.
func (b *bridge) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{
		Description: "Forwards events to NATS JetStream, those of one task in order.", Order: sdk.TaskOrder, Lanes: lanes,
		MaxAttempts: attempts, Config: binding{},
	}
}

// Check begins to connect. A server that is down is waited for: by then, events come again.
func (b *bridge) Check(ctx context.Context) error {
	if len(b.config.Servers) == 0 {
		b.trouble.hint = "no server was named, so it is " + nats.DefaultURL + ": plugins.bridge.config.servers in tasker.yaml names others"
	}
	*b.config = b.config.withDefaults()
	if err := b.config.validate(); err != nil {
		return err
	}
	b.trouble.log = sdk.Slog(ctx)
	opts, err := b.config.options(&b.trouble)
	if err != nil {
		return err
	}
	if b.conn, err = nats.Connect(b.config.servers(), opts...); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	b.js, err = jetstream.New(b.conn)
	return err
}

// Close ends the connection.
func (b *bridge) Close() error {
	if b.conn != nil {
		b.conn.Close()
	}
	b.trouble.close()
	return nil
}

// OnEvent forwards an event, and returns when the server has it.
func (b *bridge) OnEvent(ctx context.Context, e sdk.Event[json.RawMessage]) error {
	to, err := sdk.BindingConfig[binding](ctx)
	if err != nil {
		return err
	}
	subject, err := subjectOf(cmp.Or(to.Subject, b.config.Subject), e)
	if err != nil {
		return sdk.Permanent(err)
	}
	m, err := message(subject, b.config.Format, e)
	if err != nil {
		return sdk.Permanent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ctx, stop := b.trouble.during(ctx)
	defer stop()
	if err := b.ready(ctx); err != nil {
		return err
	}
	return b.publish(ctx, m, messageID(e))
}

// ready returns when there is a connection and a stream.
func (b *bridge) ready(ctx context.Context) error {
	if !b.conn.IsConnected() {
		return b.trouble.err()
	}
	s := b.config.Stream
	if s.Name == "" || b.created.Load() {
		return nil
	}
	_, err := b.js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = b.js.CreateStream(ctx, s.config())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster
			err = nil
		}
	}
	if err != nil {
		return sdk.Unavailable(fmt.Errorf("stream %s: %w", s.Name, err))
	}
	b.created.Store(true)
	return nil
}

// publish sends a message and waits until the server has stored it. One that it has already is no error.
func (b *bridge) publish(ctx context.Context, m *nats.Msg, id string) error {
	opts := []jetstream.PublishOpt{jetstream.WithMsgID(id)}
	if name := b.config.Stream.Name; name != "" {
		opts = append(opts, jetstream.WithExpectStream(name))
	}
	_, err := b.js.PublishMsg(ctx, m, opts...)
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errNoConnection): // it may be stored all the same: then the next one is a duplicate
		return b.trouble.err()
	case tooLarge(err):
		return sdk.Permanent(fmt.Errorf("subject %s: %w", m.Subject, err))
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		b.created.Store(false) // whoever deleted the stream may want it back
		return sdk.Unavailable(fmt.Errorf("no stream takes the subject %s: %w", m.Subject, err))
	case full(err):
		return sdk.Unavailable(fmt.Errorf("subject %s: %w", m.Subject, err))
	case !b.conn.IsConnected():
		return b.trouble.err()
	default:
		return fmt.Errorf("subject %s: %w", m.Subject, err)
	}
}

// tooLarge reports whether a message will be refused whenever it is sent.
func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum
}

// full reports whether it is the server or the stream that cannot take a message: among them is a stream that is full and
// discards new ones.
func full(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code >= http.StatusInternalServerError
}
