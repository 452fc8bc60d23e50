package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/task"
)

// sameTemplate compares the exported fields.
func sameTemplate() cmp.Option { return cmpopts.IgnoreUnexported(Template{}) }

// limits draws a time limit that may be unset or explicitly none.
func limits() *rapid.Generator[*time.Duration] {
	return rapid.Custom(func(t *rapid.T) *time.Duration {
		if rapid.Bool().Draw(t, "unset") {
			return nil
		}
		d := time.Duration(rapid.Int64Range(0, int64(MaxDuration)).Draw(t, "d"))
		return &d
	})
}

func retries() *rapid.Generator[*task.Retry] {
	return rapid.Custom(func(t *rapid.T) *task.Retry {
		r := &task.Retry{Limit: rapid.Uint32().Draw(t, "limit")}
		switch rapid.IntRange(0, 3).Draw(t, "backoff") {
		case 0:
			return nil
		case 1:
			r.Backoff, r.Factor = task.BackoffExponential, rapid.Float64Range(1, 10).Draw(t, "factor")
			r.Base, r.Cap = task.Duration(time.Second), task.Duration(time.Hour)
		case 2:
			r.Backoff, r.List = task.BackoffList, []task.Duration{0, task.Duration(time.Minute)}
		case 3:
			r.Jitter = &task.Jitter{Kind: task.JitterPercent, Percent: rapid.Float64Range(0, 100).Draw(t, "percent")}
		}
		return r
	})
}

// specs draws valid templates: steps depend on any of the steps before them.
func specs() *rapid.Generator[Template] {
	return rapid.Custom(func(t *rapid.T) Template {
		spec := Template{
			Name: "t", Version: "1.0.0", Description: rapid.String().Draw(t, "description"),
			OnFailure:    rapid.SampledFrom([]OnFailure{OnFailureDrain, OnFailureFailFast}).Draw(t, "on_failure"),
			Deadline:     time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "deadline")),
			IdentityHash: rapid.Bool().Draw(t, "identity"),
		}
		if rapid.Bool().Draw(t, "schema") {
			spec.Input = json.RawMessage(`{"type": "object"}`)
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "steps") {
			s := Step{
				Name: task.StepName(fmt.Sprintf("s%d", i)), Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"},
				Retry: retries().Draw(t, "retry"), Timeout: limits().Draw(t, "timeout"), TotalTimeout: limits().Draw(t, "total"),
				HeartbeatTimeout: limits().Draw(t, "heartbeat"), ScheduleToStart: limits().Draw(t, "start"),
				Priority: rapid.Int32().Draw(t, "priority"), Optional: rapid.Bool().Draw(t, "optional"),
				OnCrash: rapid.SampledFrom([]task.OnCrash{"", task.OnCrashFail, task.OnCrashPark}).Draw(t, "on_crash"),
			}
			if v := rapid.IntRange(0, 2).Draw(t, "retryable"); v < 2 {
				s.Retryable = new(bool)
				*s.Retryable = v == 1
			}
			if rapid.Bool().Draw(t, "config") {
				s.Config, _ = marshal(map[string]string{"text": rapid.String().Draw(t, "text")})
			}
			for d := range i {
				if rapid.Bool().Draw(t, "edge") {
					s.DependsOn = append(s.DependsOn, ordinal(d))
				}
			}
			spec.Steps = append(spec.Steps, s)
		}
		for range rapid.IntRange(0, 3).Draw(t, "subscriptions") {
			sub := Subscription{
				Subscriber: rapid.StringMatching(`[a-z][a-z0-9-]{0,31}(/[a-z][a-z0-9_-]{0,31})?`).Draw(t, "subscriber"),
				Filter:     rapid.SampledFrom([]string{"", "payload.final", "event.step != '<a>'"}).Draw(t, "filter"),
				Disabled:   rapid.Bool().Draw(t, "disabled"),
			}
			if rapid.Bool().Draw(t, "events") {
				sub.Events = []string{"step.*", "orders.shipped"}
			}
			if rapid.Bool().Draw(t, "config of it") {
				sub.Config, _ = marshal(map[string]string{"text": rapid.String().Draw(t, "text")})
			}
			spec.Subscriptions = append(spec.Subscriptions, sub)
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "events") {
			e := Event{Name: fmt.Sprintf("t.e%d", i), On: rapid.SampledFrom(EventSources()).Draw(t, "on"), Description: rapid.String().Draw(t, "about")}
			if strings.HasPrefix(e.On, "step.") {
				e.Step = "s0"
			}
			spec.Events = append(spec.Events, e)
		}
		return spec
	})
}

func TestFromSnapshotIsTheInverseOfSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, err := New(specs().Draw(t, "spec"))
		if err != nil {
			t.Fatal(err)
		}
		two, err := FromSnapshot(one.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one, two, sameTemplate()); diff != "" {
			t.Fatalf("loaded template differs (-saved +loaded):\n%s", diff)
		}
		if one.Ref() != two.Ref() {
			t.Fatalf("ref after loading %+v, want %+v", two.Ref(), one.Ref())
		}
		again, err := two.encode()
		if err != nil || !bytes.Equal(again, one.Snapshot()) {
			t.Fatalf("encoded again %s, %v, want %s", again, err, one.Snapshot())
		}
	})
}

// yamlOf writes a template as a user would write it.
func yamlOf(spec *Template) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "name: %s\nversion: %s\non_failure: %s\nsteps:\n", spec.Name, spec.Version, spec.OnFailure)
	for i := range spec.Steps {
		s := &spec.Steps[i]
		fmt.Fprintf(&b, "  - name: %s\n    handler: %s\n    optional: %t\n    priority: %d\n", s.Name, s.Handler, s.Optional, s.Priority)
		deps := make([]string, len(s.DependsOn))
		for j, d := range s.DependsOn {
			deps[j] = string(spec.Steps[d].Name)
		}
		fmt.Fprintf(&b, "    depends_on: [%s]\n", strings.Join(deps, ", "))
		if s.Config != nil {
			fmt.Fprintf(&b, "    config: %s\n", s.Config)
		}
	}
	return b.Bytes()
}

func TestParseReadsRandomGraphs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		full := specs().Draw(t, "spec")
		spec := Template{Name: full.Name, Version: full.Version, OnFailure: full.OnFailure}
		order := rapid.Permutation(indexes(len(full.Steps))).Draw(t, "order")
		place := make([]int, len(order))
		for to, from := range order {
			place[from] = to
		}
		for _, from := range order {
			s := full.Steps[from]
			moved := Step{Name: s.Name, Handler: s.Handler, Optional: s.Optional, Priority: s.Priority}
			// Quoted JSON text is YAML, but for the characters that YAML does not print.
			if !strings.ContainsFunc(string(s.Config), func(r rune) bool { return r < ' ' || r > '~' }) {
				moved.Config = s.Config
			}
			for _, d := range s.DependsOn {
				moved.DependsOn = append(moved.DependsOn, ordinal(place[d]))
			}
			spec.Steps = append(spec.Steps, moved)
		}
		want, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		src := yamlOf(want)
		got, err := Parse("t.yaml", src, Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		if diff := cmp.Diff(want, got, sameTemplate()); diff != "" {
			t.Fatalf("template differs (-want +got):\n%s\n%s", diff, src)
		}
	})
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func TestParseRefusesRandomCycles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := specs().Draw(t, "spec")
		n := len(spec.Steps)
		// A ring over some of the steps, in any direction.
		ring := rapid.Permutation(indexes(n)).Draw(t, "ring")[:rapid.IntRange(1, n).Draw(t, "length")]
		for i, at := range ring {
			next := ordinal(ring[(i+1)%len(ring)])
			spec.Steps[at].DependsOn = append([]task.Ordinal{next}, without(spec.Steps[at].DependsOn, next)...)
		}
		if _, err := New(spec); !errors.Is(err, task.ErrInvalid) || !strings.Contains(err.Error(), "wait for each other") {
			t.Fatalf("New: got %v, want a cycle", err)
		}
		_, err := Parse("t.yaml", yamlOf(&spec), Options{})
		if err == nil || !strings.Contains(err.Error(), "wait for each other") {
			t.Fatalf("Parse: got %v, want a cycle", err)
		}
		for _, cycle := range findCycles(spec.Steps) {
			for i, o := range cycle {
				next := cycle[(i+1)%len(cycle)]
				if len(without(spec.Steps[o].DependsOn, next)) == len(spec.Steps[o].DependsOn) {
					t.Fatalf("cycle %v: step %d does not depend on %d", cycle, o, next)
				}
			}
		}
	})
}

