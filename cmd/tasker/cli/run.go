package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) runCommand() *cobra.Command {
	var (
		flags requestFlags
		r     runner
	)
	c := &cobra.Command{
		Use:   "run TEMPLATE",
		Short: "Run one task and wait for its end",
		Long: `Run one task and wait for its end. TEMPLATE is the path of a YAML or JSON file, or
namespace/name[@version] of a template in a template directory.

When a host runs in the home, it is asked to run the task; else a host is started for
this task alone, which takes no other: to run several at once in one home, keep a host
running with ` + "`tasker serve`" + `. On a terminal the steps are drawn while they
run, elsewhere each change is one line. An interrupt lets running attempts end and then
stops; a second one stops at once. Either way nothing is lost: --resume goes on with
the task.

--json prints one object:
  {"id", "template", "status", "error", "started_at", "completed_at", "correlation_id",
   "steps": [{"name", "status", "attempts", "handler", "error", "reason",
              "started_at", "completed_at", "results"}]}
Times are RFC 3339 in UTC with nine fractional digits; what is not set is null.

The exit code is 0 when the task is complete, 1 when it is not, 2 for wrong usage.`,
		Example: `  tasker run order.yaml --input '{"id": 7}' --plugin-dir bin/plugins
  tasker run shop/order@1.2.0 --input @order.json --json
  tasker run census.yaml --resume`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTemplates,
	}
	flags.add(c)
	hostFlags(c)
	f := c.Flags()
	f.DurationVar(&r.timeout, "timeout", 0, "stop waiting after this time (default never); a host that run started itself then lets what runs end, for as long as the grace")
	f.BoolVar(&r.resume, "resume", false, "go on with the newest unfinished task of this template and input, if there is one")
	f.BoolVar(&r.wait, "wait", false, "create the task although no plugin offers one of its handlers, and wait for one")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		r.app, r.json, r.command = a, *asJSON, c
		return r.run(c.Context(), &flags, given[0])
	}
	return c
}

// runner is one `tasker run`.
type runner struct {
	*app

	command *cobra.Command
	timeout time.Duration
	resume  bool
	wait    bool
	json    bool

	cfg      *config
	service  host.Service
	own      *ownHost // nil when another process runs the host
	progress progress
	last     *task.View // the newest view
	stopped  error      // why waiting ended before the task did
}

// Why waiting may end before the task does.
var (
	errInterrupted = errors.New("interrupted")
	errTimedOut    = errors.New("the time to wait is over")
)

func (r *runner) run(ctx context.Context, flags *requestFlags, ref string) (err error) {
	if r.cfg, err = r.config(r.command); err != nil {
		return err
	}
	req, err := r.request(r.command, flags, r.cfg, ref)
	if err != nil {
		return err
	}
	req.RequireHandlers = !r.wait
	logs := r.show()
	release, err := r.connect(ctx, logs, req.Source == nil)
	if err != nil {
		r.progress.close()
		return err
	}
	id, err := r.start(ctx, req)
	if err == nil {
		err = r.follow(ctx, id)
	}
	if err == nil && r.last.Status.Terminal() {
		var v *task.View
		if v, err = r.service.Task(context.WithoutCancel(ctx), string(id)); err == nil {
			r.last = v
		}
	}
	r.progress.close()
	if releaseErr := release(); err == nil && releaseErr != nil {
		r.note("tasker: %v", releaseErr)
	}
	if err != nil {
		return err
	}
	return r.report(ctx, ref)
}

// show chooses how the task is shown while it runs, and returns where the log of a host
// of our own goes.
func (r *runner) show() (logs io.Writer) {
	stream := io.Writer(r.out)
	if r.json {
		stream = r.stderr
	}
	r.progress = silent{}
	if s := r.terminal(stream); s != nil {
		l := newLive(s, r.now)
		r.progress = l
		if r.terminal(r.stderr) != nil {
			return l
		}
	} else if !r.json {
		r.progress = &plain{print: func(format string, args ...any) { r.out.printf(format+"\n", args...) }, now: r.now}
	}
	return r.stderr
}

