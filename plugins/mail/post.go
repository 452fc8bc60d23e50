package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// loginPause keeps wrong credentials from locking the account.
const loginPause = time.Minute

// replyNoService is what a server says that is about to stop (RFC 5321).
const replyNoService = 421

// Replies of a server that are about the plugin's configuration and not about the mail: it wants somebody else, or
// another encryption (RFC 4954).
const (
	replyAuthRequired     = 530
	replyMechanismTooWeak = 534
	replyCredentials      = 535
	replyNeedsTLS         = 538
)

// post sends mails.
type post struct {
	config   config
	password string
	tls      *tls.Config
	domain   string        // of the sender, for the ids of mails
	slots    chan struct{} // as many as connections may be open
}

func newPost(c config) (*post, error) {
	p := &post{config: c, slots: make(chan struct{}, c.Connections)}
	var err error
	if p.password, err = c.password(); err != nil {
		return nil, err
	}
	if p.tls, err = c.tls(); err != nil {
		return nil, err
	}
	if c.Host == "" {
		return p, nil
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("/from: %w", err)
	}
	p.domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	return p, nil
}

// headers are what a mail says of its event to programs. Empty fields are left out.
type headers struct{ id, event, task string }

// send sends a mail. A nil error means that the server has accepted it for all recipients; others say whether it may
// be sent again.
func (p *post) send(ctx context.Context, b binding, h headers, c content) error {
	m, err := p.message(b, h, c)
	if err != nil {
		return sdk.Permanent(err)
	}
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.slots }()
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Timeout.D(), fmt.Errorf("the server did not finish within %s", p.config.Timeout))
	defer cancel()
	client, hangUp, err := p.dial(ctx)
	defer hangUp()
	if err == nil {
		err = p.transact(client, m)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !isReply(err) { // the connection broke for that
		if client == nil { // there was none as yet
			return sdk.Unavailable(cause)
		}
		return cause
	}
	return err
}

// acquire waits for a connection, but not for longer than a mail takes: what an event waits for, the host waits for. The
// caller gives the slot back.
func (p *post) acquire(ctx context.Context) error {
	patience := time.NewTimer(p.config.Timeout.D())
	defer patience.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-patience.C:
		return sdk.RetryAfter(sdk.Unavailable(fmt.Errorf("all %d connections to the server are busy", cap(p.slots))), p.config.Timeout.D())
	case <-ctx.Done():
		return fmt.Errorf("all connections to the server are busy: %w", context.Cause(ctx))
	}
}

// dial connects, starts TLS and signs in. What fails here says nothing about the mail, which waits for it. The connection
// breaks when the context ends; hangUp closes it, however far it came.
func (p *post) dial(ctx context.Context) (client *smtp.Client, hangUp func(), err error) {
	hangUp = func() {}
	opts := []gomail.Option{
		gomail.WithTimeout(2 * p.config.Timeout.D()), // the context ends earlier
		gomail.WithTLSConfig(p.tls), gomail.WithHELO(p.config.Hello),
		gomail.WithDialContextFunc(func(dialling context.Context, _, _ string) (net.Conn, error) {
			conn, err := p.connect(dialling)
			if err == nil {
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				hangUp = func() { stop(); _ = conn.Close() }
			}
			return conn, err
		}),
	}
	switch p.config.Security {
	case securityTLS:
		opts = append(opts, gomail.WithSSL())
	case securityNone:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if p.config.Username != "" { // and so TLS: no mechanism is too weak
		opts = append(opts, gomail.WithUsername(p.config.Username), gomail.WithPassword(p.password), gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5))
	}
	c, err := gomail.NewClient(p.config.Host, opts...)
	if err != nil {
		return nil, hangUp, sdk.Unavailable(err)
	}
	client, err = c.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return nil, hangUp, judgeLogin(err)
	}
	return client, hangUp, nil
}

