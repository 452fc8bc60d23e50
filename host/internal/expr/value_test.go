package expr_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/expr"
)

// order is what most cases over values read.
func order(tb testing.TB) *expr.Vars {
	tb.Helper()
	docs := map[string]string{
		"input": `{"id": "A-17", "total": 5, "price": 4.99, "urgent": true, "note": null, "tags": ["eu", "b2b"],
			"big": 9007199254740993, "bigger": 18446744073709551615, "huge": 1e999, "html": "<a & b>",
			"lines": [{"sku": "x", "n": 2, "price": 3}, {"sku": "y", "n": 1, "price": 1.5}]}`,
		"price": `{"amount": 12.5, "currency": "EUR"}`,
		"count": `3`,
	}
	decode := func(doc string) any {
		v, err := expr.Decode(json.RawMessage(doc))
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
	return &expr.Vars{
		Task: expr.Task{
			ID: "01J", Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationID: "c-1",
			CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		},
		Input: func() (any, error) { return decode(docs["input"]), nil },
		Result: func(step string) (any, bool, error) {
			if step == "skipped" {
				return nil, true, nil
			}
			doc, ok := docs[step]
			return decode(doc), ok, nil
		},
	}
}

func TestValue(t *testing.T) {
	for name, tt := range map[string]struct{ source, want string }{
		"a field":                     {`input.id`, `"A-17"`},
		"the whole input's list":      {`input.tags`, `["eu","b2b"]`},
		"a result":                    {`results.price`, `{"amount":12.5,"currency":"EUR"}`},
		"a field of a result":         {`results.price.amount`, `12.5`},
		"a result that is a number":   {`results.count + 1`, `4`},
		"the task":                    {`[task.id, task.namespace, task.template, task.version, task.correlation_id]`, `["01J","shop","order","1.2.0","c-1"]`},
		"a time":                      {`task.created_at`, `"2026-01-02T03:04:05Z"`},
		"a time later":                {`task.created_at + duration("24h")`, `"2026-01-03T03:04:05Z"`},
		"a duration":                  {`duration("90m")`, `"1h30m0s"`},
		"whole times fraction":        {`input.total * 1.2`, `6`},
		"fraction times whole":        {`1.5 * input.total`, `7.5`},
		"whole plus fraction":         {`input.total + input.price`, `9.99`},
		"minus":                       {`input.total - 1`, `4`},
		"division with a rest":        {`input.total / 2`, `2.5`},
		"division without a rest":     {`10 / input.total`, `2`},
		"remainder":                   {`input.total % 2`, `1`},
		"beyond 2^53":                 {`input.big`, `9007199254740993`},
		"beyond 2^63":                 {`input.bigger`, `18446744073709551615`},
		"texts join":                  {`input.id + "/" + results.price.currency`, `"A-17/EUR"`},
		"no escaping":                 {`input.html`, `"<a & b>"`},
		"lists join":                  {`input.tags + ["new"]`, `["eu","b2b","new"]`},
		"choice":                      {`input.urgent ? "fast" : "slow"`, `"fast"`},
		"a map":                       {`{"b": input.total, "a": [null, true]}`, `{"a":[null,true],"b":5}`},
		"a list is made anew":         {`input.lines.map(l, {"sku": l.sku, "sum": l.n * l.price})`, `[{"sku":"x","sum":6},{"sku":"y","sum":1.5}]`},
		"filter":                      {`input.lines.filter(l, l.n > 1).map(l, l.sku)`, `["x"]`},
		"null":                        {`input.note`, `null`},
		"a skipped step":              {`results.skipped == null`, `true`},
		"a skipped step has a result": {`has(results.skipped)`, `true`},
		"a step that has not ended":   {`has(results.later)`, `false`},
		"optional":                    {`input.?coupon.orValue("none")`, `"none"`},
		"optional that is there":      {`input.?id.orValue("none")`, `"A-17"`},
		"optional result":             {`results.?later.orValue(results.count)`, `3`},
		"optional of a result":        {`results.price.?rate.orValue(1)`, `1`},
		"a name of a macro":           {`["a"].map(results, results + "!")`, `["a!"]`},
		"int of a number":             {`int(input.price)`, `4`},
		"string of a number":          {`string(input.total)`, `"5"`},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := expr.CompileValue(tt.source)
			if err != nil {
				t.Fatalf("CompileValue(%q): %v", tt.source, err)
			}
			got, err := v.JSON(order(t), 1<<20)
			if err != nil || string(got) != tt.want {
				t.Errorf("%s = %s, %v, want %s", tt.source, got, err, tt.want)
			}
			if v.String() != tt.source {
				t.Errorf("String() = %q, want %q", v, tt.source)
			}
		})
	}
}

