package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

func readCases() []testCase {
	return []testCase{
		{"what does not exist is not found", notFound},
		{"untouched steps are pending", untouched},
		{"live tasks come oldest first, with what is stored", live},
		{"live may be left and may write", liveWrites},
		{"the log is dense, ordered and can be read from anywhere", logFromAnywhere},
		{"a task's events follow its chain", taskEvents},
		{"events without a task are in the log", loneEvents},
		{"blobs are returned as stored", blobs},
		{"values are found wherever they lie", values},
		{"one checkpoint is returned", oneCheckpoint},
		{"ids resolve by prefix", resolve},
		{"counters follow every change", counters},
		{"statistics count operations", stats},
	}
}

func notFound(t *fixture) {
	s := t.store()
	id := ID(Start(), 1)
	_, err := s.Load(t.Context(), id)
	wantErr(t, "load", err, task.ErrNotFound)
	_, err = s.Blob(t.Context(), id, 0)
	wantErr(t, "blob", err, task.ErrNotFound)
	_, err = s.TaskEvents(t.Context(), id)
	wantErr(t, "events of a task", err, task.ErrNotFound)
	_, err = s.Load(t.Context(), "nonsense")
	wantErr(t, "load of what is no id", err, task.ErrBadID)
	got, err := s.Checkpoints(t.Context(), id)
	if len(got) != 0 || err != nil {
		t.Errorf("checkpoints: got %v, error %v; want none", got, err)
	}
	crashes, err := s.Crashes(t.Context(), "nobody")
	if len(crashes) != 0 || err != nil {
		t.Errorf("crashes: got %v, error %v; want none", crashes, err)
	}
}

func untouched(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 2000)
	MustCommit(t, s, fl.Create(1999))
	wantStored(t, s, fl)
}

func live(t *fixture) {
	s := t.store()
	var want []task.ID
	var sets []*store.WriteSet
	flows := make(map[task.ID]*Flow)
	for i := range uint64(600) { // more than one transaction's worth
		fl := NewFlow(i, 1)
		sets = append(sets, fl.Create(0))
		if i%3 == 0 {
			sets = append(sets, fl.Succeed(0))
			continue
		}
		want = append(want, fl.Task.ID)
		flows[fl.Task.ID] = fl
	}
	MustCommit(t, s, sets...)
	var got []task.ID
	err := s.Live(t.Context(), func(id task.ID, a *store.Aggregate, err error) error {
		if err != nil || a.Task.ID != id {
			return fmt.Errorf("task %s: %w", id, err)
		}
		got = append(got, id)
		if diff := cmp.Diff(&flows[a.Task.ID].Task, a.Task); diff != "" || len(a.Template) == 0 {
			t.Errorf("task %s, template of %d bytes (-want +got):\n%s", a.Task.ID, len(a.Template), diff)
		}
		return nil
	})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("live tasks (-want +got), error %v:\n%s", err, diff)
	}
}

func liveWrites(t *fixture) {
	s := t.store()
	a, b := NewFlow(1, 1), NewFlow(2, 1)
	MustCommit(t, s, a.Create(), b.Create())
	stop := errors.New("enough")
	calls := 0
	err := s.Live(t.Context(), func(task.ID, *store.Aggregate, error) error {
		calls++
		MustCommit(t, s, a.Claim(0))
		return stop
	})
	wantErr(t, "live", err, stop)
	if calls != 1 {
		t.Errorf("calls after an error: got %d, want 1", calls)
	}
}

// decodeIDs returns the ids of events.
func decodeIDs(tb testing.TB, entries []store.LogEntry) []string {
	tb.Helper()
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		ev := &eventv1.Event{}
		if err := proto.Unmarshal(e.Encoded, ev); err != nil {
			tb.Fatalf("log entry %d: %v", e.Seq, err)
		}
		ids = append(ids, ev.GetId())
	}
	return ids
}

