package expr_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/expr"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// failed is the event that most cases look at.
func failed() *eventv1.Event {
	return &eventv1.Event{
		Id: "7f/3", Type: "step.failed", TaskId: "7f", TaskSeq: 3, Step: "charge", At: 1_700_000_000_000_000_000,
		Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationId: "c-1",
		Payload: []byte(`{
			"attempt_number": 2, "retry_limit": 3, "final": true, "error_message": "Card Declined ", "ratio": 1.5, "whole": 2.0,
			"id": 9007199254740993, "huge": 1e999, "nothing": null, "tags": ["eu", "b2b"], "steps": [{"name": "a"}, {"name": "b"}]
		}`),
	}
}

func TestMatch(t *testing.T) {
	tests := map[string]struct {
		source string
		want   bool
	}{
		"type":                   {`event.type == "step.failed"`, true},
		"other type":             {`event.type == "step.completed"`, false},
		"task and number":        {`event.task == "7f" && event.task_seq == 3`, true},
		"id":                     {`event.id == "7f/3"`, true},
		"step in a list":         {`event.step in ["charge", "ship"]`, true},
		"template":               {`event.namespace + "/" + event.template + "@" + event.version == "shop/order@1.2.0"`, true},
		"correlation id":         {`event.correlation_id.startsWith("c-")`, true},
		"time":                   {`event.at == timestamp("2023-11-14T22:13:20Z")`, true},
		"time in UTC":            {`event.at.getHours() == 22`, true},
		"time with a duration":   {`event.at + duration("24h") > timestamp("2023-11-15T00:00:00Z")`, true},
		"bool of the payload":    {`payload.final`, true},
		"negated":                {`!payload.final`, false},
		"both names are one":     {`event.payload.final && payload.final`, true},
		"whole number":           {`payload.attempt_number == 2 && payload.attempt_number < payload.retry_limit`, true},
		"whole number computes":  {`payload.attempt_number + 1 == payload.retry_limit`, true},
		"number with a fraction": {`payload.ratio > 1 && payload.ratio < 2`, true},
		"number with zeros":      {`payload.whole == 2`, true},
		"number beyond 2^53":     {`payload.id == 9007199254740993 && payload.id != 9007199254740992`, true},
		"null":                   {`payload.nothing == null`, true},
		"text methods":           {`payload.error_message.lowerAscii().trim() == "card declined"`, true},
		"upper case":             {`payload.error_message.upperAscii().contains("CARD")`, true},
		"regular expression":     {`payload.error_message.matches("[Dd]eclined *$")`, true},
		"list":                   {`"eu" in payload.tags && payload.tags.size() == 2`, true},
		"exists":                 {`payload.steps.exists(s, s.name == "b")`, true},
		"all":                    {`payload.steps.all(s, s.name == "b")`, false},
		"index by text":          {`payload["final"] == true`, true},
		"has":                    {`has(payload.final) && has(event.task)`, true},
		"has not":                {`has(payload.absent)`, false},
		"absent field":           {`payload.absent == 1`, false},
		"absent field, negated":  {`payload.absent != 1`, false},
		"absent field, not":      {`!(payload.absent == 1)`, false},
		"below an absent field":  {`payload.absent.more == 1`, false},
		"absent, other side":     {`payload.absent == 1 || payload.final`, true},
		"absent place":           {`payload.tags[7] == "eu"`, false},
		"a name of its own":      {`[1, 2].exists(event, event == 2)`, true},
		"filter and map":         {`payload.steps.filter(s, s.name != "a").map(s, s.name) == ["b"]`, true},
		"list in a loop":         {`payload.steps.exists(s, s.name in [payload.tags[0], "b"])`, true},
		"constants in a loop":    {`["eu", "us"].exists(s, s in payload.tags)`, true},
		"several lines":          {"event.type == 'step.failed'\n  && // final ones\n  payload.final", true},
	}
	e := newEvent(failed())
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := expr.Compile(tt.source)
			if err != nil {
				t.Fatalf("Compile(%q): %v", tt.source, err)
			}
			got, err := f.Match(e)
			if err != nil {
				t.Fatalf("Match: %v", err)
			}
			if got != tt.want {
				t.Errorf("Match(%q) = %v, want %v", tt.source, got, tt.want)
			}
			if f.String() != tt.source {
				t.Errorf("String() = %q, want %q", f.String(), tt.source)
			}
		})
	}
}