func TestValueErrors(t *testing.T) {
	for name, tt := range map[string]struct{ source, want string }{
		"absent":                  {`input.coupon`, `there is no "coupon"`},
		"below a skipped step":    {`results.skipped.id`, `results.skipped is null`},
		"a step that is not done": {`results.later.id`, `there is no "later"; step later has no results yet`},
		"text and number":         {`input.id + 1`, "values of these types do not go together"},
		"division by zero":        {`input.total / 0`, "division by zero"},
		"division by 0.0":         {`input.price / 0.0`, "division by zero"},
		"overflow":                {`input.big * input.big`, "integer overflow"},
		"no number":               {`input.huge`, "the number 1e999 is out of range"},
		"bytes":                   {`b"abc"`, "bytes is no value of JSON"},
		"numbers as keys":         {`{1: 2}`, "a map of JSON has texts as keys"},
		"infinite":                {`double("Inf")`, "+Inf is no number of JSON"},
		"large":                   {`[input.tags, input.tags]` + strings.Repeat(".map(x, [x, x, x, x, x, x, x, x])", 9), expr.ErrTooLarge.Error()},
		"endless":                 {nested(6), expr.ErrTurns.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := expr.CompileValue(tt.source)
			if err != nil {
				t.Fatalf("CompileValue(%q): %v", tt.source, err)
			}
			got, err := v.JSON(order(t), 1<<20)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s = %.100s, %v, want an error with %q", tt.source, got, err, tt.want)
			}
		})
	}
}

// TestTurns: however long the lists are, an evaluation ends after so many elements.
func TestTurns(t *testing.T) {
	long, err := expr.Decode(json.RawMessage(`[` + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + `]`))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{`input.exists(x, x == 2)`, `input.map(x, x)`, `input.all(x, input.all(y, x == y))`, `input.all(x, true)`} {
		v, err := expr.CompileValue(source)
		if err != nil {
			t.Fatal(err)
		}
		vars := order(t)
		vars.Input = func() (any, error) { return long, nil }
		if _, err := v.JSON(vars, 1<<20); !errors.Is(err, expr.ErrTurns) && !errors.Is(err, expr.ErrValueCost) {
			t.Errorf("%s over 200,000 elements: %v", source, err)
		}
	}
}

// nested is a loop of so many levels over ten elements each.
func nested(levels int) string {
	loop := "true"
	for range levels {
		loop = "[0,1,2,3,4,5,6,7,8,9].all(a, " + loop + ")"
	}
	return loop
}

