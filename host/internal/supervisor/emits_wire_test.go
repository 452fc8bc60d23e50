//go:build unix

package supervisor

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// emission is what the test plugin's handler emit is asked for.
type emission struct {
	AtOnce []emitted `json:"at_once,omitempty"`
	Result []emitted `json:"result,omitempty"`
	Fail   bool      `json:"fail,omitempty"`
}

type emitted struct {
	Name    string          `json:"name"`
	Payload json.RawMessage `json:"payload"`
}

func (e emitted) domain() task.Emit { return task.Emit(e) }

// emitUpdates are the updates that an emission asks for.
func emitUpdates(id string, input []byte) []*pluginv1.Update {
	var e emission
	if err := json.Unmarshal(input, &e); err != nil {
		return []*pluginv1.Update{errorUpdate(id, &pluginv1.Error{Message: err.Error()})}
	}
	wire := func(e emitted) *pluginv1.Emit { return &pluginv1.Emit{Name: e.Name, Payload: e.Payload} }
	var updates []*pluginv1.Update
	for _, at := range e.AtOnce {
		updates = append(updates, &pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Emit{Emit: wire(at)}})
	}
	last := resultUpdate(id, []byte("1"))
	if e.Fail {
		last = errorUpdate(id, &pluginv1.Error{Message: "boom"})
	}
	for _, with := range e.Result {
		last.GetResult().Emits = append(last.GetResult().GetEmits(), wire(with))
	}
	return append(updates, last)
}

// TestEmits: what fits its declaration is reported, at once or with the result; what does
// not is told to the author.
func TestEmits(t *testing.T) {
	h := startHost(t, nil, "emitter")
	in := h.instanceOf("emitter", 1)
	shipped := emitted{Name: "emitter.shipped", Payload: []byte(`{"order":"o-1"}`)}
	seen := emitted{Name: "emitter.seen", Payload: []byte(`{"order":"o-2"}`)}
	bad := emitted{Name: "emitter.shipped", Payload: []byte(`{"order":1}`)}
	const why = "event emitter.shipped does not fit its schema: at /order: got number, want string"
	boom := &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin, Message: "boom"}
	invalid := &task.Failure{Kind: task.KindPermanent, Code: task.CodeInvalidEvent, Source: task.SourcePlugin, Message: why}
	tests := []struct {
		name  string
		given emission
		want  []task.Report
		log   string
	}{
		{
			"with the result",
			emission{Result: []emitted{shipped, shipped}},
			[]task.Report{{Kind: task.ReportSucceeded, Output: []byte("1"), Emits: []task.Emit{shipped.domain(), shipped.domain()}}},
			"",
		},
		{
			"at once",
			emission{AtOnce: []emitted{seen}, Result: []emitted{shipped}},
			[]task.Report{
				{Kind: task.ReportEmitted, Emits: []task.Emit{seen.domain()}},
				{Kind: task.ReportSucceeded, Output: []byte("1"), Emits: []task.Emit{shipped.domain()}},
			},
			"",
		},
		{"bad, with the result", emission{Result: []emitted{shipped, bad}}, []task.Report{{Kind: task.ReportFailed, Failure: invalid}}, ""},
		{"with a failure", emission{Fail: true, Result: []emitted{bad}}, []task.Report{{Kind: task.ReportFailed, Failure: boom}}, ""},
		{
			"bad, at once",
			emission{AtOnce: []emitted{shipped}},
			[]task.Report{{Kind: task.ReportSucceeded, Output: []byte("1")}},
			"dropped an event: event emitter.shipped is not declared as immediate, but came before the result",
		},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := h.within(t)
			input, err := json.Marshal(tt.given)
			if err != nil {
				t.Fatal(err)
			}
			a := attempt(i, "emit", string(input))
			h.Dispatch(in.ID, []*task.Assignment{a})
			h.final(a.ID)
			for i := range tt.want {
				tt.want[i].ID, tt.want[i].Instance = a.ID, in.ID
			}
			if diff := cmp.Diff(tt.want, h.reportsOf(a.ID)); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
			lines, err := h.Logs("emitter", 100)
			if err != nil {
				t.Fatal(err)
			}
			of := func(l LogLine) bool { return l.Attempt == a.ID.String() && l.Level == "warn" && l.Message == tt.log }
			if found := slices.ContainsFunc(lines, of); found != (tt.log != "") {
				t.Errorf("the plugin's log is %v, want a warning %q", lines, tt.log)
			}
		})
	}
}