// connect finds the host of the home, or starts one. Registered says that the template is
// one of the host, and no file.
func (r *runner) connect(ctx context.Context, logs io.Writer, registered bool) (release func() error, err error) {
	err = whileLocked(ctx, func() error {
		client, err := r.running(ctx, r.cfg)
		switch {
		case err == nil:
			r.service, release = client, client.Close
			r.warnIgnoredFlags(registered)
			return nil
		case !errors.Is(err, host.ErrNoHost):
			return err
		}
		if r.own, err = startOwn(ctx, r.app, r.cfg, logs); err != nil {
			return err
		}
		r.service, release = r.own.host, r.own.stop
		return nil
	})
	return release, err
}

// warnIgnoredFlags names flags that only a host of our own would have used; registered as
// in connect.
func (r *runner) warnIgnoredFlags(registered bool) {
	names := []string{"plugin-dir", "template-dir", "log-level", "log-format", "grace"}
	if registered {
		names = append(names, "env") // the host has merged its own when it read the template
	}
	for _, name := range names {
		if r.command.Flags().Changed(name) {
			r.note("note: a host runs in %s already, so --%s changes nothing", r.cfg.Home, name)
		}
	}
}

// start creates the task, or finds the one to go on with.
func (r *runner) start(ctx context.Context, req task.Request) (task.ID, error) {
	if r.resume {
		id, err := r.service.UnfinishedTask(ctx, req)
		if err == nil {
			r.note("resuming task %s", id)
			return id, nil
		}
		if !errors.Is(err, task.ErrNotFound) {
			return "", err
		}
	}
	created, err := r.service.CreateTask(ctx, req)
	if errors.Is(err, host.ErrUnknownHandler) {
		return "", withHint(err, unknownHandlerHint(err))
	}
	if err != nil {
		return "", err
	}
	for _, w := range created.Warnings {
		r.note("warning: %s", w)
	}
	if created.Duplicate {
		r.note("the idempotency key is known: this is task %s", created.ID)
	}
	return created.ID, nil
}

// unknownHandlerHint is what the host proposes, and the way to start anyway.
func unknownHandlerHint(err error) string {
	own := hintFor(err)
	const anyway = "or start the task anyway and let it wait: --wait"
	if own == "" {
		return anyway
	}
	return own + "; " + anyway
}

// follow shows the task until it has ended, or until waiting ends: by an interrupt or
// by --timeout. A host of our own is then asked to stop, and is shown while it drains.
func (r *runner) follow(ctx context.Context, id task.ID) (err error) {
	if r.last, err = r.service.Task(context.WithoutCancel(ctx), string(id)); err != nil {
		return err
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- r.service.WatchTask(watch, string(id), func(v *task.View) error {
			r.last = v
			r.progress.update(v)
			if !v.Status.Terminal() {
				breathe(watch, len(v.Steps))
			}
			return nil
		})
	}()
	var timeout <-chan time.Time
	if r.timeout > 0 {
		timer := time.NewTimer(r.timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	interrupted := ctx.Done()
	for {
		select {
		case err := <-ended:
			return r.watched(err)
		case <-interrupted:
			interrupted = nil
			r.giveUp(errInterrupted, cancel)
		case <-timeout:
			timeout = nil
			r.giveUp(errTimedOut, cancel)
		case <-r.own.failed():
			cancel()
		}
	}
}

// breathe waits before the next look at a task: a look costs in proportion to its steps,
// and more of them than a person can see would only slow the task down.
func breathe(ctx context.Context, steps int) {
	const perStep = 50 * time.Microsecond
	select {
	case <-time.After(min(time.Duration(steps)*perStep, frameTime)):
	case <-ctx.Done():
	}
}

// watched makes sense of how watching ended.
func (r *runner) watched(err error) error {
	switch {
	case err == nil:
		r.stopped = nil // it ended after all
		return nil
	case r.stopped != nil:
		return nil //nolint:nilerr // whatever a host that was asked to stop answers last
	case r.own != nil && errors.Is(err, context.Canceled):
		return r.own.failure()
	case errors.Is(err, task.ErrStopping):
		r.stopped = err
		return nil
	default:
		return err
	}
}

// giveUp ends the waiting.
func (r *runner) giveUp(why error, cancel context.CancelFunc) {
	if r.stopped != nil {
		return
	}
	r.stopped = why
	if r.own == nil {
		cancel()
		return
	}
	_, _ = fmt.Fprintf(r.own.logs, "%v: running attempts may end (up to %s); interrupt again to stop at once\n", why, r.cfg.Grace)
	r.own.drain()
}
