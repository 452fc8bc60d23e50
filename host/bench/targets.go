package bench

import (
	"fmt"
	"time"
)

// Target is a promise about speed, and what was measured of it.
type Target struct {
	Name     string  `json:"name"`
	Want     string  `json:"target"`
	Got      string  `json:"measured"` // empty when this run did not measure it
	OfFloor  float64 `json:"of_floor"` // 0 = has no floor, or not measured
	Holds    bool    `json:"holds"`
	Measured bool    `json:"is_measured"`
}

// Targets for two processors, with fsync on, a real plugin process over mutual TLS, the
// full log, one subscription to everything and payloads of 100 bytes.
const (
	targetLinear   = 50_000 // steps per second
	targetFanout   = 100_000
	target64       = 20_000
	targetOfFloor  = 0.6
	targetP50      = 3500 * time.Microsecond
	targetP99      = 8 * time.Millisecond
	targetLatency  = 1.4 // of the floor's
	targetThreeP50 = 2200 * time.Microsecond
	target64P99    = 20 * time.Millisecond
	targetHostCPU  = 20 // microseconds per step
	targetBothCPU  = 35
	targetIdleRSS  = 40 << 20
	targetGrowth   = 1.5
	targetFinished = 1_000_000
	targetFilled   = 0.9 // of the throughput with an empty store
	targetOpenMs   = 2000
	targetListMs   = 50
	targetAnon     = 300 << 20

	targetPayload     = 100
	targetSubscribers = 1
	saturated         = 1024 // tasks in flight
	loaded            = 64

	smallDAG, largeDAG = "dag100", "dag10000"
)

// Targets compares results with the targets.
func Targets(results []*Result, idle *IdleResult) []Target {
	find := func(workload string, inFlight int) *Result {
		for _, r := range results {
			if r.Workload == workload && r.InFlight == inFlight && r.Payload == targetPayload && r.Subscribers == targetSubscribers && r.Finished == nil {
				return r
			}
		}
		return nil
	}
	busy, single := find("linear", saturated), find("linear", 1)
	out := []Target{
		throughput("linear, 1,024 in flight", busy, targetLinear),
		ofFloor("linear, 1,024 in flight: of the floor", busy),
		throughput("fanout, 1,024 in flight", find("fanout", saturated), targetFanout),
		ofFloor("fanout, 1,024 in flight: of the floor", find("fanout", saturated)),
		throughput("linear, 64 in flight", find("linear", loaded), target64),
		within("linear, 64 in flight: task p99", find("linear", loaded), p99, target64P99),
		within("linear, idle: task p50", single, p50, targetP50),
		within("linear, idle: task p99", single, p99, targetP99),
		latencyOfFloor("linear, idle: p50 of the floor's", single),
		within("three, idle: task p50", find("three", 1), p50, targetThreeP50),
		cpu("linear, 1,024 in flight: CPU of the host per step", busy, targetHostCPU, func(c Cost) float64 { return c.Host }),
		cpu("linear, 1,024 in flight: CPU of host and plugin per step", busy, targetBothCPU,
			func(c Cost) float64 { return c.Host + c.Plugin }),
		growth(find(smallDAG, 1), find(largeDAG, 1)),
	}
	out = append(out, finishedTargets(results, busy)...)
	return append(out, idleTargets(idle)...)
}

func p50(l Latency) int64 { return l.P50 }
func p99(l Latency) int64 { return l.P99 }

func throughput(name string, r *Result, want float64) Target {
	t := Target{Name: name, Want: fmt.Sprintf(">= %.0f steps/s", want)}
	if r != nil {
		t.Measured, t.Got, t.OfFloor, t.Holds = true, fmt.Sprintf("%.0f steps/s", r.StepsPerSecond), r.OfFloor, r.StepsPerSecond >= want
	}
	return t
}

func ofFloor(name string, r *Result) Target {
	t := Target{Name: name, Want: fmt.Sprintf(">= %.1f", targetOfFloor)}
	if r != nil && r.Floor != nil {
		t.Measured, t.Got, t.OfFloor, t.Holds = true, fmt.Sprintf("%.2f", r.OfFloor), r.OfFloor, r.OfFloor >= targetOfFloor
	}
	return t
}

