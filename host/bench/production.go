package bench

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// NameProduction is the workload of [Production].
const NameProduction = "production"

// HandlerWork is the handler of [RoleHandler] that does what [Work] says and returns its
// input.
const HandlerWork = "work"

// The workload: what an order shop and its reports ask of one host.
const (
	productionPayload     = 10 << 10
	productionSubscribers = 3
	productionShare       = 0.7  // of what saturates the host
	productionCensus      = 10   // one task in so many is the large one
	productionFlight      = 1024 // tasks in flight that saturate the host

	workMedian    = 12 * time.Millisecond
	workSpread    = 1.2 // standard deviation of the logarithm
	workShortest  = time.Millisecond
	workLongest   = 500 * time.Millisecond
	workRetryable = 0.05
	workPermanent = 0.005

	lagInterval = 100 * time.Millisecond
)

// Job is what one attempt of [HandlerWork] does.
type Job struct {
	Takes time.Duration
	// Fails is whether it then fails; Permanent, whether for good.
	Fails, Permanent bool
}

// Work returns the job of an attempt. It follows from the attempt's id: log-normal between
// 1 and 500 ms, one in 20 fails, one in 200 for good.
func Work(attempt string) Job {
	h := fnv.New64a()
	_, _ = h.Write([]byte(attempt))          // never fails
	r := rand.New(rand.NewPCG(h.Sum64(), 0)) //nolint:gosec // a load, no secret
	takes := time.Duration(float64(workMedian) * math.Exp(workSpread*r.NormFloat64()))
	j := Job{Takes: min(max(takes, workShortest), workLongest)}
	luck := r.Float64()
	j.Permanent = luck < workPermanent
	j.Fails = luck < workPermanent+workRetryable
	return j
}

// ProductionResult is what the workload production gave.
type ProductionResult struct {
	Saturation  float64 `json:"saturation_tasks_per_second"` // with 1,024 tasks in flight
	Rate        float64 `json:"rate"`                        // tasks per second, 70 % of it
	Payload     int     `json:"payload_bytes"`
	Subscribers int     `json:"subscribers"`

	Tasks          int     `json:"tasks"`
	Failed         int     `json:"failed"` // of them
	Steps          int     `json:"steps"`
	Seconds        float64 `json:"seconds"`
	StepsPerSecond float64 `json:"steps_per_second"`
	Retries        int     `json:"retries"`
	Lost           int     `json:"lost"` // attempts, to the crash of the plugin

	Task     Latency `json:"task"`
	Step     Latency `json:"step"` // of an attempt, the handler's own time included
	Observed Latency `json:"observed"`
	Lag      Latency `json:"lag"`        // of the subscriptions, looked at every 100 ms
	LagMost  uint64  `json:"lag_events"` // the most events that one of them was behind
	Cost     Cost    `json:"cost"`
}

// Production measures an open loop at 70 % of what saturates the host: orders and censuses
// mixed, payloads of 10 KB, handlers that take 1 to 500 ms and fail now and then, three
// subscriptions to everything, and a crash of the plugin in the middle.
func Production(ctx context.Context, cfg Config) (_ *ProductionResult, err error) {
	cfg.Workload = Workload{Name: NameProduction, deps: [][]int{nil}}
	cfg.Payload, cfg.Subscribers = productionPayload, productionSubscribers
	cfg.Templates = productionTemplates()
	h, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p := &production{running: h}
	r, err := p.measure(ctx)
	if ended := h.end(); err == nil {
		err = ended
	}
	return r, err
}

// productionTemplates are the templates by file name.
func productionTemplates() map[string]string {
	const head = "version: 1.0.0\ndefaults: {retry: {limit: 4, backoff: exponential, base: 50ms, cap: 1s}}\nsteps:\n"
	orders := Workload{deps: [][]int{nil, {0}, {0}, {1, 2}, {2, 3}}} // validate; reserve, charge; ship; notify
	census := Workload{deps: append(spread(2*8), []int{2*8 + 1})}    // discover; 8 analyse and 8 compare; merge; report
	work := RoleHandler + "/" + HandlerWork
	return map[string]string{
		"orders.yaml": "name: orders\n" + head + orders.steps(work),
		"census.yaml": "name: census\n" + head + census.steps(work),
	}
}

