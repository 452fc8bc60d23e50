package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// How long a host that was started waits for the one that has the home.
const (
	// silentPatience is for one that answers nowhere: it is starting, or about to let go.
	silentPatience = 5 * time.Second
	// endPatience is for one that ends, beyond the time at which it cuts its attempts:
	// plugins are stopped and the store is closed.
	endPatience = 30 * time.Second
)

// openHost opens the home of a host that is to stay. A home whose host is ending is waited
// for; one whose host works is an error, or that host is asked to end with takeover.
func (a *app) openHost(ctx context.Context, opts host.Options, takeover bool) (*host.Host, error) {
	w := waiting{app: a, home: opts.Home, log: opts.Logger, takeover: takeover}
	for {
		h, err := host.Open(ctx, opts)
		if !errors.Is(err, task.ErrLocked) {
			return h, err
		}
		if err := w.look(ctx, err); err != nil {
			return nil, err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// waiting is what is known of the host that has the home.
type waiting struct {
	app      *app
	home     string
	log      hclog.Logger
	takeover bool

	asked  int       // the process that was asked to end, 0 = none
	ending int       // the process that said last that it ends, 0 = none
	until  time.Time // when it has to have let go
	told   int       // attempts in the line that was logged last
}

// look asks the holder of the home how it is. It returns an error when there is nothing to
// wait for; locked is the error of who tried to open the home.
func (w *waiting) look(ctx context.Context, locked error) error {
	if w.until.IsZero() {
		w.until = w.app.now().Add(silentPatience)
	}
	health := w.ask(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case health == nil:
	case health.Draining != nil:
		w.drains(health)
	case w.asked != 0 && w.asked == health.PID: // it is about to say so
	case w.asked != 0:
		return withHint(fmt.Errorf("%w: process %d has taken the home meanwhile", locked, health.PID), "tasker health tells of it")
	case !w.takeover || health.Mode != host.ModeServe:
		return w.refuse(health, locked)
	default:
		return w.stop(ctx, health)
	}
	if w.app.now().Before(w.until) {
		return nil
	}
	if w.ending == 0 {
		return locked
	}
	return withHint(fmt.Errorf("%w: process %d said that it ends, and did not", locked, w.ending), fmt.Sprintf("kill -KILL %d ends it; its attempts run again", w.ending))
}

// ask returns how the holder is, nil when it does not answer.
func (w *waiting) ask(ctx context.Context) *host.Health {
	ctx, cancel := context.WithTimeout(ctx, silentPatience)
	defer cancel()
	client, err := host.Dial(ctx, w.home)
	if err != nil {
		return nil
	}
	defer func() { _ = client.Close() }() // nothing was written
	health, err := client.Health(ctx)
	if err != nil {
		return nil
	}
	return health
}

// drains notes that the holder ends, and says so when there is something new to say.
func (w *waiting) drains(h *host.Health) {
	if w.ending != h.PID || w.told != h.Draining.Attempts {
		w.log.Info("waiting for the host that is ending in this home", "pid", h.PID, "attempts", h.Draining.Attempts,
			"until", h.Draining.Until.UTC().Format(time.RFC3339))
	}
	w.ending, w.told, w.until = h.PID, h.Draining.Attempts, h.Draining.Until.Add(endPatience)
}

func (w *waiting) refuse(h *host.Health, locked error) error {
	if h.Mode != host.ModeServe {
		return withHint(locked, fmt.Sprintf("process %d ends with its task; tasker health tells of it", h.PID))
	}
	return withHint(locked, fmt.Sprintf("tasker serve --takeover has process %d end and goes on where it was; tasker health tells of it", h.PID))
}

// stop asks the holder to end.
func (w *waiting) stop(ctx context.Context, h *host.Health) error {
	failed := func(err error) error {
		return withHint(fmt.Errorf("take the home over from process %d: %w", h.PID, err), fmt.Sprintf("kill -TERM %d ends it; then start this host", h.PID))
	}
	client, err := host.Dial(ctx, w.home)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = client.Close() }() // it was answered
	if err := client.StopHost(ctx, operator()); err != nil {
		return failed(err)
	}
	w.log.Info("taking over from the host that works in this home", "pid", h.PID, "version", h.Version)
	w.asked, w.until = h.PID, w.app.now().Add(endPatience)
	return nil
}
