package cli

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a host until it is stopped",
		Long: `Run a host in the home until it is stopped: it goes on with unfinished tasks, starts
plugins, and answers the other commands. It logs to stderr.

The first interrupt or terminate signal ends the intake and lets running attempts end,
for as long as --grace; the second one stops at once. What is cut runs again when a
host is started next. Under systemd it says when it is ready (Type=notify). A hangup
signal has the plugins reloaded whose configuration in tasker.yaml has changed; a file
that is refused changes nothing, and ` + "`tasker health`" + ` says why.

A home has one host. One that is ending is waited for; one that works is an error, or with
--takeover it is asked to end as by a terminate signal, and this host goes on where it was:
so a new version of tasker replaces an old one, and nothing is lost.`,
		Example: `  tasker serve --plugin-dir bin/plugins --template-dir templates
  tasker serve --home /var/lib/tasker --health-addr 127.0.0.1:7701
  tasker serve --takeover`,
		Args: args(0, 0),
	}
	hostFlags(c)
	c.Flags().String("health-addr", "", "loopback host:port that answers /livez and /readyz")
	takeover := c.Flags().Bool("takeover", false, "have the host that works in the home end, and go on where it was")
	c.RunE = func(c *cobra.Command, _ []string) error { return a.serve(c, *takeover) }
	return c
}

func (a *app) serve(c *cobra.Command, takeover bool) error {
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	a.warnOfMissing(cfg)
	opts := cfg.hostOptions()
	opts.Logger = a.logger(cfg, cfg.LogLevel)
	second, stopListening := secondInterrupt()
	defer stopListening()
	opts.Abort = second
	opts.Reread = func() (map[string]json.RawMessage, error) {
		now, err := a.config(c)
		if err != nil {
			return nil, err
		}
		return now.hostOptions().PluginConfigs, nil
	}
	h, err := a.openHost(c.Context(), opts, takeover)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	announced := make(chan struct{})
	go func() { // ends with ctx
		defer close(announced)
		a.announce(ctx, h, func(health *host.Health) {
			opts.Logger.Info("serving", "home", cfg.Home, "pid", os.Getpid(), "version", opts.Version,
				"health_addr", h.HealthAddr(), "metrics_addr", h.MetricsAddr(), "problems", health.Problems)
		})
	}()
	stopReloading := onHangup(func() { h.ReloadPlugins(ctx) })
	err = h.Run(ctx)
	cancel()
	stopReloading()
	<-announced
	return err
}

// announce tells the service manager when the host is ready and when it is stopping. It
// ends with ctx, or when the host stops.
func (a *app) announce(ctx context.Context, h *host.Host, ready func(*host.Health)) {
	if !awaitReady(ctx, h, ready) {
		return
	}
	if err := a.notify(notifyReady); err != nil {
		a.note("tasker: %v", err)
	}
	select {
	case <-h.Stopping():
	case <-ctx.Done():
	}
	if err := a.notify(notifyStopping); err != nil {
		a.note("tasker: %v", err)
	}
}

// awaitReady waits until the host takes work: its plugins are started or have failed.
func awaitReady(ctx context.Context, h *host.Host, ready func(*host.Health)) bool {
	select {
	case <-h.Ready():
	case <-ctx.Done():
		return false
	}
	const pause = 100 * time.Millisecond // only while plugins are being started
	for {
		health, err := h.Health(ctx)
		if err == nil && health.Ready {
			ready(health)
			return true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}