func TestCompileValueErrors(t *testing.T) {
	for name, tt := range map[string]struct{ source, want string }{
		"empty":           {` `, "1:1: the expression is empty"},
		"syntax":          {`input.id ==`, `not expected here: the end`},
		"unknown name":    {`inputs.id`, `1:1: unknown name "inputs": did you mean "input"?`},
		"no such name":    {`a + now()`, `1:1: unknown name "a": an expression reads input, results and task`},
		"no clock":        {`now()`, `unknown name "now"`},
		"no field":        {`task.ids`, `1:6: there is no "ids"`},
		"whole task":      {`task`, "1:1: task is used by its fields: id, namespace"},
		"whole results":   {`results`, "1:1: results is used by its steps, as results.name"},
		"results by text": {`results["price"]`, "found"},
		"struct":          {`tasker.Task{id: "x"}`, "1:12: an expression makes maps"},
		"regex":           {`input.id.matches(input.id)`, "the regular expression of matches is written out, in quotes"},
		"long list":       {`input.tags.map(t, [t` + strings.Repeat(", 1", 40) + `])`, "at most 32 parts"},
		"second line":     {"input.id +\n  nothing", `2:3: unknown name "nothing"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := expr.CompileValue(tt.source)
			if tt.want == "found" {
				tt.want = "cannot be applied to"
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CompileValue(%q): %v, want %q", tt.source, err, tt.want)
			}
		})
	}
	if _, err := expr.CompileWhen(`"yes"`); err == nil || err.Error() != "1:1: a condition is true or false, this is a text" {
		t.Errorf("CompileWhen of a text: %v", err)
	}
}

func TestTrue(t *testing.T) {
	for source, want := range map[string]any{
		`input.total > 3 && "eu" in input.tags`: true,
		`results.price.amount >= 100`:           false,
		`input.id`:                              "a condition is true or false, this came to a text",
		`input.coupon == 1`:                     `there is no "coupon"`,
	} {
		v, err := expr.CompileWhen(source)
		if err != nil {
			t.Fatalf("CompileWhen(%q): %v", source, err)
		}
		got, err := v.True(order(t))
		if text, ok := want.(string); ok {
			if err == nil || err.Error() != text {
				t.Errorf("True(%s): %v, want %q", source, err, text)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("True(%s) = %v, %v, want %v", source, got, err, want)
		}
	}
}

func TestReads(t *testing.T) {
	v, err := expr.CompileValue(`input.id == "" ? results.price.amount : [1].map(input, input)[0] + results.?count.orValue(0)`)
	if err != nil {
		t.Fatal(err)
	}
	if !v.ReadsInput() || len(v.Steps()) != 2 || v.Steps()[0].Step != "price" || v.Steps()[1].Step != "count" {
		t.Errorf("reads input %v and %v, want the input, price and count", v.ReadsInput(), v.Steps())
	}
	v, err = expr.CompileValue(`[1].map(input, input)`)
	if err != nil || v.ReadsInput() || len(v.Steps()) != 0 {
		t.Errorf("a name of a macro: reads input %v and %v, %v", v.ReadsInput(), v.Steps(), err)
	}
}

func TestMapping(t *testing.T) {
	m, wrong := expr.CompileMapping(json.RawMessage(`{
		"order": "=input.id", "amount": "=results.price.amount * 2", "fixed": {"b": [1.50, "x"], "a": null},
		"nested": {"list": ["=input.total", "=input.?none", 7]}, "absent": "=input.?coupon", "text": "=\"=SUM\"", "html": "<&>"}`))
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	got, err := m.Resolve(order(t), 1000)
	want := `{"amount":25,"fixed":{"a":null,"b":[1.50,"x"]},"html":"<&>","nested":{"list":[5,7]},"order":"A-17","text":"=SUM"}`
	if err != nil || string(got) != want {
		t.Errorf("Resolve = %s, %v\nwant %s", got, err, want)
	}
	if _, err := m.Resolve(order(t), 40); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("Resolve with a limit of 40 bytes: %v", err)
	}
	whole, wrong := expr.CompileMapping(json.RawMessage(`"=results.price"`))
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	if got, err := whole.Resolve(order(t), 1000); err != nil || string(got) != `{"amount":12.5,"currency":"EUR"}` {
		t.Errorf("a whole document = %s, %v", got, err)
	}
	bad, _ := expr.CompileMapping(json.RawMessage(`{"a/b": {"c": "=input.coupon"}}`))
	var at *expr.MappingError
	if _, err := bad.Resolve(order(t), 1000); !errors.As(err, &at) || at.Pointer != "/a~1b/c" ||
		at.Message != `=input.coupon: there is no "coupon"` {
		t.Errorf("an absent field: %v", err)
	}
}

func TestCompileMappingErrors(t *testing.T) {
	for doc, want := range map[string]string{
		`7`:                          "(all): want a map or an expression, got a whole number",
		`"text"`:                     "(all): want a map or an expression, got text",
		`{"a": "="}`:                 `/a: the expression is empty; a text that begins with = is written '="=..."'`,
		`{"a": "== head =="}`:        `/a: not expected here: "=": compare with ==; a text that begins with = is written '="=..."'`,
		`{"a": "=inputs.x"}`:         `/a: unknown name "inputs": did you mean "input"?`,
		`{"a": [1, {"b": "=task"}]}`: "/a/1/b: task is used by its fields: id, namespace, template, version, correlation_id, created_at",
	} {
		_, wrong := expr.CompileMapping(json.RawMessage(doc))
		if len(wrong) != 1 || wrong[0].Error() != want {
			t.Errorf("CompileMapping(%s): %v, want %q", doc, wrong, want)
		}
	}
}

// schema of the input in the tests of types.
const orderSchema = `{"type": "object", "required": ["id", "total"], "properties": {
	"id": {"type": "string"}, "total": {"type": "integer"}, "price": {"type": "number"}, "any": {},
	"status": {"enum": ["new", "old"]}, "maybe": {"type": ["string", "null"]},
	"tags": {"type": "array", "items": {"type": "string"}},
	"labels": {"type": "object", "additionalProperties": {"type": "string"}},
	"open": {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": true},
	"either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
	"customer": {"$ref": "#/$defs/customer"}},
	"$defs": {"customer": {"type": "object", "properties": {"name": {"type": "string"}, "parent": {"$ref": "#/$defs/customer"}}}}}`

func TestCheckMapping(t *testing.T) {
	const handler = `{"type": "object", "required": ["order"], "properties": {
		"order": {"type": "string"}, "cents": {"type": "integer"}, "rate": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}},
		"who": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}, "free": {}}}`
	price := json.RawMessage(`{"type": "object", "properties": {"amount": {"type": "number"}, "currency": {"type": "string"}}}`)
	for name, tt := range map[string]struct{ doc, want string }{
		"all is well":       {`{"order": "=input.id", "cents": "=int(results.price.amount * 100)", "rate": "=input.total", "tags": "=input.tags", "who": "=input.customer", "free": "=input.any"}`, ""},
		"not checked":       {`{"order": "=input.any", "cents": "=results.other.x", "who": {"name": "=input.either"}}`, ""},
		"open":              {`{"order": "=input.open.whatever", "cents": "=input.open.a"}`, ""},
		"labels":            {`{"order": "=input.labels.team"}`, ""},
		"recursive":         {`{"order": "=input.customer.parent.parent.name"}`, ""},
		"whole input":       {`"=input"`, `(all): the handler wants "order", which this has not`},
		"missing field":     {`{"order": "=input.ids"}`, `/order: there is no "ids": did you mean "id"?`},
		"deeper":            {`{"order": "=input.customer.parent.nme"}`, `/order: there is no "nme": did you mean "name"?`},
		"of a result":       {`{"order": "=results.price.curency"}`, `/order: there is no "curency": did you mean "currency"?`},
		"in a macro":        {`{"order": "=input.tags.map(t, t.x)[0]"}`, `/order: type 'string' does not support field selection`},
		"wrong type":        {`{"order": "=input.total"}`, `/order: the handler wants text, this is a whole number`},
		"fraction":          {`{"order": "x", "cents": "=input.price"}`, `/cents: the handler wants a whole number, this is a number; int(...) cuts it`},
		"enum":              {`{"order": "=input.status", "cents": "=input.status"}`, `/cents: the handler wants a whole number, this is text`},
		"wrong literal":     {`{"order": 7}`, `/order: the handler wants text, this is a whole number`},
		"wrong list":        {`{"order": "x", "tags": "=[1]"}`, `/tags: the handler wants text in the list, this is a whole number`},
		"wrong item":        {`{"order": "x", "tags": ["a", 7]}`, `/tags/1: the handler wants text, this is a whole number`},
		"no such field":     {`{"order": "x", "cent": 7}`, `/cent: the handler's input has no "cent": did you mean "cents"?`},
		"nothing required":  {`{"cents": 7}`, `(all): the handler's input needs "order"`},
		"nested required":   {`{"order": "x", "who": {}}`, `/who: the handler's input needs "name"`},
		"lacks":             {`{"order": "x", "who": "=results.price"}`, `/who: the handler wants "name", which this has not`},
		"text and number":   {`{"order": "=input.id + input.total"}`, `/order: + cannot be applied to (a text, a number (int))`},
		"map for text":      {`{"order": {"a": 1}}`, `/order: the handler wants text, this is a map`},
		"condition in text": {`{"order": "=input.total > 1"}`, `/order: the handler wants text, this is true or false`},
	} {
		t.Run(name, func(t *testing.T) {
			scope, err := expr.NewScope(json.RawMessage(orderSchema), map[string]json.RawMessage{"price": price})
			if err != nil {
				t.Fatal(err)
			}
			m, wrong := expr.CompileMapping(json.RawMessage(tt.doc))
			if len(wrong) > 0 {
				t.Fatal(wrong)
			}
			var got []string
			for _, w := range scope.CheckMapping(m, scope.Shape(json.RawMessage(handler))) {
				got = append(got, w.Error())
			}
			if text := strings.Join(got, "\n"); text != tt.want {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}

func TestCheckWhen(t *testing.T) {
	scope, err := expr.NewScope(json.RawMessage(orderSchema), nil)
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`input.total > 3`:                  "",
		`input.maybe == null`:              "",
		`has(input.price)`:                 "",
		`input.customer == null`:           "",
		`input.?customer.?name.hasValue()`: "",
		`results.any.thing`:                "",
		`input.id`:                         "1:1: a condition is true or false, this is a text",
		`input.total == "x"`:               `1:13: == cannot be applied to (a number (int), a text)`,
		`input.totl > 3`:                   `1:7: there is no "totl": did you mean "total"?`,
	} {
		v, err := expr.CompileValue(source)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := scope.CheckWhen(v); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("CheckWhen(%s): %s, want %s", source, got, want)
		}
	}
}

func FuzzMapping(f *testing.F) {
	for _, doc := range []string{
		`{"a": "=input.id", "b": ["=results.price.amount * 2", 1, null]}`, `"=input.lines.map(l, {\"s\": l.sku})"`,
		`{"a": {"b": "=results.?later.orValue(task.id)"}, "c": "=[1,2].filter(x, x > 1)"}`, `{"a": "=="}`, `7`,
	} {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		m, wrong := expr.CompileMapping(json.RawMessage(doc))
		if len(wrong) > 0 {
			return
		}
		if scope, err := expr.NewScope(json.RawMessage(orderSchema), nil); err != nil {
			t.Fatal(err)
		} else {
			scope.CheckMapping(m, nil)
		}
		const limit = 10_000
		first, err := m.Resolve(order(t), limit)
		if err != nil {
			return
		}
		if !json.Valid(first) || len(first) > limit {
			t.Errorf("Resolve(%s) = %.200s: no JSON of at most %d bytes", doc, first, limit)
		}
		if again, err := m.Resolve(order(t), limit); err != nil || string(again) != string(first) {
			t.Errorf("Resolve(%s) = %s, then %s, %v", doc, first, again, err)
		}
	})
}

