package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Retention says how long finished tasks are kept. The zero value keeps all for ever.
type Retention struct {
	// Keep is for all tasks; what it leaves open is kept for ever.
	Keep template.Retention
	// Rules change Keep for some templates, in this order: what a later one says counts.
	Rules []template.RetentionRule
	// Export is the directory to which tasks are written before they are removed, as JSON
	// Lines; empty = none. What cannot be written is not removed.
	Export string
	// Document encodes a task for the export, without line breaks. Default: the view as
	// encoding/json has it.
	Document func(*task.View) ([]byte, error)
}

// Defaults of retention that the tasker binary sets unless it is configured.
const (
	// DefaultKeepComplete is how long complete tasks are kept.
	DefaultKeepComplete = 30 * 24 * time.Hour
	// DefaultKeepFailed is how long tasks are kept that ended in any other way.
	DefaultKeepFailed = 90 * 24 * time.Hour
)

// How often finished tasks are looked through at most: after retainEvery, or sooner when
// a rule keeps them for less than retainShare times that.
const (
	retainEvery = time.Minute
	retainShare = 10
	retainFloor = 100 * time.Millisecond
	// retainRest is the longest sleep, so that a clock that was set is noticed.
	retainRest = 24 * time.Hour
)

func defaultDocument(v *task.View) ([]byte, error) { return json.Marshal(v) } //nolint:musttag // the view's own names

// keeper is the rules of retention as a store asks for them.
type keeper struct {
	rules     Retention
	templates *template.Set
}

// keep implements [store.Keeper]. A template narrows what the rules say.
func (k *keeper) keep(namespace, name string, status task.Status) store.Keep {
	var out store.Keep
	widen := func(r *template.Retention) {
		if v := r.For(status); v != 0 {
			out.For = v.Std()
		}
		if r.Last != 0 {
			out.Last = r.Last
		}
	}
	widen(&k.rules.Keep)
	for i := range k.rules.Rules {
		if r := &k.rules.Rules[i]; r.Matches(namespace, name) {
			widen(&r.Retention)
		}
	}
	if out.For >= template.Forever.Std() {
		out.For = 0
	}
	if t, err := k.templates.Get(namespace + "/" + name); err == nil && t.Retention != nil {
		out.For = narrower(out.For, t.Retention.For(status).Std())
		out.Last = narrower(out.Last, t.Retention.Last)
	}
	return out
}

