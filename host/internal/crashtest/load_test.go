package crashtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// plugins are the packages of the plugins that the templates name.
func plugins() []string {
	return []string{"github.com/tasker-engine/tasker/plugins/mock", "../../testdata/emitter"}
}

// checkCustom checks the custom events of a task of the template emits: those of a success
// are there as often as the success, and those that came at once are there for the attempt
// that succeeded.
func checkCustom(v *task.View, events []hosttest.Event) error {
	if v.Template.Name != "emits" {
		return nil
	}
	var faults []error
	want := func(name string, step task.StepName, n int) {
		if got := len(hosttest.Of(events, name, step)); got != n {
			faults = append(faults, fmt.Errorf("task %s: %d events %s of step %q, want %d", v.ID, got, name, step, n))
		}
	}
	once := func(done bool) int {
		if done {
			return 1
		}
		return 0
	}
	a, c := once(hosttest.Step(v, "a").Status == task.StepComplete), once(hosttest.Step(v, "c").Status == task.StepComplete)
	want("emitter.done", "a", 3*a)
	want("emitter.done", "c", c)
	want("emits.first", "a", a)
	want("emits.failed", "a", 0)
	want("emits.ended", "", once(v.Status == task.Complete))
	var last []hosttest.Event // of the last attempt of a
	for i, e := range events {
		if e.Step == "a" && e.Type == event.NameStepStarted {
			last = events[i:]
		}
	}
	if got := len(hosttest.Of(last, "emitter.noticed", "a")); a == 1 && got != 2 {
		faults = append(faults, fmt.Errorf("task %s: %d events emitter.noticed of the attempt that succeeded, want 2", v.ID, got))
	}
	return errors.Join(faults...)
}

// checkValues proves that a task of the template "values" took the branch that it has to,
// and made the inputs that it has to.
func checkValues(v *task.View) error {
	if v.Template.Name != "values" || v.Status != task.Complete {
		return nil
	}
	var faults []error
	for name, want := range map[task.StepName]task.StepStatus{"taken": task.StepComplete, "other": task.StepSkipped, "below": task.StepSkipped} {
		if got := hosttest.Step(v, name).Status; got != want {
			faults = append(faults, fmt.Errorf("task %s: step %s is %s, want %s", v.ID, name, got, want))
		}
	}
	var in struct {
		Size int    `json:"size"`
		Data string `json:"data"`
	}
	if err := json.Unmarshal(hosttest.Step(v, "taken").Input, &in); err != nil || in.Size != 100_000 || len(in.Data) != in.Size {
		faults = append(faults, fmt.Errorf("task %s: the input of taken says %d and has %d bytes: %w", v.ID, in.Size, len(in.Data), err))
	}
	var end struct {
		Task *int `json:"task"`
	}
	if err := json.Unmarshal(hosttest.Step(v, "end").Input, &end); err != nil || end.Task == nil {
		faults = append(faults, fmt.Errorf("task %s: the input of end: %w", v.ID, err))
	}
	return errors.Join(faults...)
}

