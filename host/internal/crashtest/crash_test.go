package crashtest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/killpoint"
	"github.com/tasker-engine/tasker/host/task"
)

const (
	defaultKills = 5 // each point once, and once at random
	tasksPerLife = 6
	// lifetime is how long a child may live; it has nothing to do for so long.
	lifetime = time.Minute
	// maxDelay is the latest random kill, after the start of the process.
	maxDelay = 700 * time.Millisecond
)

// run is one crash test: the world outside of the hosts.
type run struct {
	t       *testing.T
	rnd     *rand.Rand
	orders  orders
	created map[task.ID]bool // acknowledged
	stopped map[task.ID]bool // whose cancel was acknowledged
	kills   map[string]int   // by point
}

func TestCrash(t *testing.T) {
	kills, seed := number(t, "TASKER_CRASH_KILLS", defaultKills), uint64(number(t, "TASKER_CRASH_SEED", int(time.Now().UnixNano()%1e6)))
	dir := t.TempDir()
	r := &run{
		t: t, rnd: rand.New(rand.NewPCG(seed, 0)),
		created: make(map[task.ID]bool), stopped: make(map[task.ID]bool), kills: make(map[string]int),
		orders: orders{
			Home: filepath.Join(dir, "home"), Ledger: filepath.Join(dir, "ledger"), Seed: seed, Tasks: tasksPerLife,
		},
	}
	for _, pkg := range plugins() {
		r.orders.Plugins = append(r.orders.Plugins, hosttest.BuildPlugin(t, pkg))
	}
	for _, name := range recorders() {
		hosttest.InstallRecorder(t, dir, name)
	}
	r.orders.Plugins = append(r.orders.Plugins, dir)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat the choices: TASKER_CRASH_SEED=%d TASKER_CRASH_KILLS=%d go test -count=1 -run TestCrash ./host/internal/crashtest/", seed, kills)
		}
	})
	for round := range kills {
		r.orders.Round = round
		r.live(round)
		r.verify()
		if t.Failed() {
			t.Fatalf("after kill %d of %d at %q", round+1, kills, r.orders.Point)
		}
	}
	t.Logf("seed %d, kills by point: %v, tasks: %d", seed, r.kills, len(r.created))
	r.finish()
}

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q: want a whole number from 0", variable, text)
	}
	return n
}

// live starts a child and lets it die.
func (r *run) live(round int) {
	r.t.Helper()
	points := []killpoint.Point{killpoint.BeforeCommit, killpoint.AfterCommit, killpoint.BeforeDispatch, killpoint.AfterDispatch}
	r.orders.Point, r.orders.Nth = "", 0
	if i := round % (len(points) + 1); i < len(points) {
		r.orders.Point, r.orders.Nth = points[i], 1+r.rnd.Int64N(60)
	}
	orders, err := json.Marshal(r.orders)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), lifetime)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(orders))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if r.orders.Point == "" {
		delay := time.Duration(r.rnd.Int64N(int64(maxDelay)))
		defer time.AfterFunc(delay, func() { _ = cmd.Process.Kill() }).Stop()
	}
	pids := r.listen(stdout)
	err = cmd.Wait()
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) || exit.ExitCode() != -1 {
		r.t.Fatalf("child at %q ended with %v (%v), want killed\n%s", r.orders.Point, err, ctx.Err(), stderr.Bytes())
	}
	r.kills[string(r.orders.Point)]++
	for _, pid := range pids {
		if err := awaitGone(pid); err != nil {
			r.t.Errorf("plugin process %d: %v", pid, err)
		}
	}
}

// listen notes what a child says and returns the processes of its plugins.
func (r *run) listen(stdout io.Reader) (pids []int) {
	r.t.Helper()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		what, about, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "created":
			r.created[task.ID(about)] = true
		case "cancelled":
			r.stopped[task.ID(about)] = true
		case "plugin":
			pid, err := strconv.Atoi(about)
			if err != nil {
				r.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// verify checks the store as the dead host left it.
func (r *run) verify() {
	r.t.Helper()
	path := host.StorePath(r.orders.Home)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return // killed before it made one
	}
	problems, err := boltstore.VerifyFile(r.t.Context(), path, boltstore.Options{})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Logf("store is not readable by a reader: %v", err) // killed while it was being made: the next host makes it anew
	}
	for _, p := range problems {
		r.t.Errorf("store: %s", p)
	}
}