func latencyOfFloor(name string, r *Result) Target {
	t := Target{Name: name, Want: fmt.Sprintf("<= %.1f", targetLatency)}
	if r != nil && r.Floor != nil {
		t.Measured, t.Got, t.OfFloor, t.Holds = true, fmt.Sprintf("%.2f", r.LatencyOfFloor), r.LatencyOfFloor, r.LatencyOfFloor <= targetLatency
	}
	return t
}

// within judges a latency as the creator of a task sees it, which the engine's stamps,
// taken before their commits, would flatter.
func within(name string, r *Result, of func(Latency) int64, want time.Duration) Target {
	t := Target{Name: name, Want: "<= " + want.String()}
	if r != nil {
		got := time.Duration(of(r.Observed))
		t.Measured, t.Got, t.Holds = true, got.Round(time.Microsecond).String(), got <= want
		if r.Floor != nil {
			t.OfFloor = float64(got) / float64(of(r.Floor.Task))
		}
	}
	return t
}

func cpu(name string, r *Result, want float64, of func(Cost) float64) Target {
	t := Target{Name: name, Want: fmt.Sprintf("<= %.0f us", want)}
	if r != nil {
		got := of(r.Cost)
		t.Measured, t.Got, t.Holds = true, fmt.Sprintf("%.1f us", got), got <= want
		if r.Floor != nil && r.Floor.CPU > 0 {
			t.OfFloor = r.Cost.Host / r.Floor.CPU
		}
	}
	return t
}

// growth compares what a step costs in tasks of different size, by the time it takes.
func growth(small, large *Result) Target {
	t := Target{Name: "a step of a task of 10,000 relative to one of 100", Want: fmt.Sprintf("<= %.1f", targetGrowth)}
	if small != nil && large != nil {
		got := small.StepsPerSecond / large.StepsPerSecond
		t.Measured, t.Got, t.Holds = true, fmt.Sprintf("%.2f", got), got <= targetGrowth
	}
	return t
}

// finishedTargets judge a store with many finished tasks: the fullest that was measured.
func finishedTargets(results []*Result, empty *Result) []Target {
	speed := Target{Name: "1,000,000 finished tasks: linear, 1,024 in flight, of an empty store", Want: fmt.Sprintf(">= %.1f", targetFilled)}
	open := Target{Name: "1,000,000 finished tasks: start after a clean stop", Want: "< 2s"}
	list := Target{Name: "1,000,000 finished tasks: slowest first page", Want: "< 50ms"}
	memory := Target{Name: "1,000,000 finished tasks: memory that no file backs", Want: "< 300 MiB"}
	for _, r := range results {
		if r.Finished == nil || r.Finished.Tasks < targetFinished {
			continue
		}
		open.Measured, open.Got, open.Holds = true, fmt.Sprintf("%.2fs", r.Finished.Open/1e3), r.Finished.Open < targetOpenMs
		list.Measured, list.Got, list.Holds = true, fmt.Sprintf("%.1fms", r.Finished.List), r.Finished.List < targetListMs
		if r.Cost.HostAnon > 0 {
			memory.Measured, memory.Got, memory.Holds = true, mebibytes(r.Cost.HostAnon), r.Cost.HostAnon < targetAnon
		}
		if empty != nil && r.Workload == empty.Workload && r.InFlight == empty.InFlight && r.Payload == empty.Payload && r.Subscribers == empty.Subscribers {
			ratio := r.StepsPerSecond / empty.StepsPerSecond
			speed.Measured, speed.Got, speed.Holds = true, fmt.Sprintf("%.2f", ratio), ratio >= targetFilled
		}
	}
	return []Target{speed, open, list, memory}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func idleTargets(idle *IdleResult) []Target {
	writes := Target{Name: "nothing to do: writes", Want: "0"}
	memory := Target{Name: "nothing to do: memory of the host", Want: "< 40 MiB"}
	if idle != nil {
		writes.Measured, writes.Got, writes.Holds = true, fmt.Sprintf("%d in %.0fs", idle.Commits, idle.Seconds), idle.Commits == 0
		if idle.RSS > 0 {
			memory.Measured, memory.Got, memory.Holds = true, mebibytes(idle.RSS), idle.RSS < targetIdleRSS
		}
	}
	return []Target{writes, memory}
}