func without(list []task.Ordinal, o task.Ordinal) []task.Ordinal {
	var rest []task.Ordinal
	for _, v := range list {
		if v != o {
			rest = append(rest, v)
		}
	}
	return rest
}

func TestNewRefuses(t *testing.T) {
	step := func(change func(*Step)) []Step {
		s := Step{Name: "a", Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"}}
		change(&s)
		return []Step{s}
	}
	good := step(func(*Step) {})
	negative := -time.Second
	for name, tc := range map[string]struct {
		spec Template
		want string
	}{
		"no name":          {Template{Version: "1.0.0", Steps: good}, `name ""`},
		"bad namespace":    {Template{Namespace: "a/b", Name: "t", Version: "1.0.0", Steps: good}, `namespace "a/b"`},
		"bad version":      {Template{Name: "t", Version: "1", Steps: good}, `version "1"`},
		"bad on_failure":   {Template{Name: "t", Version: "1.0.0", OnFailure: "x", Steps: good}, `on_failure "x"`},
		"negative time":    {Template{Name: "t", Version: "1.0.0", Deadline: -1, Steps: good}, "deadline -1ns is negative"},
		"no steps":         {Template{Name: "t", Version: "1.0.0"}, "at least one step"},
		"too many steps":   {Template{Name: "t", Version: "1.0.0", Steps: make([]Step, MaxSteps+1)}, "10001 steps: the limit is 10000"},
		"same name":        {Template{Name: "t", Version: "1.0.0", Steps: append(good, good...)}, "a second step of that name"},
		"input not JSON":   {Template{Name: "t", Version: "1.0.0", Steps: good, Input: json.RawMessage(`{`)}, "input: not JSON"},
		"input two values": {Template{Name: "t", Version: "1.0.0", Steps: good, Input: json.RawMessage(`{} {}`)}, "more than one document"},
		"input no schema":  {Template{Name: "t", Version: "1.0.0", Steps: good, Input: json.RawMessage(`{"type": 5}`)}, "compile schema"},
		"bad step name": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.Name = "A" })},
			`step name "A"`,
		},
		"bad handler": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.Handler.Plugin = "" })},
			`step a: handler "/noop"`,
		},
		"unknown dependency": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.DependsOn = []task.Ordinal{7} })},
			"step a: depends on step 7 of 1",
		},
		"dependency twice": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.DependsOn = []task.Ordinal{0, 0} })},
			"step a: depends twice on step 0",
		},
		"cycle": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.DependsOn = []task.Ordinal{0} })},
			"a -> a",
		},
		"config not JSON": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.Config = json.RawMessage(`x`) })},
			"step a: config: not JSON",
		},
		"retry": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) {
				s.Retry = &task.Retry{Backoff: task.BackoffLinear, Factor: 2}
			})},
			"step a: retry: factor has no effect",
		},
		"on_crash": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.OnCrash = "explode" })},
			`step a: on_crash "explode"`,
		},
		"time limit": {
			Template{Name: "t", Version: "1.0.0", Steps: step(func(s *Step) { s.Timeout = &negative })},
			"step a: a time limit of -1s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.spec)
			if !errors.Is(err, task.ErrInvalid) || !strings.Contains(fmt.Sprint(err), tc.want) {
				t.Errorf("got %v, want it to say %q", err, tc.want)
			}
		})
	}
}