// production is one call of Production.
type production struct {
	*running

	lag  []time.Duration
	most uint64
}

func (p *production) measure(ctx context.Context) (*ProductionResult, error) {
	load := Load{MayFail: true, For: p.cfg.For, Tasks: p.cfg.Tasks, InFlight: productionFlight}
	for i := range productionCensus {
		name := "orders"
		if i == 0 {
			name = "census"
		}
		load.Mix = append(load.Mix, task.Request{Template: "default/" + name, Input: document(productionPayload)})
	}
	saturated, err := Drive(ctx, p.Host, load)
	if err != nil {
		return nil, fmt.Errorf("saturate: %w", err)
	}
	saturation := float64(saturated.Tasks) / saturated.Took.Seconds()
	load.Rate, load.InFlight = productionShare*saturation, 0
	used := Measure()
	watched, stop := context.WithCancel(ctx)
	var side sync.WaitGroup
	var crashed, looked error
	side.Go(func() { looked = p.watchLag(watched) })
	side.Go(func() { crashed = p.crash(ctx, load) })
	s, err := Drive(ctx, p.Host, load)
	stop()
	side.Wait()
	for _, e := range []error{err, crashed, looked} {
		if e != nil {
			return nil, e
		}
	}
	used = Measure().since(used).without(s.Reading)
	r := &ProductionResult{
		Saturation: saturation, Rate: load.Rate, Payload: productionPayload, Subscribers: productionSubscribers,
		Tasks: s.Tasks, Failed: s.Failed, Steps: s.Steps, Seconds: s.Took.Seconds(), StepsPerSecond: float64(s.Steps) / s.Took.Seconds(),
		Retries: s.Events["step.retry_scheduled"], Lost: s.Events["step.attempt_lost"],
		Task: latency(s.Task), Step: latency(s.Step), Observed: latency(s.Observed),
		LagMost: p.most, Cost: newCost(float64(s.Steps), used, s.Reading.CPU),
	}
	lag := newHistogram()
	for _, d := range p.lag {
		record(lag, d)
	}
	r.Lag = latency(lag)
	return r, nil
}

// crash kills the plugin's process in the middle of the load.
func (p *production) crash(ctx context.Context, load Load) error {
	long := load.For
	if load.Tasks > 0 {
		long = time.Duration(float64(load.Tasks) / load.Rate * float64(time.Second))
	}
	if err := pause(ctx, long/2); err != nil {
		return err
	}
	all, err := p.Plugins(ctx)
	if err != nil {
		return fmt.Errorf("crash: %w", err)
	}
	for _, plugin := range all {
		if plugin.Name != RoleHandler || plugin.PID == 0 {
			continue
		}
		process, err := os.FindProcess(plugin.PID)
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			return fmt.Errorf("crash: %w", err)
		}
	}
	return nil
}

// watchLag looks at how late the subscriptions are until ctx ends.
func (p *production) watchLag(ctx context.Context) error {
	for pause(ctx, lagInterval) == nil {
		all, err := p.Subscriptions(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the load is over
			}
			return fmt.Errorf("lag: %w", err)
		}
		p.look(all)
	}
	return nil
}

func (p *production) look(all []host.SubscriptionStatus) {
	for i := range all {
		p.most = max(p.most, all[i].Behind)
		p.lag = append(p.lag, all[i].BehindFor)
	}
}

// write writes the templates of a run.
func (cfg *Config) write(dir, usage string) error {
	files := map[string]string{"usage.yaml": usage}
	maps.Copy(files, cfg.Templates)
	if len(cfg.Templates) == 0 {
		files["workload.yaml"] = cfg.Workload.Template(RoleHandler + "/" + HandlerEcho)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), fileMode); err != nil {
			return err
		}
	}
	return nil
}
