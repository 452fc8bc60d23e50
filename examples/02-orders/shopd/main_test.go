package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun: the shop says where it is, answers there, logs what it does, and stops when it is asked to.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var log strings.Builder
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"-addr", "127.0.0.1:0", "-trouble", "0"}, in, &log) }()

	lines := bufio.NewScanner(out)
	lines.Scan()
	lines.Scan()
	_, ledger, _ := strings.Cut(lines.Text(), "ledger: ")
	for _, path := range []string{ledger, strings.Replace(ledger, "ledger", "products?sku=cup-blue", 1)} {
		resp, err := http.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s, %v", path, resp.Status, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run = %v, want nil", err)
	}
	if want := "GET /v1/products"; !strings.Contains(log.String(), want) {
		t.Errorf("the log is %q, want a line for %s", log.String(), want)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestRunRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"an address that others reach": {[]string{"-addr", "0.0.0.0:0"}, "no loopback address"},
		"no address":                   {[]string{"-addr", "nonsense"}, "nonsense"},
		"an unknown flag":              {[]string{"-what"}, "-what"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("run(%v) = %v, want an error that says %q", test.args, err, test.want)
			}
		})
	}
}