func TestNewLeavesItsArgumentAlone(t *testing.T) {
	spec := Template{Name: "t", Version: "1.0.0", Steps: []Step{
		{Name: "a", Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"}, DependsOn: []task.Ordinal{}},
		{Name: "b", Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"}, DependsOn: []task.Ordinal{0}},
	}}
	got, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Steps[0].Dependents != nil || spec.Namespace != "" {
		t.Errorf("New changed its argument: %+v", spec)
	}
	if diff := cmp.Diff([]task.Ordinal{1}, got.Steps[0].Dependents); diff != "" {
		t.Errorf("dependents differ (-want +got):\n%s", diff)
	}
	if got.Steps[0].Level != 0 || got.Steps[1].Level != 1 {
		t.Errorf("levels %d, %d; want 0, 1", got.Steps[0].Level, got.Steps[1].Level)
	}
}

func TestFromSnapshotRefuses(t *testing.T) {
	const head = `{"format":1,"namespace":"default","name":"t","version":"1.0.0","on_failure":"drain","steps":[`
	for name, tc := range map[string]struct{ snapshot, want string }{
		"no JSON":            {`{`, "unexpected EOF"},
		"newer format":       {`{"format":2}`, "format 2, this version reads 1"},
		"unknown field":      {head + `{"name":"a","handler":"mock/noop","whenever":"x"}]}`, `unknown field "whenever"`},
		"bad handler":        {head + `{"name":"a","handler":"noop"}]}`, "step 0"},
		"unknown dependency": {head + `{"name":"a","handler":"mock/noop","depends_on":[4]}]}`, "depends on step 4 of 1"},
		"bad version":        {`{"format":1,"version":"x","steps":[]}`, `version "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromSnapshot([]byte(tc.snapshot))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// TestOldSnapshotsLoad loads the snapshots of every release and checks that their hash
// is that of the bytes, however this version would write them.
func TestOldSnapshotsLoad(t *testing.T) {
	for _, path := range glob(t, "testdata/snapshots/*.json") {
		raw := bytes.TrimSpace(readFile(t, path))
		tmpl, err := FromSnapshot(raw)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !bytes.Equal(tmpl.Snapshot(), raw) {
			t.Errorf("%s: the snapshot changed by loading it", path)
		}
	}
	spaced, err := FromSnapshot([]byte(`{"format": 1, "namespace": "default", "name": "t", "version": "1.0.0", "on_failure": "drain", "steps": []}`))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := spaced.encode(); err != nil || bytes.Equal(again, spaced.Snapshot()) {
		t.Errorf("got the bytes written anew (%v), want those that were loaded", err)
	}
}

const inputTemplate = `
name: t
version: 1.0.0
input:
  type: object
  required: [id]
  additionalProperties: false
  properties:
    id: {type: string, minLength: 2}
    mail: {type: string, format: email}
    size: {oneOf: [{const: small}, {type: integer, minimum: 1}], default: small}
    "a/b~c": {type: boolean}
    list: {type: array, items: {type: object, required: [n], properties: {n: {type: integer}}}}
steps: [{name: a, handler: mock/noop}]
`

func TestValidateInput(t *testing.T) {
	tmpl, err := Parse("t.yaml", []byte(inputTemplate), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		input string
		want  []Violation
	}{
		"good":       {`{"id": "o1", "size": 3, "list": [{"n": 1}]}`, nil},
		"no input":   {``, []Violation{{"", "missing property 'id'"}}},
		"not JSON":   {`{"id": `, []Violation{{"", "not JSON: unexpected EOF"}}},
		"two values": {`{"id": "o1"} 5`, []Violation{{"", "not JSON: invalid character after top-level value"}}},
		"wrong type": {`[1]`, []Violation{{"", "got array, want object"}}},
		"all at once": {
			`{"id": "x", "mail": "m", "size": 0, "a/b~c": 1, "list": [{}, {"n": 1.5}], "more": 1}`,
			[]Violation{
				{"", "additional properties 'more' not allowed"},
				{"/a~1b~0c", "got number, want boolean"},
				{"/id", "minLength: got 1, want 2"},
				{"/list/0", "missing property 'n'"},
				{"/list/1/n", "got number, want integer"},
				{"/mail", "'m' is not valid email: missing @"},
				{"/size", "fits no alternative: value must be 'small' | minimum: got 0, want 1"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := tmpl.ValidateInput([]byte(tc.input))
			var invalid *InputError
			if errors.As(err, &invalid) != (tc.want != nil) || (err != nil && !errors.Is(err, task.ErrInvalid)) {
				t.Fatalf("got %v, want %d violations", err, len(tc.want))
			}
			if invalid == nil {
				return
			}
			if diff := cmp.Diff(tc.want, invalid.Violations); diff != "" {
				t.Errorf("violations differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateInputError(t *testing.T) {
	tmpl, err := Parse("t.yaml", []byte(inputTemplate), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "the input does not fit template default/t@1.0.0:\n" +
		"  (input): additional properties 'x' not allowed\n  /id: got number, want string"
	if got := fmt.Sprint(tmpl.ValidateInput([]byte(`{"id": 1, "x": 2}`))); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestValidateInputWithoutSchema(t *testing.T) {
	tmpl, err := New(Template{Name: "t", Version: "1.0.0", Steps: []Step{{Name: "a", Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for input, good := range map[string]bool{``: true, `5`: true, `{"a": [null]}`: true, `{`: false} {
		if err := tmpl.ValidateInput([]byte(input)); (err == nil) != good {
			t.Errorf("%q: got %v, want good = %t", input, err, good)
		}
	}
}

func TestValidateInputConcurrently(t *testing.T) {
	one, err := Parse("t.yaml", []byte(inputTemplate), Options{})
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := FromSnapshot(one.Snapshot()) // compiles its schema at the first call
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := tmpl.ValidateInput([]byte(`{"id": "o1"}`)); err != nil {
					t.Errorf("good input: %v", err)
				}
				if err := tmpl.ValidateInput([]byte(`{"id": 1}`)); err == nil {
					t.Error("bad input passed")
				}
			}
		})
	}
	wg.Wait()
}

func TestStepByNameAndHandlers(t *testing.T) {
	tmpl := parseFile(t, "testdata/valid/full.yaml", "dev")
	if o, ok := tmpl.StepByName("ship"); o != 3 || !ok {
		t.Errorf("ship: got %d, %t, want 3, true", o, ok)
	}
	if _, ok := tmpl.StepByName("shop"); ok {
		t.Error("a step that does not exist was found")
	}
	var got []string
	for _, h := range tmpl.Handlers() {
		got = append(got, h.String())
	}
	want := []string{"shop/validate", "shop/reserve@2", "shop/pretend", "shop/ship", "shop/notify"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("handlers differ (-want +got):\n%s", diff)
	}
}

func TestMergeRetry(t *testing.T) {
	second, minute := task.Duration(time.Second), task.Duration(time.Minute)
	none := &task.Jitter{Kind: task.JitterNone}
	for name, tc := range map[string]struct{ over, under, want *task.Retry }{
		"nothing":    {nil, nil, nil},
		"only over":  {&task.Retry{Limit: 2}, nil, &task.Retry{Limit: 2}},
		"only under": {nil, &task.Retry{Limit: 2}, &task.Retry{Limit: 2}},
		"field by field": {
			&task.Retry{Limit: 5, Base: second},
			&task.Retry{Limit: 2, Backoff: task.BackoffLinear, Base: minute, Cap: minute, Jitter: none},
			&task.Retry{Limit: 5, Backoff: task.BackoffLinear, Base: second, Cap: minute, Jitter: none},
		},
		"another kind": {
			&task.Retry{Backoff: task.BackoffLinear},
			&task.Retry{Backoff: task.BackoffExponential, Factor: 3, Base: second, Cap: minute},
			&task.Retry{Backoff: task.BackoffLinear, Base: second, Cap: minute},
		},
		"constant": {
			&task.Retry{Backoff: task.BackoffConstant},
			&task.Retry{Factor: 3, Base: second, Cap: minute},
			&task.Retry{Backoff: task.BackoffConstant, Base: second},
		},
		"list over shape": {
			&task.Retry{Backoff: task.BackoffList, List: []task.Duration{second}},
			&task.Retry{Limit: 9, Factor: 3, Base: second, Cap: minute},
			&task.Retry{Limit: 9, Backoff: task.BackoffList, List: []task.Duration{second}},
		},
		"shape over list": {
			&task.Retry{Backoff: task.BackoffExponential, Base: second},
			&task.Retry{Backoff: task.BackoffList, List: []task.Duration{minute}},
			&task.Retry{Backoff: task.BackoffExponential, Base: second},
		},
		"list over list": {
			&task.Retry{Backoff: task.BackoffList, List: []task.Duration{second}},
			&task.Retry{Backoff: task.BackoffList, List: []task.Duration{minute, minute}},
			&task.Retry{Backoff: task.BackoffList, List: []task.Duration{second}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, MergeRetry(tc.over, tc.under)); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}
