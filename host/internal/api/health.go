package api

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/tasker-engine/tasker/host/task"
)

// listenLoopback listens on a loopback address and on nothing else: health answers
// name paths and plugins, and carry no authentication.
func listenLoopback(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("health address %q: %w: want host:port such as 127.0.0.1:7701", addr, task.ErrInvalid)
	}
	ip := net.ParseIP(host)
	if host == "localhost" {
		ip = net.IPv4(127, 0, 0, 1)
	}
	if ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("health address %q: %w: only a loopback address such as 127.0.0.1 is allowed", addr, task.ErrInvalid)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), port)) //nolint:noctx // nothing to wait for
	if err != nil {
		return nil, fmt.Errorf("health port: %w", err)
	}
	return l, nil
}

// healthHandler answers GET /livez and GET /readyz with 200 or 503 and plain text, one
// problem per line.
func healthHandler(s Service) http.Handler {
	mux := http.NewServeMux()
	answer := func(ok func(*Health) bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			h, err := s.Health(r.Context())
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			switch {
			case err != nil:
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			case !ok(h):
				http.Error(w, "not ok\n"+strings.Join(h.Problems, "\n"), http.StatusServiceUnavailable)
			default:
				_, _ = w.Write([]byte("ok\n")) // the client went away: nobody to tell
			}
		}
	}
	mux.Handle("GET /livez", answer(func(h *Health) bool { return h.Live }))
	mux.Handle("GET /readyz", answer(func(h *Health) bool { return h.Live && h.Ready }))
	return mux
}
