package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// devLoop is one `tasker plugin dev`.
type devLoop struct {
	*app

	command *cobra.Command
	cfg     *config
	project *devProject
	flags   requestFlags // of the task to run
	run     string       // template of the task to run, empty = none
	event   string       // event to deliver, empty = none
	once    bool
	debug   bool
	host    *devHost // nil before the first build
	serving build    // what the host runs
}

func (a *app) pluginDevCommand() *cobra.Command {
	d := &devLoop{app: a}
	c := &cobra.Command{
		Use:   "dev DIR",
		Short: "Run a plugin while it is written: build and swap whenever a file is saved",
		Long: `Run the plugin whose source is in DIR, a Go main package, or a package.json whose script
"build" makes bin/tasker-plugin-NAME, in a host of its own; build it again whenever a file
is saved, and swap the process: the new one is started beside it and takes over, and what
the old one holds it finishes, within the setting grace (here 2s unless it is set); what it
does not finish by then runs again with the new one. What does not compile is shown, or
does not start, and the last one that did goes on.

With --run a task of the template is run after each build, with --event an example of the
event is delivered to the plugin's subscribers. Without either the host takes what other
commands ask of it, and prints the events of its tasks.

The home is that of --home or TASKER_HOME, else .tasker in this directory where there is
one, else in DIR. Its settings hold, and its other plugins run, too. The plugin runs as it
was built: nothing of it is pinned, and no lock file is written.

--debug builds without optimisations, lets the plugin be silent for as long as a debugger
holds it, and prints how to attach one; with --run it waits for Enter then.

With --once all this happens once; the exit code is 0 when the plugin got ready and what
was run or delivered has succeeded.`,
		Example: `  tasker plugin dev orders --run orders/template.yaml --input '{"name": "Ada"}'
  tasker plugin dev pager --event step.failed
  tasker plugin dev orders --debug --run orders/template.yaml --input @order.json`,
		Args: args(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	hostFlags(c)
	f := c.Flags()
	f.StringVar(&d.run, "run", "", "run a task of this `TEMPLATE` after each build: a file, or the name of a registered one")
	f.StringVar(&d.flags.input, "input", "", "its input: `JSON`, @FILE, or @- for stdin")
	f.StringVar(&d.event, "event", "", "deliver the example of this `EVENT` after each build")
	f.BoolVar(&d.once, "once", false, "build and run once")
	f.BoolVar(&d.debug, "debug", false, "build for a debugger, and say how to attach one")
	_ = c.RegisterFlagCompletionFunc("run", a.completeTemplates)
	_ = c.RegisterFlagCompletionFunc("event", a.completeEvents)
	c.RunE = func(c *cobra.Command, given []string) error {
		if d.flags.input != "" && d.run == "" {
			return usageOf(c, errors.New("--input needs --run"))
		}
		d.command = c
		return d.start(c.Context(), given[0])
	}
	return c
}

// start finds the project and its home, and runs the loop.
func (d *devLoop) start(ctx context.Context, dir string) (err error) {
	if d.project, err = openProject(dir, d.debug); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.project.close()) }()
	if err := d.chooseHome(dir); err != nil {
		return err
	}
	if d.cfg, err = d.config(d.command); err != nil {
		return err
	}
	d.note("dev: %s runs in %s as it is built: no lock pins it, and none is written", dir, d.cfg.Home)
	defer func() { err = errors.Join(err, d.host.stop()) }()
	if d.once {
		return d.round(ctx)
	}
	watcher, err := watch(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watcher.close()) }()
	d.loop(ctx, watcher)
	return nil
}

// chooseHome makes the home that of the project unless another one is named or there is
// one in this directory.
func (d *devLoop) chooseHome(dir string) error {
	named, _ := d.lookup("TASKER_HOME")
	if _, err := os.Stat(defaultHome); err == nil || named != "" || d.command.Flags().Changed("home") {
		return nil
	}
	return d.command.Flags().Set("home", filepath.Join(dir, defaultHome))
}

// loop does a round after each change until ctx ends. A change cuts short what the round
// before is still doing.
func (d *devLoop) loop(ctx context.Context, w *watcher) {
	for ctx.Err() == nil {
		work, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { // ends with work
			defer close(done)
			if err := d.round(work); err != nil && work.Err() == nil {
				_ = d.finish(err) // the next change may mend it
			}
		}()
		select {
		case <-done:
			d.note("dev: waiting for a change")
			select {
			case <-w.changes:
			case <-ctx.Done():
			}
		case <-w.changes:
		case <-ctx.Done():
		}
		cancel()
		<-done
	}
}

