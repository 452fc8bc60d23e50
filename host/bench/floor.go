package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// FloorConfig says what the least engine does.
type FloorConfig struct {
	Dir        string // where its file is made
	Executable string // started as [RoleFloor]
	Workload   Workload
	InFlight   int           // tasks at once
	Tasks      int           // 0 = as many as For allows
	For        time.Duration // 0 = until there are Tasks
	Payload    int           // bytes of each step's input and output

	// Writes is what the host wrote for a task of this workload.
	Writes Writes
}

// Writes is what is written for a task, on average.
type Writes struct {
	// LogPuts records of LogBytes each are appended to the log.
	LogPuts  float64 `json:"log_puts"`
	LogBytes int     `json:"log_bytes"`
	// StatePuts records of StateBytes each are put under StateKeys different keys.
	StatePuts  float64 `json:"state_puts"`
	StateKeys  float64 `json:"state_keys"`
	StateBytes int     `json:"state_bytes"`
}

// puts is how many records are written.
func (w Writes) puts() float64 { return w.LogPuts + w.StatePuts }

// bytes is how large a record is on average.
func (w Writes) bytes() int {
	if w.puts() == 0 {
		return 0
	}
	return int((w.LogPuts*float64(w.LogBytes) + w.StatePuts*float64(w.StateBytes)) / w.puts())
}

// FloorResult is what the least engine reached.
type FloorResult struct {
	Tasks          int     `json:"tasks"`
	StepsPerSecond float64 `json:"steps_per_second"`
	TasksPerSecond float64 `json:"tasks_per_second"`
	// Task is from a task's creation to its committed end.
	Task Latency `json:"task"`
	// CPU is what a step cost the process of the engine, in microseconds.
	CPU     float64 `json:"cpu_us_per_step"`
	Commits int     `json:"commits"`
}

// floorTask is one task of the least engine.
type floorTask struct {
	number  int
	began   time.Time
	waits   []int // dependencies that each step still waits for
	left    int   // steps that have not ended
	busy    bool  // a write set of it is being committed
	ready   []int // steps to send after the commit
	pending int   // transitions that wait for the commit before them
	states  int   // state records written
}

// writeSet is what one commit of a task writes.
type writeSet struct {
	task   *floorTask
	log    [][]byte // appended
	states []state  // put under task and slot
	send   []int    // the steps to send afterwards
}

// state is a record that later ones of its slot replace.
type state struct {
	slot uint64
	data []byte
}

// engine is the least engine. Its loop owns everything in it.
type engine struct {
	cfg        FloorConfig
	dependants [][]int
	input      []byte

	peer    *peer
	disk    *committer
	tasks   map[int]*floorTask
	begun   int
	ended   int
	start   time.Time
	latency *hdrhistogram.Histogram
	// What is owed: a transition writes a whole number of records.
	logDebt, stateDebt     float64
	logRecord, stateRecord *eventv1.Event
}

// Floor runs the least engine: no host is faster than what only has dependencies, a group
// commit of the same records, and a stream.
func Floor(ctx context.Context, cfg FloorConfig) (_ *FloorResult, err error) {
	if cfg.Tasks <= 0 && cfg.For <= 0 {
		return nil, errUnbounded
	}
	cfg.InFlight = max(cfg.InFlight, 1)
	disk, err := newCommitter(filepath.Join(cfg.Dir, "floor.db"), cfg.InFlight)
	if err != nil {
		return nil, err
	}
	defer func() { err = disk.close(err) }()
	p, err := startPeer(ctx, cfg.Executable, cfg.InFlight*cfg.Workload.width())
	if err != nil {
		return nil, err
	}
	defer p.close()
	e := &engine{
		cfg: cfg, dependants: cfg.Workload.dependants(), input: document(cfg.Payload), peer: p, disk: disk,
		tasks: make(map[int]*floorTask), latency: newHistogram(), start: time.Now(),
		logRecord: floorRecord(cfg.Workload.Name, cfg.Writes.LogBytes), stateRecord: floorRecord(cfg.Workload.Name, cfg.Writes.StateBytes),
	}
	before := Measure()
	if err := e.run(ctx); err != nil {
		return nil, err
	}
	took := time.Since(e.start).Seconds()
	steps := float64(e.ended * cfg.Workload.Steps())
	return &FloorResult{
		Tasks: e.ended, StepsPerSecond: steps / took, TasksPerSecond: float64(e.ended) / took, Task: latency(e.latency),
		CPU: float64(Measure().since(before).CPU.Microseconds()) / steps, Commits: disk.commits,
	}, nil
}