// narrower is the smaller of two limits of which 0 is none.
func narrower[T int | time.Duration](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// shortest is the shortest time that any rule keeps a task, 0 when none ever goes by its
// age, and whether any rule counts.
func (k *keeper) shortest() (age time.Duration, counts bool) {
	all := []*template.Retention{&k.rules.Keep}
	for i := range k.rules.Rules {
		all = append(all, &k.rules.Rules[i].Retention)
	}
	for _, e := range k.templates.List() {
		if e.Template.Retention != nil {
			all = append(all, e.Template.Retention)
		}
	}
	for _, r := range all {
		for _, status := range task.Statuses() {
			if v := r.For(status); v > 0 && v < template.Forever {
				age = narrower(age, v.Std())
			}
		}
		counts = counts || r.Last > 0
	}
	return age, counts
}

// retention removes finished tasks that the rules let go.
type retention struct {
	h      *Host
	keeper keeper
	export *exporter // nil = none

	busy    sync.Mutex // one look at a time
	mu      sync.Mutex
	problem string // why the last look did not do its work; empty = it did
}

func newRetention(h *Host) *retention {
	r := &retention{h: h, keeper: keeper{rules: h.opts.Retention, templates: h.templates}}
	if dir := h.opts.Retention.Export; dir != "" {
		r.export = &exporter{dir: dir, encode: h.opts.Retention.Document, now: h.opts.Now, read: h.wholeTask}
		if r.export.encode == nil {
			r.export.encode = defaultDocument
		}
	}
	return r
}

// wholeTask returns a task with its documents, large ones included.
func (h *Host) wholeTask(ctx context.Context, id string) (*task.View, error) {
	v, err := h.Task(ctx, id)
	if err == nil && v.Input.Ref != nil {
		v.Input.Inline, err = h.document(ctx, v.ID, v.Input)
	}
	return v, err
}

// run looks through the finished tasks at once, then whenever one becomes due; while
// none is, it does nothing at all.
func (r *retention) run(ctx context.Context) error {
	age, counts := r.keeper.shortest()
	if age == 0 && !counts {
		return nil
	}
	every := retainEvery
	if age > 0 {
		every = max(min(every, age/retainShare), retainFloor)
	}
	for {
		rung := r.h.journal.bell.next()
		began := r.h.opts.Now()
		pruned, err := r.prune(ctx, false)
		r.tell(pruned, err)
		wait := retainRest
		if age > 0 { // what ends from now on
			wait = min(wait, age)
		}
		if err != nil {
			wait = every
		} else if !pruned.Next.IsZero() {
			wait = min(wait, pruned.Next.Sub(began))
		}
		if !rest(ctx, every, nil) {
			return nil
		}
		if !counts {
			rung = nil
		}
		if !rest(ctx, wait-every, rung) {
			return nil
		}
	}
}

// rest waits for a time, or for a wake-up; it reports whether the context goes on.
func rest(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// tell logs what a look came to and notes its failure for those who ask for health.
func (r *retention) tell(p *api.Pruned, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	problem := ""
	if err != nil {
		problem = "finished tasks are not removed: " + err.Error()
	}
	r.mu.Lock()
	told := r.problem == problem
	r.problem = problem
	r.mu.Unlock()
	if err != nil && !told {
		r.h.log.Error("finished tasks are not removed", logkeys.Error, err)
	}
	total := uint64(0)
	for _, g := range p.Groups {
		total += g.Tasks
	}
	if total > 0 {
		r.h.log.Info("removed finished tasks", logkeys.Tasks, total, logkeys.Records, p.Records)
	}
}

// trouble returns why tasks are not removed, empty when they are.
func (r *retention) trouble() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}

// prune looks through the finished tasks once. What was removed is returned beside an
// error, too.
func (r *retention) prune(ctx context.Context, dryRun bool) (*api.Pruned, error) {
	r.busy.Lock()
	defer r.busy.Unlock()
	out := &api.Pruned{}
	var kept []error // why some tasks are not exported
	next, err := r.h.store.Sweep(ctx, r.keeper.keep, r.h.opts.Now(), func(due []store.Due) error {
		if dryRun {
			addGroups(out, due)
			return nil
		}
		if r.export != nil {
			written, failed, err := r.export.write(ctx, due)
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			due, kept = written, append(kept, failed[:min(len(failed), maxExportErrors-len(kept))]...)
		}
		deleted, err := r.remove(ctx, due)
		out.Records += deleted.Records
		if err == nil {
			addGroups(out, due)
		}
		return err
	})
	out.Next = next
	if r.export != nil {
		err = errors.Join(err, r.export.close())
	}
	if len(kept) > 0 {
		err = errors.Join(err, fmt.Errorf("export: %w", errors.Join(kept...)))
	}
	return out, err
}

// remove deletes tasks.
func (r *retention) remove(ctx context.Context, due []store.Due) (store.Deleted, error) {
	ids := make([]task.ID, len(due))
	for i := range due {
		ids[i] = due[i].ID
	}
	return r.h.store.Delete(ctx, ids)
}

// addGroups counts tasks, which come by template and status.
func addGroups(out *api.Pruned, due []store.Due) {
	for _, d := range due {
		last := len(out.Groups) - 1
		if last < 0 || out.Groups[last].Namespace != d.Namespace || out.Groups[last].Template != d.Template || out.Groups[last].Status != d.Status {
			out.Groups = append(out.Groups, api.PrunedGroup{Namespace: d.Namespace, Template: d.Template, Status: d.Status})
			last++
		}
		out.Groups[last].Tasks++
	}
}

// PruneStore implements [Service].
func (h *Host) PruneStore(ctx context.Context, dryRun bool) (*api.Pruned, error) {
	p, err := h.retention.prune(ctx, dryRun)
	if !dryRun {
		h.retention.tell(p, err)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// PruneStore implements [Service]: without a host only a dry run is answered.
func (r *Reader) PruneStore(ctx context.Context, dryRun bool) (*api.Pruned, error) {
	if !dryRun {
		return nil, r.noHost()
	}
	err := checkRetention(&r.retention)
	if err != nil {
		return nil, err
	}
	k, out := keeper{rules: r.retention, templates: r.templates}, &api.Pruned{}
	out.Next, err = r.store.Sweep(ctx, k.keep, r.now(), func(due []store.Due) error {
		addGroups(out, due)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteTasks implements [Service].
func (h *Host) DeleteTasks(ctx context.Context, ids []task.ID) (store.Deleted, error) {
	d, err := h.store.Delete(ctx, ids)
	if d.Tasks > 0 {
		h.log.Info("deleted finished tasks on request", logkeys.Tasks, d.Tasks, logkeys.Records, d.Records)
	}
	return d, err
}

// DeleteTasks implements [Service].
func (r *Reader) DeleteTasks(context.Context, []task.ID) (store.Deleted, error) {
	return store.Deleted{}, r.noHost()
}

// StoreSizes implements [Service].
func (r reading) StoreSizes(ctx context.Context, samples int) (*store.Sizes, error) {
	s, err := r.store.Sizes(ctx, samples)
	return &s, err
}

// checkRetention checks what no default can mend.
func checkRetention(r *Retention) error {
	err := r.Keep.Check()
	for i := range r.Rules {
		err = errors.Join(err, r.Rules[i].Check())
		if strings.TrimSpace(r.Rules[i].Template) == "" {
			err = errors.Join(err, errors.New("a rule of retention names no template"))
		}
	}
	return err
}