// TestKeysInOrder: whatever visits a map visits its keys in their order.
func TestKeysInOrder(t *testing.T) {
	tests := map[string]struct{ doc, want string }{
		"an object of the input":    {`"=input.map(k, k)"`, `["a","b","c","d","e","f"]`},
		"with what lies there":      {`"=input.filter(k, input[k] > 2)"`, `["a","c","d","e"]`},
		"a map that is made":        {`"={'z': 1, 'y': 2, 'x': 3, 'w': 4, 'v': 5}.map(k, k)"`, `["v","w","x","y","z"]`},
		"keys that are numbers":     {`"={10: 1, 9: 2, 8: 3, -1: 4, 100: 5}.map(k, string(k))"`, `["-1","8","9","10","100"]`},
		"an object within a list":   {`"=[input].map(o, o.map(k, k))"`, `[["a","b","c","d","e","f"]]`},
		"is still equal to another": {`"={'b': 2, 'a': 1} == {'a': 1, 'b': 2}"`, `true`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, wrong := expr.CompileMapping(json.RawMessage(tt.doc))
			if len(wrong) > 0 {
				t.Fatal(wrong)
			}
			in, err := expr.Decode(json.RawMessage(`{"f": 1, "e": 3, "d": 4, "c": 5, "b": 2, "a": 6}`))
			if err != nil {
				t.Fatal(err)
			}
			for range 8 { // an order by chance is rarely right so often
				got, err := m.Resolve(&expr.Vars{Input: func() (any, error) { return in, nil }}, 1000)
				if err != nil || string(got) != tt.want {
					t.Fatalf("got %s, %v, want %s", got, err, tt.want)
				}
			}
		})
	}
}