// floorRecord is a record that is about so large when it is encoded.
func floorRecord(template string, size int) *eventv1.Event {
	r := &eventv1.Event{
		Id: "100000/1", Type: event.NameStepCompleted, At: time.Now().UnixNano(), TaskId: "100000",
		Namespace: "default", Template: template, Version: "1.0.0",
	}
	const key = 12 // bytes, and the payload's own header
	r.Payload = make([]byte, max(size-proto.Size(r)-key, 0))
	return r
}

// run is the loop.
func (e *engine) run(ctx context.Context) error {
	for range e.cfg.InFlight {
		e.create()
	}
	for e.ended < e.begun {
		select {
		case r := <-e.peer.results:
			if r.err != nil {
				return r.err
			}
			if err := e.complete(r.frame); err != nil {
				return err
			}
		case done := <-e.disk.done:
			if done.err != nil {
				return done.err
			}
			for _, ws := range done.sets {
				e.committed(ws)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// create begins a task, if there are to be more.
func (e *engine) create() {
	if e.cfg.Tasks > 0 && e.begun == e.cfg.Tasks || e.cfg.For > 0 && time.Since(e.start) >= e.cfg.For {
		return
	}
	t := &floorTask{number: e.begun, began: time.Now(), waits: make([]int, e.cfg.Workload.Steps()), left: e.cfg.Workload.Steps(), pending: 1}
	for i, deps := range e.cfg.Workload.deps {
		if t.waits[i] = len(deps); len(deps) == 0 {
			t.ready = append(t.ready, i)
		}
	}
	e.tasks[t.number] = t
	e.begun++
	e.commit(t)
}

// complete takes a frame of results; what ends in one frame is one write set per task.
func (e *engine) complete(frame *pluginv1.WorkResponse) error {
	var touched []*floorTask
	for _, u := range frame.GetUpdates() {
		taskText, stepText, _ := strings.Cut(u.GetAttemptId(), "/")
		number, taskErr := strconv.Atoi(taskText)
		step, stepErr := strconv.Atoi(stepText)
		t, ok := e.tasks[number]
		if taskErr != nil || stepErr != nil || !ok || u.GetResult() == nil {
			return fmt.Errorf("the floor's plugin answered %q, which nobody asked", u.GetAttemptId())
		}
		for _, d := range e.dependants[step] {
			if t.waits[d]--; t.waits[d] == 0 {
				t.ready = append(t.ready, d)
			}
		}
		t.left--
		if t.pending++; t.pending == 1 {
			touched = append(touched, t)
		}
	}
	for _, t := range touched {
		if !t.busy {
			e.commit(t)
		}
	}
	return nil
}

// commit hands the task's transitions to the committer, encoded.
func (e *engine) commit(t *floorTask) {
	ws := &writeSet{task: t, send: t.ready}
	share := float64(t.pending) / float64(e.cfg.Workload.Steps()+1)
	for e.logDebt += share * e.cfg.Writes.LogPuts; e.logDebt >= 1; e.logDebt-- {
		ws.log = append(ws.log, encode(e.logRecord, t))
	}
	perKey := max(e.cfg.Writes.StatePuts/max(e.cfg.Writes.StateKeys, 1), 1)
	for e.stateDebt += share * e.cfg.Writes.StatePuts; e.stateDebt >= 1; e.stateDebt-- {
		ws.states = append(ws.states, state{uint64(float64(t.states) / perKey), encode(e.stateRecord, t)})
		t.states++
	}
	t.busy, t.ready, t.pending = true, nil, 0
	e.disk.queue <- ws
}

// encode makes the bytes of a record of a task.
func encode(r *eventv1.Event, t *floorTask) []byte {
	r.TaskId, r.At = strconv.Itoa(t.number), time.Now().UnixNano()
	data, err := proto.Marshal(r)
	if err != nil {
		return nil // cannot be: its texts are plain
	}
	return data
}

// committed goes on after a commit.
func (e *engine) committed(ws *writeSet) {
	t := ws.task
	t.busy = false
	for _, step := range ws.send {
		id := strconv.Itoa(t.number) + "/" + strconv.Itoa(step)
		e.peer.send <- &pluginv1.Attempt{
			AttemptId: id, TaskId: strconv.Itoa(t.number), Step: "s", Handler: "echo", Number: 1, IdempotencyKey: id,
			Input: &pluginv1.Value{Inline: e.input},
		}
	}
	switch {
	case t.pending > 0:
		e.commit(t)
	case t.left == 0:
		record(e.latency, time.Since(t.began))
		delete(e.tasks, t.number)
		e.ended++
		e.create()
	}
}

// document is a JSON document of about so many bytes.
func document(size int) []byte {
	const frame = `{"p":""}`
	return []byte(`{"p":"` + strings.Repeat("x", max(size-len(frame), 0)) + `"}`)
}