// finish lets a last host bring everything to its end and checks what must hold.
func (r *run) finish() {
	r.t.Helper()
	h := hosttest.Start(r.t, hosttest.Plugins(plugins()...), hosttest.Recorder(recorders()...), hosttest.Expect("plugin crashed", "ended a plugin process that a dead host left"),
		hosttest.Options(func(o *host.Options) { o.Home, o.CancelGrace = r.orders.Home, cancelGrace }))
	rounds := r.orders.Round + 1
	all := make(map[task.ID]bool)
	for _, req := range requests(r.orders.Ledger, r.orders.Seed, r.orders.Round, r.orders.Tasks) {
		created, err := h.CreateTask(r.t.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		r.created[created.ID] = true
	}
	for page := (host.Page{Limit: host.MaxPage}); ; {
		found, next, err := h.ListTasks(r.t.Context(), host.Filter{}, page)
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range found {
			all[found[i].Spec.ID] = true
		}
		if page.After = next; next == "" {
			break
		}
	}
	if limit := rounds * r.orders.Tasks; len(all) > limit {
		r.t.Errorf("%d tasks are stored, only %d were asked for: a key gave two", len(all), limit)
	}
	for id := range r.created {
		if !all[id] {
			r.t.Errorf("task %s was acknowledged and is not there", id)
		}
	}
	views := make(map[task.ID]*task.View, len(all))
	for id := range all {
		views[id] = h.End(id)
	}
	starts, err := hosttest.ReadLedger(r.orders.Ledger)
	if err != nil {
		r.t.Fatal(err)
	}
	for id, v := range views {
		r.check(h, id, v, starts)
	}
	r.checkLog(h)
	r.checkDelivery(h)
}

// recorders are the plugins that write down the events that they get.
func recorders() []string { return []string{"first", "second"} }

// checkDelivery proves that the subscribers got every event, over all lives of the host,
// and in order.
func (r *run) checkDelivery(h *hosttest.Host) {
	r.t.Helper()
	log := h.Log(host.EventQuery{})
	last := log[len(log)-1].Seq
	for _, name := range recorders() {
		h.AwaitDelivered(name+"/all", name+"/lanes")
		for subscription, patterns := range map[string][]string{"all": {"*"}, "lanes": {"task.*", "step.*"}} {
			full := name + "/" + subscription
			got := slices.DeleteFunc(h.Received(name, subscription), func(e hosttest.Received) bool { return e.Seq > last })
			check := hosttest.CheckDelivery
			if subscription == "lanes" {
				check = hosttest.CheckLanes
			}
			wanted := hosttest.Wanted(log, full, patterns...)
			if err := check(got, wanted); err != nil {
				r.t.Errorf("%s: %v", full, err)
			}
			r.t.Logf("%s got %d events, %d of them again", full, len(got), len(got)-len(wanted))
		}
	}
	if letters, _, err := h.DeadLetters(r.t.Context(), "", 0, 0); err != nil || len(letters) > 0 {
		r.t.Errorf("dead letters %v, %v; want none", letters, err)
	}
}

// check proves what must hold of one task.
func (r *run) check(h *hosttest.Host, id task.ID, v *task.View, starts map[task.AttemptID]int) {
	r.t.Helper()
	events := h.History(id)
	if err := errors.Join(hosttest.Check(v, events), hosttest.CheckLedger(v, starts), checkCustom(v, events), checkValues(v)); err != nil {
		r.t.Errorf("%v\n%s", err, hosttest.Describe(v))
	}
	want := task.Complete
	switch name := v.Template.Name; {
	case r.stopped[id], v.Stop != nil && v.Stop.Kind == task.StopCancel: // the host may have died before it could say so
		want = task.Cancelled
	case name == "fails" || name == "slow":
		want = task.Error
	}
	h.WantTask(v, want)
}

// checkLog proves that the log as a whole holds every event once.
func (r *run) checkLog(h *hosttest.Host) {
	r.t.Helper()
	seen := make(map[string]bool)
	var last hosttest.Event
	for _, e := range h.Log(host.EventQuery{}) {
		if seen[e.ID] {
			r.t.Errorf("event %s %s is in the log twice", e.ID, e)
		}
		seen[e.ID] = true
		if e.Seq <= last.Seq {
			r.t.Errorf("event %s comes after %s and has the sequence %d, not more than %d", e.ID, last.ID, e.Seq, last.Seq)
		}
		last = e
	}
}

// awaitGone waits until a process that is not our child has ended.
func awaitGone(pid int) error {
	const patience = 5 * time.Second
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); alive(pid); <-tick.C {
		if time.Now().After(end) {
			return fmt.Errorf("outlives its host by %s", patience)
		}
	}
	return nil
}
