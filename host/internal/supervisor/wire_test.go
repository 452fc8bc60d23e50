package supervisor

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func TestToWireAttempt(t *testing.T) {
	id := task.AttemptID{Task: testID, Ordinal: 3, Number: 2}
	got, refs := toWireAttempt(id.String(), &task.Assignment{
		ID: id, Template: task.TemplateRef{Namespace: "shop", Name: "order", Version: "1.0.0", Hash: "abc"},
		Step: "charge", Handler: task.HandlerRef{Plugin: "pay", Handler: "charge", Version: 4}, Limit: 3,
		IdempotencyKey: id.Step().String(), Input: task.Value{Inline: []byte(`{"a":1}`)}, Config: []byte(`{"c":1}`),
		Results:    []task.DependencyResult{{Step: "validate", Ordinal: 0, Status: task.StepComplete, Value: task.Value{Inline: []byte(`2`)}}},
		Checkpoint: []byte(`{"at":5}`), Timeout: time.Minute, HeartbeatTimeout: time.Second, Tags: []string{"x"}, CorrelationID: "corr",
		Previous: &task.Failure{Kind: task.KindTimeout, Code: "timeout", Source: task.SourceHost, RetryAfter: task.Duration(time.Second)},
	})
	want := &pluginv1.Attempt{
		AttemptId: id.String(), TaskId: string(testID), Template: &pluginv1.TemplateRef{Namespace: "shop", Name: "order", Version: "1.0.0"},
		Step: "charge", Handler: "charge", HandlerVersion: 4, Number: 2, Limit: 3, IdempotencyKey: string(testID) + "/3",
		Input: &pluginv1.Value{Inline: []byte(`{"a":1}`), Size: 7}, Config: []byte(`{"c":1}`),
		Results:    []*pluginv1.DependencyResult{{Step: "validate", Status: "complete", Value: &pluginv1.Value{Inline: []byte(`2`), Size: 1}}},
		Checkpoint: []byte(`{"at":5}`), Timeout: durationpb.New(time.Minute), HeartbeatTimeout: durationpb.New(time.Second), Tags: []string{"x"}, CorrelationId: "corr",
		PreviousError: &pluginv1.Error{Kind: pluginv1.ErrorKind_ERROR_KIND_RETRYABLE, Code: "timeout", Source: pluginv1.ErrorSource_ERROR_SOURCE_PLUGIN, RetryAfter: durationpb.New(time.Second)},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("attempt (-want +got):\n%s", diff)
	}
	if len(refs) > 0 {
		t.Errorf("refs = %v, want none", refs)
	}
}

const testID task.ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

func TestInlineBudgetOfResults(t *testing.T) {
	third := task.Value{Inline: bytes.Repeat([]byte("1"), pluginv1.MaxInlineResults/3)}
	a := &task.Assignment{Input: task.Value{Inline: bytes.Repeat([]byte("1"), pluginv1.MaxFrameBytes+1)}}
	for o := range task.Ordinal(5) {
		a.Results = append(a.Results, task.DependencyResult{Step: "s", Ordinal: o, Value: third})
	}
	w, refs := toWireAttempt(a.ID.String(), a)
	if diff := cmp.Diff([]string{"input", "result/3", "result/4"}, refs); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
	if got, want := w.GetInput().GetSize(), uint64(pluginv1.MaxFrameBytes+1); got != want || len(w.GetInput().GetInline()) > 0 {
		t.Errorf("input of size %d with %d bytes inline, want %d by reference", got, len(w.GetInput().GetInline()), want)
	}
}

func TestFromWireError(t *testing.T) {
	tests := []struct {
		name string
		in   *pluginv1.Error
		want *task.Failure
	}{
		{"nothing said is a retryable failure of the plugin", &pluginv1.Error{}, &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin}},
		{
			"everything",
			&pluginv1.Error{
				Kind: pluginv1.ErrorKind_ERROR_KIND_PERMANENT, Code: "declined", Message: "no", Class: "*x.Error",
				Source: pluginv1.ErrorSource_ERROR_SOURCE_DOWNSTREAM, Details: []byte(`{"a":1}`), Partial: []byte(`[1]`),
				RetryAfter: durationpb.New(time.Minute), Stack: []string{"main.go:1"},
			},
			&task.Failure{
				Kind: task.KindPermanent, Code: "declined", Message: "no", Class: "*x.Error", Source: task.SourceDownstream,
				Details: []byte(`{"a":1}`), Partial: []byte(`[1]`), RetryAfter: task.Duration(time.Minute), Stack: []string{"main.go:1"},
			},
		},
		{"values of later versions are read as the default", &pluginv1.Error{Kind: 99, Source: 99}, &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin}},
		{"what is no JSON is dropped and told", &pluginv1.Error{Message: "m", Details: []byte(`{`), Partial: []byte(`{`)}, &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin, Message: "m" + detailsDropped + partialDropped}},
		{"what is no UTF-8 is no JSON", &pluginv1.Error{Details: []byte("\"\xff\""), Partial: []byte("\"\xff\"")}, &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin, Message: detailsDropped + partialDropped}},
		{"an endless wait is cut", &pluginv1.Error{RetryAfter: durationpb.New(math.MaxInt64)}, &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin, RetryAfter: task.Duration(task.MaxRetryAfter)}},
		{"a negative wish is none", &pluginv1.Error{RetryAfter: durationpb.New(-time.Second)}, &task.Failure{Kind: task.KindRetryable, Source: task.SourcePlugin}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, fromWireError(tt.in)); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromWireErrorIsCutToTheLimits(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	f := fromWireError(&pluginv1.Error{
		Message: long, Code: long, Class: long, Stack: []string{long, "", "", "", "", "", "", "", "", "", "", ""},
		Details: []byte(`"` + long + `"`), Partial: bytes.Repeat([]byte("1"), task.MaxPartial+1),
	})
	if len(f.Message) > task.MaxErrorMessage || !strings.HasSuffix(f.Message, detailsDropped+partialDropped) {
		t.Errorf("message has %d bytes and ends with %q", len(f.Message), f.Message[len(f.Message)-10:])
	}
	if len(f.Code) > maxCode || len(f.Class) > maxClass || len(f.Stack) != task.MaxStackFrames || len(f.Stack[0]) > maxStackFrame {
		t.Errorf("code %d, class %d bytes, %d frames, the first %d bytes", len(f.Code), len(f.Class), len(f.Stack), len(f.Stack[0]))
	}
	if f.Details != nil || f.Partial != nil {
		t.Errorf("details %d bytes, partial %d bytes; want none", len(f.Details), len(f.Partial))
	}
}

