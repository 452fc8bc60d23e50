// Command desk stands in for a chat, an Alertmanager and another system: it takes whatever is posted to it, and
// shows it again.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// desk keeps one line for each request that was posted.
type desk struct {
	mu    sync.Mutex
	lines []string
}

// ServeHTTP implements http.Handler.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Method != http.MethodPost {
		for _, line := range d.lines {
			_, _ = fmt.Fprintln(w, line)
		}
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	line := r.URL.Path + " "
	if kind := r.Header.Get("Event-Type"); kind != "" {
		line += kind + " "
	}
	d.lines = append(d.lines, line+string(body))
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8432", "where to listen")
	flag.Parse()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "desk:", err)
		os.Exit(1)
	}
	fmt.Printf("desk on http://%s\n", listener.Addr())
	server := &http.Server{Handler: &desk{}, ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, "desk:", server.Serve(listener))
	os.Exit(1)
}
