package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

const (
	version = "1.0.0"

	// stateFile is in the plugin's data directory, which is its working directory.
	stateFile = "state.json"
	// evaluateEvery is how often it is looked whether alerts have ended, and what has not happened.
	evaluateEvery = 5 * time.Second
)

// plugin is the plugin.
func plugin(a *alerts) sdk.Plugin {
	return sdk.Plugin{
		Name:        "alert",
		Version:     version,
		Title:       "Raises alerts.",
		Description: "Watches failure rates, durations, silence and dead letters, and tells an Alertmanager.",
		Vendor:      "Tasker",
		Licence:     "Apache-2.0",
		Config:      a,
		Permissions: sdk.Permissions{Network: sdk.NetworkAny, FSRead: []string{"config:/alertmanagers/*/ca_file"}, Env: []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}},
		Subscribers: sdk.Subscribers{
			"events": sdk.Subscribe(a.routes(), sdk.SubscriberOptions{Description: "Watches what the rules are about."}),
		},
	}
}

// alerts is the plugin's configuration, and what is made of it.
type alerts struct {
	config

	every   time.Duration // 0 = evaluateEvery
	senders []*sender
	log     *slog.Logger
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	engine *engine
}

var (
	_ sdk.Checker = (*alerts)(nil)
	_ io.Closer   = (*alerts)(nil)
)

// Check makes the rules, takes up what an earlier process has left, and starts what tells Alertmanagers. Without rules
// there is nothing to do: events are acked, and what an earlier process has left stays as it is.
func (a *alerts) Check(ctx context.Context) error {
	e, err := a.prepare(ctx)
	if err != nil {
		return err
	}
	if len(a.Rules) == 0 {
		a.engine = e
		a.log.InfoContext(ctx, "no rules are set: the plugin watches for nothing")
		return nil
	}
	a.start(context.WithoutCancel(ctx), e)
	return nil
}

// prepare makes rules and senders.
func (a *alerts) prepare(ctx context.Context) (*engine, error) {
	a.config, a.log, a.senders = a.withDefaults(), sdk.Slog(ctx), nil
	if err := a.validate(); err != nil {
		return nil, err
	}
	e := &engine{maxAge: a.MaxAge.D(), resend: a.ResendEvery.D(), link: a.GeneratorURL}
	for i, c := range a.Rules {
		r, err := newRule(c)
		if err != nil {
			return nil, fmt.Errorf("/rules/%d%w", i, err)
		}
		e.rules = append(e.rules, r)
	}
	for i, m := range a.Alertmanagers {
		s, err := newSender(m)
		if err != nil {
			return nil, fmt.Errorf("/alertmanagers/%d%w", i, err)
		}
		s.every, s.log, s.notices, s.told = a.ResendEvery.D(), a.log, a.notices, a.told
		a.senders = append(a.senders, s)
	}
	if len(a.Rules) == 0 {
		return e, nil
	}
	return e, e.load(stateFile)
}

// start begins to watch the time and to tell.
func (a *alerts) start(ctx context.Context, e *engine) {
	ctx, a.stop = context.WithCancel(ctx)
	a.engine = e
	e.start(time.Now())
	a.running.Go(func() { a.watch(ctx) })
	for _, s := range a.senders {
		a.running.Go(func() { s.run(ctx) })
	}
}

// Close keeps what is remembered for the next process. What lasts then is told by it.
func (a *alerts) Close() error {
	if a.stop == nil {
		return nil
	}
	a.stop()
	a.running.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.save()
}

// watch lets the engine know that time passes.
func (a *alerts) watch(ctx context.Context) {
	every := a.every
	if every == 0 {
		every = evaluateEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		a.engine.tick(time.Now())
		a.keep(ctx, a.engine.changed)
		a.mu.Unlock()
	}
}

// keep saves what has changed and tells of alerts that began or ended. A file that cannot be written does not hold up
// events: it is tried again with the next tick. The lock is held.
func (a *alerts) keep(ctx context.Context, save bool) {
	raised := a.engine.takeRaised()
	if save || raised {
		if err := a.save(); err != nil {
			a.log.ErrorContext(ctx, "what is remembered is not on disk", "error", err)
		}
	}
	if raised {
		for _, s := range a.senders {
			s.changed()
		}
	}
}

// save writes the state file. The lock is held.
func (a *alerts) save() error {
	doc, err := a.engine.encode()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := write(stateFile, doc); err != nil {
		return err
	}
	a.engine.changed = false
	return nil
}

func (a *alerts) notices() []notice {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.engine.notices(time.Now())
}

func (a *alerts) told(all []notice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.engine.told(all)
}

// routes says what rules see of which events.
func (a *alerts) routes() sdk.Subscriber {
	return sdk.Routes(
		observed(a, func(sdk.Event[event.TaskInitialized]) observation { return observation{what: taskCreated} }),
		observed(a, func(e sdk.Event[event.TaskCompleted]) observation {
			return observation{what: taskCompleted, seconds: float64(e.Payload.TotalDuration)}
		}),
		observed(a, func(e sdk.Event[event.TaskFailed]) observation {
			return observation{what: taskFailed, seconds: float64(e.Payload.TotalDuration)}
		}),
		observed(a, func(e sdk.Event[event.StepCompleted]) observation {
			return observation{what: attemptCompleted, seconds: e.Payload.Timing().Execution.Seconds()}
		}),
		observed(a, func(e sdk.Event[event.StepFailed]) observation {
			o := observation{what: attemptFailed, seconds: e.Payload.Timing().Execution.Seconds()}
			if e.Payload.Final {
				o.what = stepFailed
			}
			return o
		}),
		observed(a, func(e sdk.Event[event.SubscriberDeadLettered]) observation {
			return observation{what: deadLetter, labels: map[string]string{
				labelSubscription: e.Payload.Subscription, labelEvent: e.Payload.EventType,
			}}
		}),
		sdk.On(func(_ context.Context, e sdk.Event[event.HostStarted]) error {
			if !e.Trial() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.engine.hostStarted(e.Payload.HostID, e.Seq, e.At)
			}
			return nil
		}),
	)
}

// observed receives an event and shows it to the rules. It never waits for an Alertmanager: once the event is
// answered for, an alert that it raised is on disk.
func observed[P event.Payload](a *alerts, see func(sdk.Event[P]) observation) sdk.Subscriber {
	return sdk.On(func(ctx context.Context, e sdk.Event[P]) error {
		o := see(e)
		o.seq, o.at = e.Seq, e.At
		if o.labels == nil {
			o.labels = map[string]string{labelNamespace: e.Namespace, labelTemplate: e.Template, labelStep: e.Step}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if e.Trial() {
			sdk.Slog(ctx).InfoContext(ctx, "a trial: no rule counts it", "would", strings.Join(a.engine.would(o), ", "))
			return nil
		}
		a.engine.observe(o, time.Now())
		a.keep(ctx, false)
		return nil
	})
}
