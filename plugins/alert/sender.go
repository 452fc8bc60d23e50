package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Limits of what an Alertmanager is asked for.
const (
	minBackoff  = time.Second
	maxBackoff  = time.Minute
	perRequest  = 200 // alerts
	maxResponse = 1 << 10
)

// sender tells one Alertmanager what is wrong: when something changes, and again and again while it lasts. It never
// has a queue: what it tells is what is true then.
type sender struct {
	url     string
	headers http.Header
	client  *http.Client
	every   time.Duration
	log     *slog.Logger
	wake    chan struct{} // something has changed

	notices func() []notice
	told    func([]notice)
}

// newSender makes a sender. Its errors begin with a JSON pointer.
func newSender(a alertmanager) (*sender, error) {
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("/url: want http://HOST:PORT or https://HOST:PORT, with a path in front of /api if need be; passwords go into headers")
	}
	if a.Timeout < 0 {
		return nil, fmt.Errorf("/timeout: %s is less than nothing", a.Timeout)
	}
	s := &sender{url: u.JoinPath("api/v2/alerts").String(), headers: make(http.Header), wake: make(chan struct{}, 1)}
	for name, value := range a.Headers {
		if name == "" || strings.ContainsAny(name+value, "\r\n\x00") {
			return nil, fmt.Errorf("/headers: %q is no header of one line", name)
		}
		s.headers.Set(name, value)
	}
	s.headers.Set("Content-Type", "application/json")
	s.headers.Set("User-Agent", "tasker-plugin-alert/"+version)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("/ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("/ca_file: there is no certificate in %s", a.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	s.client = &http.Client{
		Transport: transport, Timeout: a.Timeout.D(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// run tells the Alertmanager until ctx ends.
func (s *sender) run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	failures := 0
	for ctx.Err() == nil {
		wait, wake := s.every, s.wake
		asked, err := s.tell(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			failures++
			wait, wake = min(minBackoff<<min(failures-1, 10), maxBackoff), nil // a change is no reason to hurry
			if failures == 1 {
				s.log.WarnContext(ctx, "alertmanager does not accept alerts; they are sent again until it does", "url", s.url, "error", err)
			}
		case asked && failures > 0:
			s.log.InfoContext(ctx, "alertmanager accepts alerts again", "url", s.url, "failures", failures)
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// changed makes the sender tell at once.
func (s *sender) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// tell tells all that is to be told now. Asked = there was something, and it was accepted.
func (s *sender) tell(ctx context.Context) (asked bool, err error) {
	for part := range slices.Chunk(s.notices(), perRequest) {
		if err := s.post(ctx, part); err != nil {
			return false, err
		}
		s.told(part)
		asked = true
	}
	return asked, nil
}

// post sends one request.
func (s *sender) post(ctx context.Context, all []notice) error {
	body, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode alerts: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = s.headers.Clone()
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxResponse)) // it only says why
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("POST %s: %s: %s", s.url, resp.Status, bytes.TrimSpace(text))
	}
	return nil
}