// TestMatchIsBounded: whatever is written and however long the lists of an event are, an
// evaluation ends, at one limit or the other.
func TestMatchIsBounded(t *testing.T) {
	t.Parallel()
	loop := "true"
	for range 6 {
		loop = "[0,1,2,3,4,5,6,7,8,9].all(a, " + loop + ")"
	}
	long := failed()
	long.Payload = []byte(`{"l":[` + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + `]}`)
	e := newEvent(long)
	for name, source := range map[string]string{
		"nested loops":         loop,
		"a long list":          `payload.l.exists(x, x == 3000)`,
		"a list with itself":   `payload.l.exists(x, payload.l.exists(y, x + y == 3000))`,
		"a list in every turn": `payload.l.all(x, payload.l == payload.l)`,
		"nothing in each turn": `payload.l.all(x, has(payload.l))`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := expr.Compile(source)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Match(e); got || !errors.Is(err, expr.ErrCost) && !errors.Is(err, expr.ErrTime) {
				t.Errorf("Match(%q) = %v, %v, want false and one of the limits", source, got, err)
			}
		})
	}
}

// What goes wrong with one event is no match and an error in words.
func TestMatchErrors(t *testing.T) {
	tests := map[string]struct{ source, want string }{
		"text and number": {`payload.error_message > 3`, "values of these types do not go together"},
		"int and double":  {`payload.attempt_number + 1.0 > 2.0`, "values of these types do not go together"},
		"no bool":         {`payload.error_message`, "a filter is true or false, this came to a text"},
		"division":        {`payload.attempt_number / 0 == 1`, "division by zero"},
		"growing": {
			`payload.tags` + strings.Repeat(".map(x, x + x)", 30) + ` == []`, expr.ErrCost.Error(),
		},
	}
	e := newEvent(failed())
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := expr.Compile(tt.source)
			if err != nil {
				t.Fatalf("Compile(%q): %v", tt.source, err)
			}
			got, err := f.Match(e)
			if got || err == nil || err.Error() != tt.want {
				t.Errorf("Match(%q) = %v, %v, want false and %q", tt.source, got, err, tt.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	const fields = "id, type, at, task, task_seq, step, namespace, template, version, correlation_id, payload"
	tests := map[string]struct{ source, want string }{
		"empty":              {"  ", "1:1: the filter is empty"},
		"too long":           {strings.Repeat(" ", expr.MaxSource) + "x", "1:1: the filter has 4097 bytes: the limit is 4096"},
		"no text":            {"\xff", "1:1: the filter is not UTF-8 text"},
		"field near":         {`event.typ == "x"`, `1:7: an event has no field "typ": did you mean "type"?`},
		"field far":          {`event.colour == "x"`, `1:7: an event has no field "colour": it has ` + fields},
		"field in has":       {`has(event.zz)`, `1:11: an event has no field "zz": it has ` + fields},
		"second line":        {"true &&\n  event.steps == ''", `2:9: an event has no field "steps": did you mean "step"?`},
		"after other script": {`"größer" == event.tpye`, `1:19: an event has no field "tpye": did you mean "type"?`},
		"name near":          {`evnt.type == "x"`, `1:1: unknown name "evnt": did you mean "event"?`},
		"name far":           {`duty.id == "x"`, `1:1: unknown name "duty": a filter reads event and payload`},
		"function":           {`event.type.startWith("x")`, `1:12: unknown name "startWith": did you mean "startsWith"?`},
		"one that grows":     {`payload.a.replace("", payload.b) == ""`, `1:11: unknown name "replace": a filter reads event and payload`},
		"cut off":            {`event.type == `, `1:15: not expected here: the end`},
		"single equals sign": {`event.type = "x"`, `1:12: not expected here: "=": compare with ==`},
		"and":                {`true and false`, `1:6: not expected here: "and": write &&`},
		"or":                 {`true or false`, `1:6: not expected here: "or": write ||`},
		"open quote":         {`event.type == 'a`, `1:15: not expected here: "'a"`},
		"types":              {`event.type == 3`, `1:12: == cannot be applied to (a text, a number (int))`},
		"no bool":            {`event.type`, `1:1: a filter is true or false, this is a text`},
		"timestamp":          {`event.at > timestamp("noon")`, `1:22: not a timestamp`},
		"duration":           {`event.at > event.at + duration("1 day")`, `1:32: not a duration`},
		"regular expression": {`event.type.matches("(")`, "1:19: error parsing regexp: missing closing ): `(`"},
		"large regexp":       {`event.type.matches("(a{100}b?){9}")`, `1:19: the regular expression is too large: 938 instructions, the limit is 250`},
		"regexp of an event": {`event.type.matches(payload.pattern)`, `1:19: the regular expression of matches is written out, in quotes`},
		"list in a loop":     {`[payload.a].map(x, [x, x]).size() == 1`, `1:1: in a macro such as exists or map, a list or map that is written out has only constants`},
		"map in a loop":      {`payload.a.map(x, {"a": x, "b": x}) == payload.b`, `1:18: in a macro such as exists or map, a list or map that is written out has only constants`},
		"event as a whole":   {`event == event`, `1:1: event is used by its fields: ` + fields},
		"event hidden":       {`dyn(event).x == 1`, `1:5: event is used by its fields: ` + fields},
		"a made event":       {`tasker.Event{type: "x"}.type == "x"`, `1:13: event is used by its fields: ` + fields},
		"too deep":           {strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300), "1:1: expression recursion limit exceeded: 50"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := expr.Compile(tt.source)
			if _, ok := errors.AsType[*expr.Error](err); !ok || err.Error() != tt.want {
				t.Errorf("Compile(%q):\n got %v\nwant %s", tt.source, err, tt.want)
			}
		})
	}
}

