package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"golang.org/x/time/rate"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// maxHosts is how many hosts are remembered. A client that calls more of them forgets all and starts afresh.
const maxHosts = 1024

// minWait is the least that a call is put off for.
const minWait = 100 * time.Millisecond

// guards protect hosts, each on its own.
type guards struct {
	breaker Breaker
	rate    Rate

	mu    sync.Mutex
	hosts map[string]*guard
}

func newGuards(b Breaker, r Rate) *guards {
	return &guards{breaker: b, rate: r, hosts: make(map[string]*guard)}
}

// of returns the guard of a host, such as "api.example.com:8443".
func (g *guards) of(host string) *guard {
	g.mu.Lock()
	defer g.mu.Unlock()
	if one := g.hosts[host]; one != nil {
		return one
	}
	if len(g.hosts) >= maxHosts {
		clear(g.hosts)
	}
	one := &guard{host: host, delay: g.breaker.Delay}
	if g.breaker.Failures > 0 {
		one.breaker = circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(uint(g.breaker.Failures)).WithSuccessThreshold(1).WithDelay(g.breaker.Delay).Build()
	}
	if g.rate.PerSecond > 0 {
		one.limiter = rate.NewLimiter(rate.Limit(g.rate.PerSecond), g.rate.Burst)
	}
	g.hosts[host] = one
	return one
}

// guard protects one host.
type guard struct {
	host    string
	delay   time.Duration
	breaker circuitbreaker.CircuitBreaker[any] // nil = none
	limiter *rate.Limiter                      // nil = none
}

// outcome is what a call says about the health of its host.
type outcome int

const (
	worked    outcome = iota // it answers
	failed                   // it does not, or with a 5xx
	abandoned                // nobody waited for the answer
)

// enter waits for the call's turn. After nil the caller says with leave how it went.
func (g *guard) enter(ctx context.Context) error {
	if err := g.wait(ctx); err != nil {
		return err
	}
	if g.breaker == nil || g.breaker.TryAcquirePermit() {
		return nil
	}
	wait := cmp.Or(g.breaker.RemainingDelay(), g.delay) // 0: another call is trying it right now
	delayed(ctx, trace.EventCircuitOpen, g.host, wait)
	return &sdk.Error{
		Err: fmt.Errorf("%s fails and is left alone for a while", g.host), Code: CodeCircuitOpen,
		Verdict: sdk.Retryable, Source: sdk.FromDownstream, RetryAfter: max(wait, minWait),
	}
}

// wait waits as the rate asks.
func (g *guard) wait(ctx context.Context) error {
	if g.limiter == nil {
		return nil
	}
	turn := g.limiter.Reserve()
	delay := turn.Delay()
	if delay == 0 {
		return nil
	}
	delayed(ctx, trace.EventRateLimited, g.host, delay)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
		turn.Cancel()
		return &sdk.Error{
			Err: fmt.Errorf("calls to %s are limited to %g a second", g.host, float64(g.limiter.Limit())), Code: CodeRateLimited,
			Verdict: sdk.Retryable, RetryAfter: max(delay, minWait),
		}
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		turn.Cancel()
		return context.Cause(ctx)
	}
}

// leave records how a call went.
func (g *guard) leave(o outcome) {
	switch {
	case g.breaker == nil:
	case o == worked:
		g.breaker.RecordSuccess()
	case o == failed, g.breaker.IsHalfOpen(): // an abandoned trial must not stay pending
		g.breaker.RecordFailure()
	}
}
