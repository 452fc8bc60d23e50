package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// errNoConnection is why events wait.
var errNoConnection = errors.New("there is no connection to the server")

// trouble is what is wrong with the connection.
type trouble struct {
	log  *slog.Logger
	hint string // what is told beside it when nobody named a server: then it is no warning

	mu    sync.Mutex
	last  error           // nil = nothing yet
	alive context.Context //nolint:containedctx // it is what a connection has: an end. Nil = there was none
	lose  context.CancelCauseFunc
}

// notice takes what has happened, and logs it unless it is the same as before: it happens every second.
func (t *trouble) notice(conn *nats.Conn, err error) {
	if err == nil { // the plugin ends
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lose != nil && !conn.IsConnected() {
		t.lose(errNoConnection)
	}
	if t.last == nil || t.last.Error() != err.Error() {
		if t.hint != "" {
			t.log.Info("there is trouble with the connection", "error", err, "hint", t.hint)
		} else {
			t.log.Warn("there is trouble with the connection", "error", err)
		}
	}
	t.last = err
}

// over takes news of a connection.
func (t *trouble) over(conn *nats.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = nil
	if t.lose != nil {
		t.lose(errNoConnection)
	}
	t.alive, t.lose = context.WithCancelCause(context.Background())
	t.log.Info("there is a connection", "server", conn.ConnectedUrlRedacted())
}

// during ends a context with the connection: who waits for an answer then waits in vain.
func (t *trouble) during(ctx context.Context) (context.Context, context.CancelFunc) {
	t.mu.Lock()
	alive := t.alive
	t.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	if alive == nil {
		return ctx, func() { cancel(nil) }
	}
	stop := context.AfterFunc(alive, func() { cancel(errNoConnection) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// close ends what waits.
func (t *trouble) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lose != nil {
		t.lose(errNoConnection)
	}
}

// err is why there is no connection.
func (t *trouble) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		return sdk.Unavailable(errNoConnection)
	}
	return sdk.Unavailable(fmt.Errorf("%w: %w", errNoConnection, t.last))
}