// connect opens the connection, with TLS if that comes first.
func (p *post) connect(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(p.config.Host, strconv.Itoa(p.config.Port)))
	if err != nil {
		return nil, err
	}
	if p.config.Security != securityTLS {
		return conn, nil
	}
	secure := tls.Client(conn, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// judgeLogin makes an error of one that came before the mail.
func judgeLogin(err error) error {
	if reply, ok := errors.AsType[*textproto.Error](err); ok && aboutConfig(reply.Code) {
		return sdk.RetryAfter(sdk.Unavailable(fmt.Errorf("the server refuses the plugin's credentials, correct its configuration: %w", err)), loginPause)
	}
	return sdk.Unavailable(fmt.Errorf("reach the server: %w", err))
}

// transact hands a mail over: the envelope, then the content. Recipients that the server refuses for good do not keep it
// from the others; any that it refuses for now do, so that nobody gets it twice.
func (p *post) transact(client *smtp.Client, m *gomail.Msg) error {
	from, err := m.GetSender(false)
	if err != nil {
		return sdk.Permanent(err)
	}
	to, err := m.GetRecipients()
	if err != nil {
		return sdk.Permanent(err)
	}
	if err := client.Mail(from); err != nil {
		return judge("sender "+from, err)
	}
	var refused []string
	for _, r := range to {
		if err := client.Rcpt(r); err != nil {
			err = judge("recipient "+r, err)
			if sdk.Explain(err).Verdict != sdk.Final {
				return err
			}
			refused = append(refused, err.Error())
		}
	}
	if len(refused) == len(to) {
		return sdk.Permanent(errors.New(strings.Join(refused, "; ")))
	}
	w, err := client.Data()
	if err != nil {
		return judge("the mail", err)
	}
	if _, err := m.WriteTo(w); err != nil {
		return judge("the mail", err)
	}
	if err := w.Close(); err != nil {
		return judge("the mail", err)
	}
	_ = client.Quit() // the mail is the server's now, whatever comes
	if len(refused) > 0 {
		return sdk.Permanent(fmt.Errorf("the mail went to %d of %d recipients: %s", len(to)-len(refused), len(to), strings.Join(refused, "; ")))
	}
	return nil
}

// judge makes an error of a reply: 5xx is for good, unless it is about the plugin's configuration; 4xx and a broken
// connection are for now, and may be about this mail, but for a server that stops.
func judge(what string, err error) error {
	reply, ok := errors.AsType[*textproto.Error](err)
	if !ok {
		return fmt.Errorf("the connection to the server broke: %w", err)
	}
	err = fmt.Errorf("the server refuses %s: %w", what, err)
	switch {
	case aboutConfig(reply.Code):
		return sdk.RetryAfter(sdk.Unavailable(err), loginPause)
	case reply.Code == replyNoService:
		return sdk.Unavailable(err)
	case reply.Code >= 500:
		return sdk.Permanent(err)
	default:
		return err
	}
}

func aboutConfig(code int) bool {
	return slices.Contains([]int{replyAuthRequired, replyMechanismTooWeak, replyCredentials, replyNeedsTLS}, code)
}

// isReply reports whether an error is what the server said.
func isReply(err error) bool {
	_, ok := errors.AsType[*textproto.Error](err)
	return ok
}

// message makes the mail.
func (p *post) message(b binding, h headers, c content) (*gomail.Msg, error) {
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	err := errors.Join(m.From(p.config.From), m.To(b.To...), m.Cc(b.Cc...), m.Bcc(b.Bcc...))
	if b.ReplyTo != "" {
		err = errors.Join(err, m.ReplyTo(b.ReplyTo))
	}
	if err != nil {
		return nil, err
	}
	m.SetMessageIDWithValue(h.id + "@" + p.domain)
	m.SetDate()
	m.Subject(c.subject)
	m.SetUserAgent("tasker-plugin-mail/" + version)
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office replies, please
	m.SetGenHeader("X-Auto-Response-Suppress", "All")
	if h.event != "" {
		m.SetGenHeader("X-Tasker-Event", h.event)
	}
	if h.task != "" {
		m.SetGenHeader("X-Tasker-Task", h.task)
		m.SetGenHeaderPreformatted(gomail.HeaderReferences, "<"+eventPart(h.task)+"@"+p.domain+">") // one thread for each task
	}
	for name, value := range b.Headers {
		m.SetGenHeader(gomail.Header(name), value)
	}
	switch {
	case c.html == "":
		m.SetBodyString(gomail.TypeTextPlain, c.text)
	case c.text == "":
		m.SetBodyString(gomail.TypeTextHTML, c.html)
	default:
		m.SetBodyString(gomail.TypeTextPlain, c.text)
		m.AddAlternativeString(gomail.TypeTextHTML, c.html)
	}
	return m, nil
}

// eventPart makes the id of an event, or of a task, the left part of a mail's id.
func eventPart(id string) string {
	ok := strings.IndexFunc(id, func(r rune) bool {
		return r != '-' && r != '/' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
	if ok && id != "" {
		return strings.ReplaceAll(id, "/", ".")
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}