func logFromAnywhere(t *fixture) {
	s := t.store()
	if got, err := s.Events(t.Context(), 0, 10); len(got) != 0 || err != nil {
		t.Errorf("events of an empty log: got %v, error %v", got, err)
	}
	if last, err := s.LastSeq(t.Context()); last != 0 || err != nil {
		t.Errorf("last sequence of an empty log: got %d, error %v; want 0", last, err)
	}
	a, b := NewFlow(1, 3), NewFlow(2, 2)
	MustCommit(t, s, a.Create(0, 1, 2), b.Create(), a.Succeed(0), b.Claim(0, 1), a.Cancel())
	all, err := s.Events(t.Context(), 0, 1000)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	if total := a.Task.Seq + b.Task.Seq; uint64(len(all)) != total {
		t.Fatalf("events: got %d, want %d", len(all), total)
	}
	if last, err := s.LastSeq(t.Context()); last != all[len(all)-1].Seq || err != nil {
		t.Errorf("last sequence: got %d, error %v; want %d", last, err, all[len(all)-1].Seq)
	}
	for i := 1; i < len(all); i++ {
		if all[i].Seq <= all[i-1].Seq {
			t.Errorf("sequence %d follows %d", all[i].Seq, all[i-1].Seq)
		}
	}
	for from := uint64(0); from <= all[len(all)-1].Seq+2; from++ {
		for _, limit := range []int{1, 2, 100} {
			got, err := s.Events(t.Context(), from, limit)
			if err != nil {
				t.Fatalf("events from %d: %v", from, err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(e store.LogEntry) bool { return e.Seq < from })
			want = want[:min(len(want), limit)]
			if diff := cmp.Diff(decodeIDs(t, want), decodeIDs(t, got)); diff != "" {
				t.Errorf("events from %d, at most %d (-want +got):\n%s", from, limit, diff)
			}
		}
	}
}

func taskEvents(t *fixture) {
	s := t.store()
	a, b := NewFlow(1, 3), NewFlow(2, 3)
	MustCommit(t, s, a.Create(0, 1), b.Create(), a.Succeed(0, 2), b.Claim(0, 1))
	MustCommit(t, s, a.Succeed(1), b.Succeed(1), a.Succeed(2))
	for _, fl := range []*Flow{a, b} {
		got, err := s.TaskEvents(t.Context(), fl.Task.ID)
		if err != nil {
			t.Fatalf("events of task %s: %v", fl.Task.ID, err)
		}
		var want []string
		for seq := range fl.Task.Seq {
			want = append(want, fmt.Sprintf("%s/%d", fl.Task.ID, seq+1))
		}
		if diff := cmp.Diff(want, decodeIDs(t, got)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}
}

func loneEvents(t *fixture) {
	s := t.store()
	c, err := Commit(s, &store.WriteSet{Events: []store.Event{Event("", 1, "host.started", Start()), Event("", 2, "plugin.ready", Start())}})
	if err != nil || c.FirstSeq == 0 {
		t.Fatalf("commit: got first sequence %d, error %v", c.FirstSeq, err)
	}
	got, err := s.Events(t.Context(), c.FirstSeq, 10)
	if diff := cmp.Diff([]string{"host/1/1", "host/1/2"}, decodeIDs(t, got)); err != nil || diff != "" {
		t.Errorf("events (-want +got), error %v:\n%s", err, diff)
	}
}

func blobs(t *fixture) {
	s := t.store()
	input := []byte(`"` + strings.Repeat("i", 200<<10) + `"`)
	result := []byte(`"` + strings.Repeat("r", 1<<20) + `"`)
	inputValue, inputBlob := Blob(task.InputBlob, input)
	fl := NewFlow(1, 2, func(sp *task.Spec) { sp.Input = inputValue })
	create := fl.Create(1)
	create.Blobs = []store.Blob{inputBlob}
	resultValue, resultBlob := Blob(task.ResultBlob(1), result)
	end := fl.SucceedWith(1, resultValue)
	end.Blobs = []store.Blob{resultBlob}
	MustCommit(t, s, create, end)
	wantStored(t, s, fl)
	for n, want := range map[uint32][]byte{task.InputBlob: input, task.ResultBlob(1): result} {
		got, err := s.Blob(t.Context(), fl.Task.ID, n)
		if err != nil || string(got) != string(want) {
			t.Errorf("blob %d: got %d bytes, error %v; want %d bytes", n, len(got), err, len(want))
		}
	}
	_, err := s.Blob(t.Context(), fl.Task.ID, task.ResultBlob(0))
	wantErr(t, "blob of a step without one", err, task.ErrNotFound)
}

func values(t *fixture) {
	s := t.store()
	large := []byte(`"` + strings.Repeat("v", 200<<10) + `"`)
	inputValue, inputBlob := Blob(task.InputBlob, large)
	a, b := NewFlow(1, 3, func(sp *task.Spec) { sp.Input = inputValue }), NewFlow(2, 1)
	create := a.Create(0)
	create.Blobs = []store.Blob{inputBlob}
	resultValue, resultBlob := Blob(task.ResultBlob(1), large)
	MustCommit(t, s, create, a.SucceedWith(0, task.Value{Inline: []byte(`{"n":1}`)}, 1))
	end := a.SucceedWith(1, resultValue, 2)
	end.Blobs = []store.Blob{resultBlob}
	MustCommit(t, s, end, b.Create())
	for _, c := range []struct {
		name string
		id   task.ID
		n    uint32
		want []byte
	}{
		{"large input", a.Task.ID, task.InputBlob, large},
		{"inline input", b.Task.ID, task.InputBlob, b.Task.Input.Inline},
		{"inline results", a.Task.ID, task.ResultBlob(0), []byte(`{"n":1}`)},
		{"large results", a.Task.ID, task.ResultBlob(1), large},
		{"no results yet", a.Task.ID, task.ResultBlob(2), nil},
	} {
		got, err := s.Value(t.Context(), c.id, c.n)
		if err != nil || string(got) != string(c.want) {
			t.Errorf("%s: got %d bytes, error %v; want %d bytes", c.name, len(got), err, len(c.want))
		}
	}
	for name, id := range map[string]task.ID{"a step never claimed": b.Task.ID, "an unknown task": ID(Start(), 9)} {
		_, err := s.Value(t.Context(), id, task.ResultBlob(0))
		wantErr(t, "results of "+name, err, task.ErrNotFound)
	}
	_, err := s.Value(t.Context(), ID(Start(), 9), task.InputBlob)
	wantErr(t, "input of an unknown task", err, task.ErrNotFound)
}

func oneCheckpoint(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3)
	MustCommit(t, s, fl.Create(0, 1))
	want := fl.Checkpoint(1, `{"n":1}`)
	if err := SaveCheckpoint(s, want); err != nil {
		t.Fatalf("save: %v", err)
	}
	got, err := s.Checkpoint(t.Context(), want.Step)
	if diff := cmp.Diff(*want, got); err != nil || diff != "" {
		t.Errorf("checkpoint (-want +got), error %v:\n%s", err, diff)
	}
	_, err = s.Checkpoint(t.Context(), task.StepID{Task: fl.Task.ID})
	wantErr(t, "checkpoint of a step without one", err, task.ErrNotFound)
}

func resolve(t *fixture) {
	s := t.store()
	ids := []task.ID{"01HZX000000000000000000001", "01HZX000000000000000000002", "01HZY000000000000000000001", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}
	for i, id := range ids {
		MustCommit(t, s, NewFlow(uint64(i), 1, func(sp *task.Spec) { sp.ID = id }).Create())
	}
	tests := []struct {
		prefix string
		want   task.ID
		err    error
	}{
		{"01HZX000000000000000000001", ids[0], nil},
		{"01hzy", ids[2], nil},
		{"7", ids[3], nil},
		{"01HZX", "", task.ErrAmbiguous},
		{"0", "", task.ErrAmbiguous},
		{"01HZZ", "", task.ErrNotFound},
		{"8", "", task.ErrNotFound},
		{"01HZX0000000000000000000011", "", task.ErrNotFound},
		{"", "", task.ErrNotFound},
		{"01HZX/", "", task.ErrNotFound},
	}
	for _, tt := range tests {
		got, err := s.Resolve(t.Context(), tt.prefix)
		if got != tt.want {
			t.Errorf("resolve %q: got %q, want %q", tt.prefix, got, tt.want)
		}
		wantErr(t, "resolve "+tt.prefix, err, tt.err)
	}
}

func counters(t *fixture) {
	s := t.store()
	a, b := NewFlow(1, 1), NewFlow(2, 1)
	steps := []struct {
		set  *store.WriteSet
		want map[task.Status]uint64
	}{
		{a.Create(), map[task.Status]uint64{task.Pending: 1}},
		{b.Create(0), map[task.Status]uint64{task.Pending: 1, task.InProgress: 1}},
		{a.Claim(0), map[task.Status]uint64{task.InProgress: 2}},
		{a.Fail(0), map[task.Status]uint64{task.InProgress: 1, task.Error: 1}},
		{a.Reopen(0), map[task.Status]uint64{task.InProgress: 2}},
		{b.Succeed(0), map[task.Status]uint64{task.InProgress: 1, task.Complete: 1}},
	}
	for i, step := range steps {
		MustCommit(t, s, step.set)
		got, err := s.Counters(t.Context())
		if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
			t.Errorf("counters after set %d (-want +got), error %v:\n%s", i, err, diff)
		}
	}
}

func stats(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 2)
	MustCommit(t, s, fl.Create(0), fl.Succeed(0, 1))
	if _, err := s.Load(t.Context(), fl.Task.ID); err != nil {
		t.Fatalf("load: %v", err)
	}
	got, err := s.Stats(t.Context())
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	host, epoch := s.Identity()
	if got.HostID != host || got.Epoch != epoch || got.WriteSets != 2 || got.Commits == 0 || got.LastSeq != fl.Task.Seq {
		t.Errorf("stats: got %+v; want host %s, epoch %d, 2 write sets, last sequence %d", got, host, epoch, fl.Task.Seq)
	}
	if got.Operations["load"].Calls != 1 || got.Operations["submit"].Calls != 2 || got.Operations["submit"].Puts == 0 {
		t.Errorf("operations: got %+v; want one load, two submits with puts", got.Operations)
	}
	if got.Tasks[task.InProgress] != 1 || got.FileBytes == 0 || len(got.Buckets) == 0 {
		t.Errorf("stats: got %+v; want one task in progress, a file and its buckets", got)
	}
}