func TestCheckPayload(t *testing.T) {
	const failed, closed = `{"type":"object","properties":{"final":{},"error_code":{}}}`, `{"type":"object","properties":{"grams":{}},"additionalProperties":false}`
	tests := map[string]struct {
		source  string
		schemas []string
		want    string // empty = nothing is wrong
	}{
		"a field":                  {`payload.final`, []string{failed}, ""},
		"a field of one of two":    {`payload.grams > 3`, []string{failed, closed}, ""},
		"near":                     {`event.step == "a" && payload.finl`, []string{failed}, `1:29: no event that comes here has "finl" in its payload: did you mean "final"?`},
		"far":                      {`payload.colour == "red"`, []string{failed, closed}, `1:8: no event that comes here has "colour" in its payload: there is error_code, final, grams`},
		"of the event":             {`event.payload.finl`, []string{failed}, `1:14: no event that comes here has "finl" in its payload: did you mean "final"?`},
		"by its name":              {`payload["finl"]`, []string{failed}, `1:8: no event that comes here has "finl" in its payload: did you mean "final"?`},
		"in a macro":               {`payload.list.exists(x, x == 1)`, []string{closed}, `1:8: no event that comes here has "list" in its payload: there is grams`},
		"asked for":                {`has(payload.finl) && payload.finl`, []string{failed}, ""},
		"another payload":          {`[{"payload": {"finl": true}}].exists(e, e.payload.finl)`, []string{failed}, ""},
		"by a name that is made":   {`payload[event.step]`, []string{failed}, ""},
		"nothing is known":         {`payload.finl`, nil, ""},
		"one is not known":         {`payload.finl`, []string{failed, ""}, ""},
		"one is any object":        {`payload.finl`, []string{failed, `{"type":"object"}`}, ""},
		"one has fields of others": {`payload.finl`, []string{failed, `{"properties":{"a":{}},"additionalProperties":{"type":"string"}}`}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := expr.Compile(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			var schemas []json.RawMessage
			for _, s := range tt.schemas {
				schemas = append(schemas, json.RawMessage(s))
			}
			got := ""
			if err := f.CheckPayload(schemas); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("CheckPayload of %q:\n got %s\nwant %s", tt.source, got, tt.want)
			}
		})
	}
}

