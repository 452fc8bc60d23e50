package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host/bench"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk"
)

// TestMain lets the test binary be the plugins that are measured with.
func TestMain(m *testing.M) {
	switch role := bench.Role(os.Args[0]); role {
	case "":
		goleak.VerifyTestMain(m)
	case bench.RoleFloor:
		bench.ServeFloor()
	default:
		drop := func(context.Context, sdk.Event[json.RawMessage]) error { return nil }
		p := sdk.Plugin{Name: role, Version: "1.0.0", MaxConcurrency: 1 << 14, Handlers: sdk.Handlers{ // it never bounds what is in flight
			bench.HandlerEcho:  sdk.Func(func(_ context.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil }),
			bench.HandlerUsage: sdk.Func(func(context.Context, json.RawMessage) (bench.Usage, error) { return bench.Measure(), nil }),
			bench.HandlerWork: sdk.Func(func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
				if job := bench.Work(sdk.Attempt(ctx).ID); job.Fails {
					return nil, errors.New("as it is to")
				}
				return in, nil
			}),
		}}
		if role != bench.RoleHandler {
			p.Subscribers = sdk.Subscribers{"all": sdk.OnNamed("*", drop)}
		}
		sdk.Serve(p)
	}
}

// TestWorkloads runs each in tiny form, with its floor, and counts what happened.
func TestWorkloads(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	workloads := bench.Workloads()
	for _, name := range []string{"dag1", "dag15", "dag40"} {
		w, err := bench.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		workloads = append(workloads, w)
	}
	for _, w := range workloads {
		t.Run(w.Name, func(t *testing.T) {
			const tasks = 3
			r, err := bench.Run(t.Context(), bench.Config{
				Dir: t.TempDir(), Executable: self, Version: "1.0.0", Workload: w, InFlight: 2, Rate: 100, Payload: 100,
				Subscribers: 1, Tasks: tasks, Floor: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			type counts struct {
				Tasks, Steps               int
				Task, Step, Seen           int64
				Floor                      int
				Writes, CPU, PluginCPU     bool
				Stamps, Brackets, InFlight bool
			}
			got := counts{
				Tasks: r.Tasks, Steps: r.Steps, Task: r.Task.Count, Step: r.Step.Count, Seen: r.Observed.Count,
				Writes: r.Commits.Count > 0 && r.Commits.WriteSets >= r.Commits.Count && r.Commits.PutsPerStep >= 1 && r.Commits.BytesPerPut > 0,
				CPU:    r.Cost.Host > 0 && r.Cost.Allocs > 0, PluginCPU: r.Cost.Plugin >= 0 && r.Cost.Subscriber >= 0,
				Stamps: r.Task.Min > 0 && r.Task.Max <= r.Observed.Max, Brackets: len(r.Task.Percentiles) > 0,
				InFlight: (r.InFlight == 0) == w.Open,
			}
			want := counts{
				Tasks: tasks, Steps: tasks * w.Steps(), Task: tasks, Step: int64(tasks * w.Steps()), Seen: tasks,
				Writes: true, CPU: true, PluginCPU: true, Stamps: true, Brackets: true, InFlight: true,
			}
			if r.Floor != nil {
				got.Floor = r.Floor.Tasks
			}
			if !w.Open {
				want.Floor = tasks
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProduction runs the mixed load in tiny form: every task ends, the plugin's crash
// among them.
func TestProduction(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const tasks = 30
	r, err := bench.Production(t.Context(), bench.Config{Dir: t.TempDir(), Executable: self, Version: "1.0.0", Tasks: tasks})
	if err != nil {
		t.Fatal(err)
	}
	if r.Tasks != tasks || r.Steps == 0 || r.Task.Count != tasks || r.Observed.Count != tasks || r.Rate <= 0 || r.Rate >= r.Saturation {
		t.Errorf("%d tasks, %d steps, %d and %d latencies, rate %f of %f; want %d tasks at less than what saturates", r.Tasks, r.Steps,
			r.Task.Count, r.Observed.Count, r.Rate, r.Saturation, tasks)
	}
}

// TestWork: what an attempt does follows from its id and is spread as promised.
func TestWork(t *testing.T) {
	const n = 20_000
	var fails, permanent int
	for i := range n {
		id := fmt.Sprintf("task/%d/1", i)
		j := bench.Work(id)
		if j != bench.Work(id) || j.Takes < time.Millisecond || j.Takes > 500*time.Millisecond || (j.Permanent && !j.Fails) {
			t.Fatalf("%s: %+v", id, j)
		}
		if j.Fails {
			fails++
		}
		if j.Permanent {
			permanent++
		}
	}
	if fails < n*4/100 || fails > n*7/100 || permanent < n*3/1000 || permanent > n*7/1000 {
		t.Errorf("%d of %d fail, %d for good", fails, n, permanent)
	}
}

// TestFinished: a store that was filled and opened again is measured like an empty one.
func TestFinished(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w, err := bench.Find("diamond")
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.Run(t.Context(), bench.Config{Dir: t.TempDir(), Executable: self, Workload: w, Tasks: 3, Finished: 20, Subscribers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Finished; r.Tasks != 3 || r.Steps != 12 || f == nil || f.Tasks != 20 || f.FileBytes == 0 || f.Open <= 0 || f.List <= 0 {
		t.Errorf("%d tasks, %d steps, finished %+v; want 3, 12 and all of it", r.Tasks, r.Steps, r.Finished)
	}
}

// TestTemplates: each workload is a template with as many steps as it says.
func TestTemplates(t *testing.T) {
	for _, w := range bench.Workloads() {
		tmpl, err := template.Parse(w.Name+".yaml", []byte(w.Template("bench/echo")), template.Options{})
		if err != nil {
			t.Errorf("%s: %v", w.Name, err)
			continue
		}
		if len(tmpl.Steps) != w.Steps() {
			t.Errorf("%s has %d steps, want %d", w.Name, len(tmpl.Steps), w.Steps())
		}
	}
}

func TestFind(t *testing.T) {
	for name, steps := range map[string]int{"linear": 5, "three": 3, "fanout": 12, "burst": 102, "dag2000": 2000, "dag7": 7, "dag10000": 10_000} {
		w, err := bench.Find(name)
		if err != nil || w.Name != name || w.Steps() != steps {
			t.Errorf("%s: %s with %d steps, %v; want %d steps", name, w.Name, w.Steps(), err, steps)
		}
	}
	for _, name := range []string{"", "lineal", "dag", "dag0", "dag-1", "dag07", "dag10001", "dagx"} {
		if _, err := bench.Find(name); err == nil || !strings.Contains(err.Error(), "linear") {
			t.Errorf("%q: %v, want an error that names what there is", name, err)
		}
	}
}

func TestRole(t *testing.T) {
	for arg0, want := range map[string]string{
		"tasker": "", "/usr/bin/tasker-plugin-mail": "", "/x/tasker-plugin-bench": "bench", "tasker-plugin-floor": "floor",
		"tasker-plugin-sink3.exe": "sink3", "bench": "",
	} {
		if got := bench.Role(arg0); got != want {
			t.Errorf("role of %s: %q, want %q", arg0, got, want)
		}
	}
}

// TestDrive: a load ends with its last task, by number, by time and at a rate, and fails
// with a task that does.
func TestDrive(t *testing.T) {
	h := hosttest.Start(t)
	h.AwaitPlugin("mock")
	request := func(step string) task.Request {
		source := fmt.Sprintf("name: t\nversion: 1.0.0\nsteps:\n  - {name: a, handler: mock/%s}\n  - {name: b, handler: mock/noop, depends_on: [a]}\n", step)
		return task.Request{Source: []byte(source), SourceName: "t.yaml"}
	}
	for _, tt := range []struct {
		name  string
		load  bench.Load
		tasks int // 0 = at least one
	}{
		{"one after the other", bench.Load{Tasks: 3}, 3},
		{"fewer than in flight", bench.Load{Tasks: 3, InFlight: 16}, 3},
		{"many at once", bench.Load{Tasks: 40, InFlight: 16}, 40},
		{"at a rate", bench.Load{Tasks: 20, Rate: 2000}, 20},
		{"for a time", bench.Load{For: 20 * time.Millisecond, InFlight: 2}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.load.Request = request("noop")
			s, err := bench.Drive(t.Context(), h, tt.load)
			if err != nil {
				t.Fatal(err)
			}
			if tt.tasks != 0 && s.Tasks != tt.tasks || s.Tasks == 0 || s.Steps != 2*s.Tasks ||
				s.Task.TotalCount() != int64(s.Tasks) || s.Observed.TotalCount() != int64(s.Tasks) || s.Step.TotalCount() != int64(s.Steps) {
				t.Errorf("%d tasks, %d steps; %d, %d and %d latencies; want %d tasks of 2 steps", s.Tasks, s.Steps,
					s.Task.TotalCount(), s.Observed.TotalCount(), s.Step.TotalCount(), tt.tasks)
			}
		})
	}
	if _, err := bench.Drive(t.Context(), h, bench.Load{Request: request("noop")}); err == nil {
		t.Error("a load without an end is driven")
	}
	for _, load := range []bench.Load{{Tasks: 2, InFlight: 2}, {Tasks: 2, Rate: 100}} {
		load.Request = request("flaky, config: {kind: permanent}")
		if _, err := bench.Drive(t.Context(), h, load); err == nil || !strings.Contains(err.Error(), "task.failed") {
			t.Errorf("tasks that fail: %v, want an error that says so", err)
		}
		load.Request = task.Request{Template: "default/nobody"}
		if _, err := bench.Drive(t.Context(), h, load); !errors.Is(err, task.ErrNotFound) {
			t.Errorf("tasks that are refused: %v, want %v", err, task.ErrNotFound)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bench.Drive(ctx, h, bench.Load{Request: request("noop"), Tasks: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("a load that is cut: %v, want %v", err, context.Canceled)
	}
}

// TestBelow measures what is below the floor.
func TestBelow(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := bench.Disk(t.TempDir(), 3)
	if err != nil || disk.Sync.Count != 3 || disk.Commit.Count != 3 {
		t.Errorf("disk: %+v, %v; want 3 of each", disk, err)
	}
	wire, err := bench.Wire(t.Context(), self, 8, 100, time.Millisecond)
	if err != nil || wire.PerSecond <= 0 || wire.RoundTrip.Count == 0 {
		t.Errorf("wire: %+v, %v; want some of each", wire, err)
	}
	if n, err := bench.GroupCommit(t.TempDir(), 4, 100, time.Millisecond); err != nil || n <= 0 {
		t.Errorf("group commit: %f, %v; want some", n, err)
	}
	idle, err := bench.Idle(t.Context(), bench.Config{Dir: t.TempDir(), Executable: self, Workload: bench.Workloads()[0]}, time.Millisecond)
	if err != nil || idle.Seconds <= 0 {
		t.Errorf("idle: %+v, %v", idle, err)
	}
	if m := bench.ThisMachine(t.TempDir()); m.CPUs == 0 || m.Go == "" || m.Fsync == "" {
		t.Errorf("machine: %+v", m)
	}
}

// TestTargets: what was measured is judged, the rest is listed as not measured.
func TestTargets(t *testing.T) {
	result := func(workload string, inFlight int, steps float64, p50 time.Duration) *bench.Result {
		return &bench.Result{
			Workload: workload, InFlight: inFlight, Payload: 100, Subscribers: 1, StepsPerSecond: steps,
			Observed: bench.Latency{P50: int64(p50), P99: int64(2 * p50)}, Cost: bench.Cost{Host: 18, Plugin: 20},
			Floor:   &bench.FloorResult{Task: bench.Latency{P50: int64(time.Millisecond), P99: int64(time.Millisecond)}, CPU: 9},
			OfFloor: 0.5, LatencyOfFloor: 1.3,
		}
	}
	filled := result("three", 1, 1, 1)
	filled.Finished = &bench.FinishedResult{Tasks: 1_000_000, Open: 1500, List: 60}
	got := bench.Targets([]*bench.Result{
		filled,
		result("linear", 1, 0, 3*time.Millisecond), result("linear", 1024, 60_000, time.Millisecond),
		result("dag100", 1, 3000, 1), result("dag10000", 1, 1000, 1),
	}, &bench.IdleResult{Seconds: 1, RSS: 30 << 20})
	var verdicts []string
	for _, target := range got {
		switch {
		case !target.Measured:
			verdicts = append(verdicts, "not measured")
		case target.Holds:
			verdicts = append(verdicts, "holds: "+target.Got)
		default:
			verdicts = append(verdicts, "misses: "+target.Got)
		}
	}
	want := []string{
		"holds: 60000 steps/s", "misses: 0.50", "not measured", "not measured", "not measured", "not measured",
		"holds: 3ms", "holds: 6ms", "holds: 1.30", "not measured", "holds: 18.0 us", "misses: 38.0 us", "misses: 3.00",
		"not measured", "holds: 1.50s", "misses: 60.0ms", "not measured", "holds: 0 in 1s", "holds: 30 MiB",
	}
	if diff := cmp.Diff(want, verdicts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// BenchmarkRun is `tasker bench` in short form, for profiles and for comparing commits.
func BenchmarkRun(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct {
		workload string
		inFlight int
		payload  int
	}{
		{"linear", 1, 100},
		{"linear", 64, 100},
		{"linear", 1024, 100},
		{"linear", 64, 10 << 10},
		{"three", 1, 100},
		{"fanout", 1024, 100},
	} {
		b.Run(fmt.Sprintf("%s/in-flight=%d/payload=%d", bm.workload, bm.inFlight, bm.payload), func(b *testing.B) {
			w, err := bench.Find(bm.workload)
			if err != nil {
				b.Fatal(err)
			}
			r, err := bench.Run(b.Context(), bench.Config{
				Dir: b.TempDir(), Executable: self, Version: "1.0.0", Workload: w, InFlight: bm.inFlight, Payload: bm.payload,
				Subscribers: 1, Tasks: max(b.N, bm.inFlight),
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(r.StepsPerSecond, "steps/s")
			b.ReportMetric(float64(r.Observed.P50), "p50-ns")
			b.ReportMetric(float64(r.Observed.P99), "p99-ns")
			b.ReportMetric(r.Cost.Host, "host-cpu-us/step")
			b.ReportMetric(r.Cost.Allocs, "host-allocs/step")
			b.ReportMetric(0, "ns/op")
		})
	}
}