// round builds the plugin, swaps it, and tries it.
func (d *devLoop) round(ctx context.Context) error {
	begun := d.now()
	b, err := d.project.build(ctx)
	if err != nil {
		return err
	}
	if d.host == nil || b != d.serving {
		d.note("dev: %s %s built in %s", b.name, b.version, seconds(d.now().Sub(begun)))
		if err := d.swap(ctx, b); err != nil {
			return err
		}
	}
	if d.event != "" {
		if err := d.deliver(ctx, b.name); err != nil {
			return err
		}
	}
	if d.run != "" {
		return d.runTask(ctx)
	}
	if d.event == "" && !d.once {
		return d.showEvents(ctx)
	}
	return nil
}

// swap has a build serve: as an upgrade of the one that serves, so that steps and
// deliveries which are under way are finished by it, or by a new host where that cannot be.
func (d *devLoop) swap(ctx context.Context, b build) error {
	p, err := d.host.serves(ctx, d.serving)
	if err != nil {
		return err
	}
	if p != nil && b.name == d.serving.name {
		err = d.upgrade(ctx, p, b)
	} else {
		err = d.restart(ctx, b)
	}
	if err != nil || !d.debug {
		return err
	}
	if p, err = d.host.awaitPlugin(ctx, b.name); err != nil {
		return err
	}
	return d.explainDebugger(p.PID, b.path)
}

// restart ends the host, if there is one, and starts another one with a build, in the same
// home.
func (d *devLoop) restart(ctx context.Context, b build) error {
	old := d.host
	d.host = nil
	if err := old.stop(); err != nil {
		return err
	}
	next, err := startDev(ctx, d, b)
	if err != nil {
		return err
	}
	d.host, d.serving = next, b
	p, err := d.host.awaitPlugin(ctx, b.name)
	if err != nil {
		return err
	}
	if !works(p) {
		return fmt.Errorf("plugin %s is %s: %s", b.name, p.State, p.Cause)
	}
	d.note("dev: %s is ready, process %d", p.Instance, p.PID)
	return nil
}

// upgrade starts a build beside the one that serves, which hands over and ends.
func (d *devLoop) upgrade(ctx context.Context, old *host.PluginInfo, b build) error {
	r := host.UpgradeRequest{Plugin: b.name, Action: host.ActionUpgrade, Path: b.path, Probe: devProbe, Force: true}
	result, err := d.host.UpgradePlugin(ctx, r, func(p host.UpgradeProgress) {
		if p.Phase == host.UpgradeDraining && old.InFlight > 0 {
			d.note("dev: %s finishes what it holds, for up to %s", old.Instance, d.grace())
		}
	})
	if err != nil {
		return err
	}
	if result.Phase == host.UpgradeRolled {
		return fmt.Errorf("%s goes on: %s", old.Instance, result.Why)
	}
	d.serving = b
	p, err := d.host.awaitPlugin(ctx, b.name)
	if err != nil {
		return err
	}
	d.note("dev: %s has taken over from %s, process %d", p.Instance, old.Instance, p.PID)
	return nil
}

// deliver sends the example of the event to all subscriptions of the plugin that are
// about it.
func (d *devLoop) deliver(ctx context.Context, plugin string) error {
	subs, err := d.host.Subscriptions(ctx)
	if err != nil {
		return err
	}
	found, failed := false, false
	for i := range subs {
		owner, _, _ := strings.Cut(subs[i].Name, "/")
		if owner != plugin || !slices.ContainsFunc(subs[i].Events, func(p string) bool { return event.Match(p, d.event) }) {
			continue
		}
		found = true
		r, err := d.host.TryEvent(ctx, host.TryRequest{Subscription: subs[i].Name, Type: d.event})
		if err != nil {
			return err
		}
		if err := d.printTrial(r, &subs[i], []string{subs[i].Name, d.event}, false); err != nil {
			return err
		}
		failed = failed || r.Verdict != verdictAcked
	}
	switch {
	case !found:
		return fmt.Errorf("no subscription of %s is about %s", plugin, d.event)
	case failed:
		return exit(exitFailed)
	default:
		return nil
	}
}

// runTask runs a task and shows it.
func (d *devLoop) runTask(ctx context.Context) error {
	r := &runner{app: d.app, command: d.command, cfg: d.cfg, service: d.host.Host}
	req, err := d.request(d.command, &d.flags, d.cfg, d.run)
	if err != nil {
		return err
	}
	req.RequireHandlers = true
	d.host.logs.to(r.show())
	defer d.host.logs.to(d.stderr)
	id, err := r.start(ctx, req)
	if err == nil {
		err = r.follow(ctx, id)
	}
	d.host.tail.flush()
	r.progress.close()
	if err != nil || r.stopped != nil {
		return err
	}
	return r.report(ctx, d.run)
}

// showEvents prints the events of all tasks from now on.
func (d *devLoop) showEvents(ctx context.Context) error {
	d.note("dev: create tasks from another terminal: tasker run TEMPLATE --home %s", shellWord(d.cfg.Home))
	err := d.tail(ctx, d.host, host.EventQuery{Follow: true, Since: d.now()}, false)
	if errors.Is(err, task.ErrStopping) {
		return nil
	}
	return err
}
