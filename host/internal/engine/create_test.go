package engine

import (
	"bytes"
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

func bypass(names ...task.StepName) func(*task.Spec, *Host) {
	return func(s *task.Spec, _ *Host) { s.Bypass = names }
}

func TestCreate(t *testing.T) {
	tests := []struct {
		name   string
		bypass []task.StepName
		want   task.Status
		steps  []string
		ready  []task.Ordinal
		events []string
	}{
		{
			name: "the roots are ready", want: task.Pending, steps: []string{"a:pending", "b:pending", "c:pending", "d:pending"},
			ready:  []task.Ordinal{0, 1},
			events: []string{"task.initialized", "workflow.viable_steps_discovered"},
		},
		{
			name: "bypassed steps are skipped in ordinal order, each once", bypass: []task.StepName{"c", "a", "c"},
			want: task.Pending, steps: []string{"a:skipped", "b:pending", "c:skipped", "d:pending"}, ready: []task.Ordinal{1, 3},
			events: []string{"task.initialized", "step.skipped a", "step.skipped c", "workflow.viable_steps_discovered"},
		},
		{
			name: "a bypassed dependency lets its dependant run", bypass: []task.StepName{"a", "b"},
			want: task.Pending, steps: []string{"a:skipped", "b:skipped", "c:pending"}, ready: []task.Ordinal{2},
			events: []string{"task.initialized", "step.skipped a", "step.skipped b", "workflow.viable_steps_discovered"},
		},
		{
			name: "a task of which everything is bypassed is complete", bypass: []task.StepName{"a", "b", "c", "d"},
			want: task.Complete, steps: []string{"a:skipped", "d:skipped"},
			events: []string{
				"task.initialized", "step.skipped a", "step.skipped b", "step.skipped c", "step.skipped d",
				"workflow.task_finalization_started", "task.completed", "workflow.task_finalization_completed",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl := shape(t, step("a", skippable), step("b", skippable), step("c<-a,b", skippable), step("d<-c", skippable))
			d := start(t, tmpl, workflow, bypass(tt.bypass...))
			d.wantStatus(tt.want, tt.steps...)
			d.wantEvents(tt.events...)
			if !slices.Equal(d.ready, tt.ready) {
				t.Errorf("ready %v, want %v", d.ready, tt.ready)
			}
			if d.last.WriteSet.Create == nil || d.last.WriteSet.Task == nil {
				t.Error("the write set creates no task")
			}
		})
	}
}

// TestCreateRefused: nothing is stored when bypass_steps is wrong (rule C4).
func TestCreateRefused(t *testing.T) {
	tests := []struct {
		name   string
		bypass task.StepName
	}{
		{"an unknown step", "x"},
		{"a step that is not skippable", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := prepare(t, shape(t, step("a", skippable), step("b")), bypass("a", tt.bypass))
			d.refused(Create{}, task.ErrInvalid)
		})
	}
	t.Run("an input that is too large", func(t *testing.T) {
		d := prepare(t, shape(t, step("a")), func(s *task.Spec, _ *Host) { s.Input.Inline = large(task.MaxValue + 1) })
		d.refused(Create{}, task.ErrTooLarge)
	})
	t.Run("an input that is no JSON", func(t *testing.T) {
		d := prepare(t, shape(t, step("a")), func(s *task.Spec, _ *Host) { s.Input.Inline = []byte("{") })
		d.refused(Create{}, task.ErrInvalid)
	})
	t.Run("a task that exists", func(t *testing.T) {
		d := start(t, shape(t, step("a")))
		d.refused(Create{}, task.ErrTransition)
	})
}

// large is a JSON text of n bytes.
func large(n int) []byte {
	return append(append([]byte{'"'}, bytes.Repeat([]byte("x"), n-2)...), '"')
}

// TestLargeValues: a document over the inline limit becomes a blob, one byte less stays.
func TestLargeValues(t *testing.T) {
	tests := []struct {
		name  string
		size  int
		blobs int
	}{
		{"the largest inline value", task.MaxInline, 0},
		{"the smallest blob", task.MaxInline + 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b<-a")), func(s *task.Spec, _ *Host) { s.Input.Inline = large(tt.size) })
			if got := len(d.last.WriteSet.Blobs); got != tt.blobs {
				t.Errorf("creation with %d blobs, want %d", got, tt.blobs)
			}
			d.claim("a")
			r := d.succeeded("a")
			r.Report.Output = large(tt.size)
			d.decide(r)
			if got := len(d.last.WriteSet.Blobs); got != tt.blobs {
				t.Errorf("result with %d blobs, want %d", got, tt.blobs)
			}
			if got := d.step("a").Results; got.Size() != int64(tt.size) || (got.Ref != nil) != (tt.blobs == 1) {
				t.Errorf("results of %d bytes, ref %+v, want %d bytes", got.Size(), got.Ref, tt.size)
			}
		})
	}
}

// TestSettingsAreFixedByTheFirstClaim (rule C2): step > manifest > host, stored once.
func TestSettingsAreFixedByTheFirstClaim(t *testing.T) {
	d := start(t, shape(t, step("a", timeout(5e9)), step("b<-a")))
	c := d.claimOf(0)
	c.Offer.Version, c.Offer.Timeout, c.Offer.HeartbeatTimeout = 2, 9e9, 3e9
	c.Offer.Retry = &task.Retry{Limit: 7}
	c.Offer.Idempotent = task.IdempotentNo
	d.decide(c)
	got := d.step("a").Settings
	want := task.Settings{
		HandlerVersion: 2, PluginVersion: "1.0.0", Retry: task.Retry{Limit: 7}.WithDefaults(), Retryable: true,
		Timeout: 5e9, HeartbeatTimeout: 3e9, CancelGrace: testGrace, OnCrash: task.OnCrashPark,
	}
	if got.Timeout != want.Timeout || got.HeartbeatTimeout != want.HeartbeatTimeout || got.Retry.Limit != 7 ||
		got.OnCrash != want.OnCrash || got.HandlerVersion != 2 || got.CancelGrace != testGrace || !got.Retryable {
		t.Errorf("settings %+v, want %+v", *got, want)
	}
	first := *got
	d.fail("a", task.KindRetryable)
	d.pass(testGrace)
	c.Offer.Version, c.Offer.Timeout = 3, 1e9
	d.decide(c)
	if now := d.step("a").Settings; now.HandlerVersion != first.HandlerVersion || now.Timeout != first.Timeout {
		t.Errorf("the second claim changed the settings to %+v", *now)
	}
}
