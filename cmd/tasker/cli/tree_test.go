package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// begin is the instant at which the drawn tasks began; they are drawn ten seconds later.
var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// step makes a step of a drawn task.
func step(name string, status task.StepStatus, deps ...task.StepName) task.StepView {
	s := task.StepView{
		Step:    task.Step{Name: task.StepName(name), Status: status},
		Handler: task.HandlerRef{Plugin: "mock", Handler: "echo"}, DependsOn: deps, Limit: 3,
	}
	if status != task.StepPending && status != task.StepSkipped {
		s.Attempts, s.StartedAt = 1, begin
	}
	if status.Terminal() && status != task.StepSkipped {
		s.CompletedAt = begin.Add(1500 * time.Millisecond)
	}
	return s
}

// failing makes a step fail.
func failing(s task.StepView, failures uint32, message string) task.StepView {
	s.Attempts, s.Failures = failures, failures
	s.Failure = &task.Failure{Code: "HTTP_503", Message: message}
	s.RetryAt = begin.Add(12 * time.Second)
	return s
}

func drawn(v *task.View, width, height int) string {
	var lines []string
	for _, d := range newTree(v).draw(v, begin.Add(10*time.Second), width, height) {
		lines = append(lines, d.text)
	}
	return strings.Join(lines, "\n")
}

func TestTree(t *testing.T) {
	optional := step("extra", task.StepSkipped, "start")
	optional.Note = task.NoteBypassed
	busy := step("p2", task.StepInProgress, "start")
	busy.Progress, busy.ProgressNote = 0.42, "reading\nfiles"
	waiting := step("merge", task.StepPending, "v1", "p2")
	waiting.Reason = &task.Reason{Code: task.ReasonDependencies, Text: "waits for p2"}
	tests := []struct {
		name          string
		steps         []task.StepView
		width, height int
		want          string
	}{
		{
			name: "a chain stays at the left",
			steps: []task.StepView{
				step("a", task.StepComplete), step("b", task.StepInProgress, "a"), step("c", task.StepPending, "b"),
			},
			want: `
  + a  complete  1.5s
  > b  in_progress  10.0s
  . c  pending`,
		},
		{
			name: "a branch moves right, a join back",
			steps: []task.StepView{
				step("start", task.StepComplete),
				failing(step("p1", task.StepWaitingForRetry, "start"), 2, "slow\x1b[31m down\nplease"),
				step("v1", task.StepPending, "p1"), busy, optional, waiting, step("end", task.StepPending, "merge"),
			},
			want: `
  + start    complete  1.5s
  ~   p1     waiting_for_retry  attempt 2 (failed 2 of 3)  next in 2.0s  HTTP_503: slow?[31m down please
  .   v1     pending
  >   p2     in_progress  10.0s  42% reading files
  . merge    pending  waits for p2
  . end      pending
  -   extra  skipped  bypassed`,
		},
		{
			name: "failed, resolved, cancelled and parked steps say so in words",
			steps: []task.StepView{
				failing(step("a", task.StepError), 3, "no"), step("b", task.StepResolvedManually),
				step("c", task.StepCancelled), failing(step("d", task.StepWaiting), 1, "lost"),
			},
			want: `
  x a  error  attempt 3 (failed 3 of 3)  1.5s  HTTP_503: no
  * b  resolved_manually  1.5s
  / c  cancelled  1.5s
  ? d  waiting  attempt 1 (failed 1 of 3)  10.0s  HTTP_503: lost`,
		},
		{
			name: "lines end at the width",
			steps: []task.StepView{
				failing(step("a", task.StepError), 3, "a long story, longer than the screen"),
				step("a_name_that_is_longer_than_half_of_the_screen", task.StepPending),
			},
			width: 40,
			want: `
  x a                     error  atte...
  . a_name_that_is_lo...  pending`,
		},
		{
			name: "of what is too high the urgent rows stay, in their order",
			steps: []task.StepView{
				step("a", task.StepComplete), step("b", task.StepComplete, "a"), failing(step("c", task.StepError, "b"), 3, "no"),
				step("d", task.StepInProgress, "b"), step("e", task.StepPending, "c"), step("f", task.StepPending, "d"),
			},
			height: 4,
			want: `
  x   c  error  attempt 3 (failed 3 of 3)  1.5s  HTTP_503: no
  .   e  pending
  >   d  in_progress  10.0s
    ... and 3 rows more`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.width == 0 {
				tt.width = 200
			}
			got := "\n" + drawn(&task.View{Steps: tt.steps}, tt.width, tt.height)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestTreeFolds: a wide fan-out is one row, chains of it fold as a whole, and the row
// tells of its most urgent step.
func TestTreeFolds(t *testing.T) {
	v := &task.View{Steps: []task.StepView{step("discover", task.StepComplete)}}
	var ends []task.StepName
	for i := range 1209 {
		status := task.StepComplete
		if i >= 1204 {
			status = task.StepInProgress
		}
		shard := step(fmt.Sprintf("shard_%d", i), status, "discover")
		if i >= 1206 {
			shard = failing(step(fmt.Sprintf("shard_%d", i), task.StepError, "discover"), 3, "bad file")
		}
		check := step(fmt.Sprintf("check_%d", i), task.StepPending, shard.Name)
		check.Handler.Handler = "check"
		v.Steps = append(v.Steps, shard, check)
		ends = append(ends, check.Name)
	}
	v.Steps = append(v.Steps, step("merge", task.StepPending, ends...))
	want := `
  + discover                  complete  1.5s
  x shard_0 ... shard_1208    1,204 complete, 3 failed, 2 running; shard_1206: HTTP_503: bad file
  . check_0 ... check_1208    1,209 pending
  . merge                     pending`
	got := "\n" + drawn(v, 200, 0)
	got = strings.ReplaceAll(got, "  shard_0", "shard_0") // indentation is tested above
	if diff := cmp.Diff(strings.Join(strings.Fields(want), " "), strings.Join(strings.Fields(got), " ")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 0: "0.0s", 1234 * time.Millisecond: "1.2s", 59990 * time.Millisecond: "59.9s",
		time.Minute: "1m00s", 3599 * time.Second: "59m59s", 25 * time.Hour: "1d01h", 90 * time.Minute: "1h30m",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%s) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 30: "3.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"short", 5, "short"}, {"longer", 5, "lo..."}, {"世界世界", 7, "世界..."}, {"abc", 2, ".."}, {"abc", 0, ""},
	} {
		if got := cut(tt.in, tt.most); got != tt.want || columns(got) > max(tt.most, columns(tt.in)) {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 60, time.FixedZone("x", 3600))
	if got := *stamp(at); got != "2026-01-02T02:04:05.000000060Z" {
		t.Errorf("stamp: %s", got)
	}
	if stamp(time.Time{}) != nil {
		t.Error("the zero time has a stamp")
	}
	for in, want := range map[string]string{"": "''", "a-b/c.yaml": "a-b/c.yaml", `{"a": 'x'}`: `'{"a": '\''x'\''}'`} {
		if got := shellWord(in); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", in, got, want)
		}
	}
}