func TestRawEvent(t *testing.T) {
	f, err := expr.Compile(`event.step == "charge" && payload.final`)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(failed())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := f.Match(expr.NewEvent(raw)); !ok || err != nil {
		t.Errorf("Match(raw) = %v, %v, want true", ok, err)
	}
	if ok, err := f.Match(expr.NewEvent([]byte{0xff})); ok || err == nil {
		t.Errorf("Match(no event) = %v, %v, want an error", ok, err)
	}
}

func TestPayloads(t *testing.T) {
	tests := map[string]struct {
		payload, source string
		want, wantErr   bool
	}{
		"none":                   {"", `has(payload.a)`, false, false},
		"none, has":              {"", `has(event.payload)`, false, false},
		"a list":                 {"[1]", `payload[0] == 1`, true, false},
		"a field of a list":      {"[1]", `payload.a == 1`, false, true},
		"broken":                 {"{", `payload.a == 1`, false, true},
		"broken, through event":  {"{", `event.payload.a == 1`, false, true},
		"broken, not looked at":  {"{", `event.type == "x"`, true, false},
		"broken, other decides":  {"{", `event.type == "x" || payload.a == 1`, true, false},
		"number out of range":    {`{"a": 1e999}`, `payload.a == 1`, false, false},
		"number over 64 bits":    {`{"a": 123456789012345678901}`, `payload.a > 1`, true, false},
		"numbers deep in a list": {`{"a": [[1, {"b": 2}]]}`, `payload.a[0][1].b == 2`, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := expr.Compile(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Match(newEvent(&eventv1.Event{Type: "x", Payload: []byte(tt.payload)}))
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("Match(%s) = %v, %v, want %v, error %v", tt.payload, got, err, tt.want, tt.wantErr)
			}
		})
	}
}

// Filters and events are shared by the streams of all subscribers.
func TestConcurrent(t *testing.T) {
	e := newEvent(failed())
	f, err := expr.Compile(`payload.steps.exists(s, s.name == "b") && event.at < timestamp("2030-01-01T00:00:00Z")`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if ok, err := f.Match(e); !ok || err != nil {
					t.Errorf("Match = %v, %v, want true", ok, err)
					return
				}
			}
			if _, err := expr.Compile(`event.type == "x"`); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`event.type == "step.failed"`, `payload.a.b[0] > 1.5 && has(event.step)`, `event.typ`, `[1].map(x, x + x)`,
		`event.at > timestamp("2030-01-01T00:00:00Z")`, "a\n.b", `"\u00e9".matches("(a*)*")`, `1 = 2`, `{"a": [event.step]}.a[0] == ""`,
	} {
		f.Add(s)
	}
	e := newEvent(failed())
	f.Fuzz(func(t *testing.T, source string) {
		filter, err := expr.Compile(source)
		if err != nil {
			bad, ok := errors.AsType[*expr.Error](err)
			if !ok || bad.Line < 1 || bad.Column < 1 || bad.Message == "" || strings.Contains(bad.Message, "\n") {
				t.Fatalf("Compile(%q): %#v, want a place and one line", source, err)
			}
			return
		}
		if ok, err := filter.Match(e); ok && err != nil {
			t.Fatalf("Match(%q) = true, %v, want no match with an error", source, err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, source := range map[string]string{
		"envelope": `event.type == "step.failed" && event.template == "order"`,
		"payload":  `payload.final && payload.attempt_number > 1`,
		"exists":   `payload.steps.exists(s, s.name == "b")`,
	} {
		f, err := expr.Compile(source)
		if err != nil {
			b.Fatal(err)
		}
		raw, err := proto.Marshal(failed())
		if err != nil {
			b.Fatal(err)
		}
		e := expr.NewEvent(raw)
		b.Run(name+"/decoded", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, _ := f.Match(e); !ok {
					b.Fatal("no match")
				}
			}
		})
		b.Run(name+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, _ := f.Match(expr.NewEvent(raw)); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expr.Compile(`event.type == "step.failed" && payload.attempt_number > 1`); err != nil {
			b.Fatal(err)
		}
	}
}

// newEvent returns an event as the log has it.
func newEvent(e *eventv1.Event) *expr.Event {
	raw, err := proto.Marshal(e)
	if err != nil {
		panic(err) // not with texts of valid UTF-8
	}
	return expr.NewEvent(raw)
}
