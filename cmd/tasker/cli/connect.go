package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// How long a command waits for a home that is locked but answers nowhere yet: a host is
// just starting or stopping there.
const (
	lockPatience = 5 * time.Second
	lockPause    = 50 * time.Millisecond
)

// running connects to the host that runs in the home.
func (a *app) running(ctx context.Context, cfg *config) (*host.Client, error) {
	if socket, token, ok := a.given(cfg.Home); ok {
		return host.DialToken(ctx, cfg.Home, socket, token)
	}
	return host.Dial(ctx, cfg.Home)
}

// reading returns what answers reading commands: the host that runs in the home, else
// the home itself. The caller calls done.
func (a *app) reading(ctx context.Context, cfg *config) (s host.Service, done func(), err error) {
	err = whileLocked(ctx, func() error {
		client, err := a.running(ctx, cfg)
		if err == nil {
			s, done = client, func() { _ = client.Close() } // nothing was written
			return nil
		}
		if !errors.Is(err, host.ErrNoHost) {
			return err
		}
		reader, err := host.OpenReader(ctx, cfg.hostOptions())
		if err != nil {
			return err
		}
		s, done = reader, func() { _ = reader.Close() } // nothing was written
		return nil
	})
	if errors.Is(err, task.ErrNotFound) {
		err = withHint(err, "tasker run TEMPLATE makes one; --home names another")
	}
	return s, done, err
}

// whileLocked calls f again as long as it says that another process holds the home and
// there is patience.
func whileLocked(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		err := f()
		if !errors.Is(err, task.ErrLocked) {
			return err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return err
		}
	}
}

// ask runs a reading command: config, service, answer.
func (a *app) ask(c *cobra.Command, f func(ctx context.Context, cfg *config, s host.Service) error) error {
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	s, done, err := a.reading(c.Context(), cfg)
	if err != nil {
		return err
	}
	defer done()
	return f(c.Context(), cfg, s)
}

// tell runs a command that needs a running host.
func (a *app) tell(c *cobra.Command, f func(ctx context.Context, cfg *config, client *host.Client) error) error {
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	client, err := a.running(c.Context(), cfg)
	if err != nil {
		return err
	}
	err = f(c.Context(), cfg, client)
	if closeErr := client.Close(); err == nil && closeErr != nil {
		return fmt.Errorf("end the call: %w", closeErr)
	}
	return err
}

// operator is who types the command.
func operator() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return os.Getenv("USER")
}
