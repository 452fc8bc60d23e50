package task_test

import (
	"encoding/json"
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

func TestLossCounts(t *testing.T) {
	tests := []struct {
		cause task.LossCause
		want  bool
	}{
		{task.LossCrashed, true},
		{task.LossHung, true},
		{task.LossDrained, false},
		{task.LossHostDied, false},
	}
	for _, tt := range tests {
		t.Run(string(tt.cause), func(t *testing.T) {
			if got := tt.cause.Counts(); got != tt.want {
				t.Errorf("Counts() = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestFailureText(t *testing.T) {
	f := &task.Failure{Message: "no route"}
	if got, want := f.Error(), "no route"; got != want {
		t.Errorf("without a code: %q, want %q", got, want)
	}
	f.Code = "HTTP_503"
	if got, want := f.Error(), "HTTP_503: no route"; got != want {
		t.Errorf("with a code: %q, want %q", got, want)
	}
}

func TestValueSize(t *testing.T) {
	tests := []struct {
		name  string
		value task.Value
		want  int64
	}{
		{"none", task.Value{}, 0},
		{"inline", task.Value{Inline: json.RawMessage(`{"a":1}`)}, 7},
		{"in a blob", task.Value{Ref: &task.BlobRef{N: task.ResultBlob(3), Size: 70_000}}, 70_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.value.Size(); got != tt.want {
				t.Errorf("Size() = %d, want %d", got, tt.want)
			}
		})
	}
	if task.ResultBlob(0) == task.InputBlob {
		t.Error("the results of the first step share the input's blob")
	}
}

func TestTemplateRef(t *testing.T) {
	ref := task.TemplateRef{Namespace: "default", Name: "orders", Version: "1.2.0", Hash: "abc"}
	if got, want := ref.String(), "default/orders@1.2.0"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}
