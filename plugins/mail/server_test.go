package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// accepted is a mail that the server has accepted.
type accepted struct {
	from, user string
	to         []string
	header     netmail.Header
	text, html string
}

// server is an SMTP server on this machine, which does as it is told.
type server struct {
	addr   *net.TCPAddr
	mails  chan accepted
	caFile string

	mu      sync.Mutex
	refuse  func(command, argument string) error // nil = nothing; commands are connect, mail, rcpt, data
	entered chan struct{}                        // one for each command data
}

const (
	user     = "ops"
	password = "correct horse"
)

// serveSMTP starts a server with STARTTLS, TLS or none, as the plugin's security says.
func serveSMTP(t *testing.T, security string) *server {
	t.Helper()
	s := &server{mails: make(chan accepted, 100), entered: make(chan struct{}, 100)}
	cert := s.certificate(t)
	backend := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		if err := s.may("connect", ""); err != nil {
			return nil, err
		}
		return &session{server: s, conn: c}, nil
	}))
	backend.Domain, backend.MaxMessageBytes, backend.MaxRecipients = "localhost", 1<<20, 10
	backend.ErrorLog = log.New(io.Discard, "", 0)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr, _ = lis.Addr().(*net.TCPAddr)
	if security != securityNone {
		backend.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	if security == securityTLS {
		lis = tls.NewListener(lis, backend.TLSConfig)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = backend.Serve(lis) })
	t.Cleanup(func() { _ = backend.Close(); serving.Wait() })
	return s
}

// certificate makes one for localhost, which is its own authority.
func (s *server) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// does tells the server what to refuse from now on.
func (s *server) does(refuse func(command, argument string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

func (s *server) may(command, argument string) error {
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse == nil {
		return nil
	}
	return refuse(command, argument)
}

// next returns the next mail.
func (s *server) next(t *testing.T) accepted {
	t.Helper()
	select {
	case m := <-s.mails:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("no mail came")
		return accepted{}
	}
}

// reply is a refusal.
func reply(code int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: text}
}

// session is a connection to the server.
type session struct {
	server *server
	conn   *smtp.Conn
	mail   accepted
}

var _ smtp.AuthSession = (*session)(nil)

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, u, p string) error {
		if u != user || p != password {
			return smtp.ErrAuthFailed
		}
		s.mail.user = u
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.from = from
	return s.server.may("mail", from)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.server.may("rcpt", to); err != nil {
		return err
	}
	s.mail.to = append(s.mail.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	doc, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.server.entered <- struct{}{}
	if err := s.server.may("data", string(doc)); err != nil {
		if err == errDrop { //nolint:errorlint // it is this one
			_ = s.conn.Conn().Close()
		}
		return err
	}
	m, err := netmail.ReadMessage(bytes.NewReader(doc))
	if err != nil {
		return err
	}
	s.mail.header = m.Header
	if s.mail.text, s.mail.html, err = parts(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body); err != nil {
		return err
	}
	s.server.mails <- s.mail
	return nil
}

func (s *session) Reset()        { s.mail = accepted{user: s.mail.user} }
func (s *session) Logout() error { return nil }

// errDrop makes the server hang up.
var errDrop = reply(451, "dropped")

// parts reads the text and the HTML of a mail.
func parts(contentType, encoding string, body io.Reader) (text, html string, err error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", "", err
	}
	if strings.HasPrefix(kind, "multipart/") {
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextRawPart()
			if err == io.EOF { //nolint:errorlint // as the package returns it
				return text, html, nil
			}
			if err != nil {
				return "", "", err
			}
			t, h, err := parts(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
			if err != nil {
				return "", "", err
			}
			text, html = text+t, html+h
		}
	}
	if encoding == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	doc, err := io.ReadAll(body)
	s := strings.ReplaceAll(string(doc), "\r\n", "\n")
	if kind == "text/html" {
		return "", s, err
	}
	return s, "", err
}

// refuses returns a server's behaviour: one reply to one command, while the argument has a part.
func refuses(command, part string, err error) func(string, string) error {
	return func(c, argument string) error {
		if c == command && strings.Contains(argument, part) {
			return err
		}
		return nil
	}
}

// receivers are the recipients of the envelope in order.
func (a accepted) receivers() []string { return slices.Sorted(slices.Values(a.to)) }
