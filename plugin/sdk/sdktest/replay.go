package sdktest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// updateVariable, when set, has Replay write what comes instead of comparing it.
const updateVariable = "SDKTEST_UPDATE"

// Replay asks the plugin what was recorded, each file in a subtest, and compares what comes: files of `tasker plugin
// record`, or of [Plugin.Record], and of directories all that end in .json. What a recording names as volatile is not
// compared. With SDKTEST_UPDATE=1 in the environment the files get what came.
//
//	sdktest.Start(t, plugin()).Replay(t, "testdata/attempts")
func (p *Plugin) Replay(t *testing.T, paths ...string) {
	t.Helper()
	files, err := recording.Files(paths...)
	if err != nil {
		t.Fatalf("recordings: %v", err)
	}
	if len(files) == 0 {
		t.Fatalf("there are no recordings in %s", strings.Join(paths, ", "))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			a, err := recording.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			got := outcomeOf(t, p.Run(t, attemptOf(a)))
			if os.Getenv(updateVariable) != "" {
				a.Outcome = got
				if err := a.Write(file); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, d := range a.Compare(got) {
				t.Errorf("%s", d)
			}
		})
	}
}

// Record runs an attempt and writes it down as a file for [Plugin.Replay], with JSON pointers to what is not compared,
// such as "/output/at".
func (p *Plugin) Record(tb testing.TB, path string, a Attempt, volatile ...string) *Outcome {
	tb.Helper()
	got := p.Run(tb, a)
	doc := func(v any) json.RawMessage {
		text, err := document(v)
		if err != nil {
			tb.Fatalf("record %s: %v", path, err)
		}
		return text
	}
	a = a.withDefaults(1)
	r := recording.Attempt{
		Plugin: p.manifest.GetName(), PluginVersion: p.manifest.GetVersion(), Handler: a.Handler, Version: uint32(a.Version), //nolint:gosec // small
		Step: a.Step, Number: uint32(a.Number), Limit: uint32(a.Limit), IdempotencyKey: a.IdempotencyKey, Tags: a.Tags, //nolint:gosec // small
		Input: doc(a.Input), Config: doc(a.Config), Checkpoint: doc(a.Checkpoint), Skipped: a.Skipped,
		Outcome: outcomeOf(tb, got), Volatile: volatile, Previous: errorOf(a.Previous),
	}
	for step, result := range a.Results {
		if r.Results == nil {
			r.Results = make(map[string]json.RawMessage)
		}
		r.Results[step] = doc(result)
	}
	if err := r.Write(path); err != nil {
		tb.Fatalf("record %s: %v", path, err)
	}
	return got
}

// attemptOf is what is asked again.
func attemptOf(r *recording.Attempt) Attempt {
	a := Attempt{
		Handler: r.Handler, Version: int(r.Version), Step: r.Step, Number: int(r.Number), Limit: int(r.Limit),
		IdempotencyKey: r.IdempotencyKey, Tags: r.Tags, Skipped: r.Skipped, Results: make(map[string]any),
	}
	for _, v := range []struct {
		to  *any
		doc json.RawMessage
	}{{&a.Input, r.Input}, {&a.Config, r.Config}, {&a.Checkpoint, r.Checkpoint}} {
		if v.doc != nil {
			*v.to = v.doc
		}
	}
	for step, result := range r.Results {
		a.Results[step] = result
	}
	if p := r.Previous; p != nil {
		a.Previous = &Failure{Verdict: verdictOf(p.Kind), Code: p.Code, Message: p.Message, Details: p.Details, Partial: p.Partial}
	}
	return a
}

// outcomeOf is an outcome as it is recorded. An attempt that was lost fails the test.
func outcomeOf(tb testing.TB, o *Outcome) (r recording.Outcome) {
	tb.Helper()
	if o.Lost != nil {
		tb.Fatalf("the attempt was lost: %v", o.Lost)
	}
	if r.Error = errorOf(o.Failure); r.Error == nil {
		if r.Output = o.Output; len(r.Output) == 0 {
			r.Output = json.RawMessage("null")
		}
	}
	for _, e := range o.Emitted {
		r.Events = append(r.Events, recording.Event{Name: e.Name, Payload: e.Payload})
	}
	return r
}

// errorOf is a failure as it is recorded.
func errorOf(f *Failure) *recording.Error {
	if f == nil {
		return nil
	}
	return &recording.Error{Kind: kindOf(f.Verdict), Code: f.Code, Message: f.Message, Details: f.Details, Partial: f.Partial}
}

// verdictOf is a kind that hosts store as a verdict.
func verdictOf(kind string) sdk.Verdict {
	for _, v := range []sdk.Verdict{sdk.Final, sdk.Cancelled} {
		if kindOf(v) == kind {
			return v
		}
	}
	return sdk.Retryable
}

// kindOf is a verdict as hosts store it.
func kindOf(v sdk.Verdict) string {
	switch v {
	case sdk.Final:
		return "permanent"
	case sdk.Cancelled:
		return "cancelled"
	default:
		return "retryable"
	}
}
