package host

import (
	"context"
	"fmt"
	"os"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/task"
)

// Health implements [Service].
func (h *Host) Health(ctx context.Context) (*api.Health, error) {
	out, err := h.health(ctx)
	if err != nil {
		return nil, err
	}
	out.Mode, out.Version, out.Since, out.Home = h.opts.Mode, h.opts.Version, h.started, h.opts.Home
	out.PID = os.Getpid()
	out.Live = h.runner.Alive(ctx)
	if !out.Live {
		out.Problems = append(out.Problems, "the engine's loop does not answer")
	}
	out.Plugins = make(map[task.PluginState]int)
	starting := false
	select {
	case <-h.supervisor.Discovered():
	default:
		starting = true
		out.Problems = append(out.Problems, "plugins are being looked for")
	}
	for _, p := range h.supervisor.Plugins() {
		out.Plugins[p.State]++
		switch p.State {
		case task.PluginStarting, task.PluginHandshaking, task.PluginConfiguring:
			starting = true
			out.Problems = append(out.Problems, "plugin "+p.Name+" is being started")
		case task.PluginBackoff, task.PluginQuarantined, task.PluginRefused, task.PluginDegraded:
			out.Problems = append(out.Problems, "plugin "+p.Name+" is "+string(p.State)+": "+p.Cause)
		default:
		}
	}
	named, _ := h.unanswered()
	out.Problems = append(append(out.Problems, named.plugins...), named.subscriptions...)
	if n := h.runner.Broken(); n > 0 {
		out.Problems = append(out.Problems, fmt.Sprintf("unfinished tasks that cannot be read and stand still: %d; see the log and `tasker store verify`", n))
	}
	if trouble := h.retention.trouble(); trouble != "" {
		out.Problems = append(out.Problems, trouble)
	}
	if problem := h.misread.Load(); problem != nil {
		out.Problems = append(out.Problems, *problem)
	}
	if until := h.cut.Load(); until != nil {
		out.Draining = &api.Draining{Attempts: h.inFlight(), Until: *until}
	}
	if h.runner.Draining() {
		out.Problems = append(out.Problems, "the host is stopping")
	}
	out.Ready = out.Live && !starting && !h.runner.Draining()
	return out, nil
}

// inFlight counts the attempts that plugins hold.
func (h *Host) inFlight() (n int) {
	for _, p := range h.supervisor.Plugins() {
		n += p.InFlight
	}
	return n
}

// health is the part that is read from the store.
func (r reading) health(ctx context.Context) (*api.Health, error) {
	counters, err := r.store.Counters(ctx)
	if err != nil {
		return nil, err
	}
	id, epoch := r.store.Identity()
	last, err := r.store.LastSeq(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.Health{HostID: id, Tasks: counters}
	out.Store = api.StoreHealth{OK: true, Path: r.store.Path(), SchemaVersion: boltstore.SchemaVersion, Epoch: epoch, LastSeq: last}
	if info, err := os.Stat(r.store.Path()); err == nil {
		out.Store.FileBytes = info.Size()
	}
	return out, nil
}
