package cli

import (
	"context"
	"errors"
	"io"

	"github.com/tasker-engine/tasker/host"
)

// ownHost is a host that this command runs itself, for one task.
type ownHost struct {
	host  *host.Host
	drain context.CancelFunc // begins its orderly end
	logs  io.Writer
	ended chan struct{} // closed when it has ended
	err   error         // why it ended; read after ended
}

// startOwn opens the home and runs a host in it.
func startOwn(ctx context.Context, a *app, cfg *config, logs io.Writer) (*ownHost, error) {
	opts := cfg.hostOptions()
	opts.Mode = host.ModeRun
	opts.HealthAddr = "" // somebody who watches a service means the one that stays
	levels := cfg.LogLevel
	if cfg.origins["log_level"] == originDefault {
		levels, opts.LogLevel = "warn", "warn"
	}
	logging := *cfg
	if logging.LogFormat == formatAuto {
		logging.LogFormat = formatText // as all else on the stderr of a command is for people
	}
	quiet := *a
	quiet.stderr = logs
	quiet.warnOfMissing(cfg)
	opts.Logger = quiet.logger(&logging, levels)
	return runHost(ctx, opts, logs)
}

// runHost opens the home and runs a host in it, which outlives ctx.
func runHost(ctx context.Context, opts host.Options, logs io.Writer) (*ownHost, error) {
	second, stopListening := secondInterrupt()
	opts.Abort = second
	h, err := host.Open(ctx, opts)
	if err != nil {
		stopListening()
		return nil, err
	}
	o := &ownHost{host: h, logs: logs, ended: make(chan struct{})}
	var run context.Context
	run, o.drain = context.WithCancel(context.WithoutCancel(ctx))
	go func() { // ends with the host
		defer stopListening()
		o.err = h.Run(run)
		close(o.ended)
	}()
	select {
	case <-h.Ready():
		return o, nil
	case <-o.ended:
		return nil, o.failure()
	}
}

// failed is closed when the host has ended; nil, which never is, for no host.
func (o *ownHost) failed() <-chan struct{} {
	if o == nil {
		return nil
	}
	return o.ended
}

// over reports whether the host has ended.
func (o *ownHost) over() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

// failure is why the host ended by itself.
func (o *ownHost) failure() error {
	<-o.ended
	if o.err != nil {
		return o.err
	}
	return errors.New("the host has ended")
}

// stop ends the host in an orderly way and waits for it.
func (o *ownHost) stop() error {
	o.drain()
	<-o.ended
	return o.err
}