// templates are the mix that is run: LEDGER stands for the file that every handler
// writes into.
func templates() []string {
	return []string{
		`name: chain
steps:
- {name: a, handler: mock/noop, config: {ledger: LEDGER}}
- {name: b, depends_on: [a], handler: mock/noop, config: {ledger: LEDGER}}
- {name: c, depends_on: [b], handler: mock/flaky, config: {ledger: LEDGER, times: 1}}
- {name: d, depends_on: [c], handler: mock/sleep, config: {ledger: LEDGER, for: 5ms}}
- {name: e, depends_on: [d], handler: mock/echo, config: {ledger: LEDGER}}
`,
		`name: diamond
steps:
- {name: start, handler: mock/noop, config: {ledger: LEDGER}}
- {name: p1, depends_on: [start], handler: mock/flaky, config: {ledger: LEDGER, times: 1}}
- {name: p2, depends_on: [start], handler: mock/sleep, config: {ledger: LEDGER, for: 40ms}}
- {name: merge, depends_on: [p1, p2], handler: mock/echo, config: {ledger: LEDGER}}
`,
		fan(),
		`name: beats
steps:
- {name: a, handler: mock/heartbeat, config: {ledger: LEDGER, every: 10ms, for: 120ms, checkpoint: true}}
- {name: b, depends_on: [a], handler: mock/big, config: {ledger: LEDGER, bytes: 100000}}
- {name: c, depends_on: [b], handler: mock/echo, config: {ledger: LEDGER}}
`,
		`name: fails
steps:
- {name: a, handler: mock/flaky, config: {ledger: LEDGER, kind: permanent}}
- {name: b, depends_on: [a], handler: mock/noop, config: {ledger: LEDGER}}
- {name: c, handler: mock/sleep, config: {ledger: LEDGER, for: 20ms}}
`,
		`name: optional
steps:
- {name: a, optional: true, handler: mock/flaky, config: {ledger: LEDGER}}
- {name: b, depends_on: [a], handler: mock/panic, config: {ledger: LEDGER, times: 1}}
`,
		`name: slow
steps:
- {name: a, handler: mock/hang, timeout: 30ms, retry: {limit: 2}, config: {ledger: LEDGER}}
- {name: b, handler: mock/sleep, config: {ledger: LEDGER, for: 150ms}}
- {name: c, depends_on: [b], handler: mock/noop, config: {ledger: LEDGER}}
`,
		`name: emits
events:
- {name: emits.first, on: step.completed, step: a}
- {name: emits.failed, on: step.failed, step: a}
- {name: emits.ended, on: task.completed}
steps:
- {name: a, handler: emitter/emit, config: {notices: 2, dones: 3, fails: 1}}
- {name: b, depends_on: [a], handler: mock/noop, config: {ledger: LEDGER}}
- {name: c, depends_on: [a], handler: emitter/emit, config: {dones: 1}}
`,
		`name: values
steps:
- {name: big, handler: mock/big, config: {ledger: LEDGER, bytes: 100000}}
- {name: wait, handler: mock/sleep, config: {ledger: LEDGER, for: 20ms}}
- {name: taken, depends_on: [big, wait], handler: mock/flaky, when: 'results.big.data != ""',
   with: {size: =size(results.big.data), data: =results.big.data}, config: {ledger: LEDGER, times: 1}}
- {name: other, depends_on: [wait], handler: mock/noop, when: input.task < 0, config: {ledger: LEDGER}}
- {name: below, depends_on: [other], handler: mock/noop, config: {ledger: LEDGER}}
- {name: end, depends_on: [taken, below], join: any, handler: mock/echo, with: {task: =input.task}, config: {ledger: LEDGER}}
`,
		`name: crashes
steps:
- {name: a, handler: mock/noop, config: {ledger: LEDGER}}
- {name: b, depends_on: [a], handler: mock/exit, config: {ledger: LEDGER, times: 1}}
- {name: c, depends_on: [b], handler: mock/noop, config: {ledger: LEDGER}}
`,
	}
}

// fan is one step, twenty beside each other, and one below all of them.
func fan() string {
	var b strings.Builder
	b.WriteString("name: fan\nsteps:\n- {name: a, handler: mock/noop, config: {ledger: LEDGER}}\n")
	names := make([]string, 20)
	for i := range names {
		names[i] = fmt.Sprintf("f%d", i)
		fmt.Fprintf(&b, "- {name: %s, depends_on: [a], handler: mock/sleep, config: {ledger: LEDGER, for: %dms}}\n", names[i], i)
	}
	fmt.Fprintf(&b, "- {name: z, depends_on: [%s], handler: mock/noop, config: {ledger: LEDGER}}\n", strings.Join(names, ", "))
	return b.String()
}

// requests are those of a round, after those of the round before. Their keys make a
// repeated request harmless.
func requests(ledger string, seed uint64, round, tasks int) (out []task.Request) {
	all := templates()
	for r := max(round-1, 0); r <= round; r++ {
		rnd := rand.New(rand.NewPCG(seed, uint64(r)+1<<32))
		for n := range tasks {
			i := rnd.IntN(len(all))
			if i == len(all)-1 && rnd.IntN(3) > 0 { // a crash of the plugin holds up all the others
				i = 0
			}
			text := strings.ReplaceAll(all[i], "LEDGER", ledger)
			text = strings.Replace(text, "\nsteps:", "\nversion: 1.0.0\ndefaults: {retry: {base: 15ms}}\nsteps:", 1)
			out = append(out, task.Request{
				Source: []byte(text), SourceName: "load.yaml", Priority: rnd.Int32N(3),
				Input:          json.RawMessage(fmt.Sprintf(`{"round":%d,"task":%d}`, r, n)),
				IdempotencyKey: fmt.Sprintf("%d-%d", r, n),
			})
		}
	}
	return out
}