func TestFromWireResultOverTheLimit(t *testing.T) {
	output := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, task.MaxValue)...), '"')
	r := fromWireResult(task.AttemptID{Task: testID, Number: 1}, "p#1", &pluginv1.Result{Outcome: &pluginv1.Result_Output{Output: output}})
	if r.Kind != task.ReportFailed || r.Failure.Code != task.CodeTooLarge || r.Failure.Source != task.SourceHost || r.Output != nil {
		t.Errorf("report of kind %d with %+v, want a %s of the host", r.Kind, r.Failure, task.CodeTooLarge)
	}
}

// TestOutcomesThatAreNoneFail: nothing but an output is a success.
func TestOutcomesThatAreNoneFail(t *testing.T) {
	later := &pluginv1.Result{}
	if err := proto.Unmarshal([]byte{0x7a, 0x02, '1', '2'}, later); err != nil { // field 15 of a later version
		t.Fatal(err)
	}
	for name, result := range map[string]*pluginv1.Result{
		"nothing": nil, "no outcome": {}, "an unknown one": later,
		"no JSON":  {Outcome: &pluginv1.Result_Output{Output: []byte("{")}},
		"no UTF-8": {Outcome: &pluginv1.Result_Output{Output: []byte("\"\xff\"")}},
	} {
		t.Run(name, func(t *testing.T) {
			r := fromWireResult(task.AttemptID{Task: testID, Number: 1}, "p#1", result)
			if r.Kind != task.ReportFailed || r.Failure.Code != task.CodeInvalidResult || r.Failure.Kind != task.KindPermanent || r.Failure.Source != task.SourcePlugin {
				t.Errorf("report of kind %d with %+v, want a permanent %s of the plugin", r.Kind, r.Failure, task.CodeInvalidResult)
			}
		})
	}
	for name, result := range map[string]*pluginv1.Result{
		"empty output": {Outcome: &pluginv1.Result_Output{}}, "null": {Outcome: &pluginv1.Result_Output{Output: []byte("null")}},
	} {
		if r := fromWireResult(task.AttemptID{}, "p#1", result); r.Kind != task.ReportSucceeded {
			t.Errorf("%s: %+v, want success", name, r.Failure)
		}
	}
}

func TestHeartbeatIsCleaned(t *testing.T) {
	tests := []struct {
		name    string
		in      *pluginv1.Heartbeat
		want    task.Report
		dropped bool
	}{
		{"as it is", &pluginv1.Heartbeat{Progress: 0.25, Note: "n", Checkpoint: []byte(`1`)}, task.Report{Progress: 0.25, Note: "n", Checkpoint: []byte(`1`)}, false},
		{"progress that is no number", &pluginv1.Heartbeat{Progress: math.NaN()}, task.Report{}, false},
		{"progress beyond the end", &pluginv1.Heartbeat{Progress: math.Inf(1)}, task.Report{Progress: 1}, false},
		{"checkpoint that is no UTF-8", &pluginv1.Heartbeat{Checkpoint: []byte("\"\xff\"")}, task.Report{}, true},
		{"checkpoint too large", &pluginv1.Heartbeat{Checkpoint: bytes.Repeat([]byte{'1'}, task.MaxCheckpoint+1)}, task.Report{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Kind = task.ReportHeartbeat
			got, dropped := fromWireHeartbeat(task.AttemptID{}, "", tt.in)
			if diff := cmp.Diff(tt.want, got); diff != "" || (dropped != "") != tt.dropped {
				t.Errorf("dropped %q; report (-want +got):\n%s", dropped, diff)
			}
		})
	}
}
