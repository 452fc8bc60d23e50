package host

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

func TestSchemaBreaks(t *testing.T) {
	object := func(rest string) string { return `{"type":"object",` + rest + `}` }
	order := object(`"properties":{"id":{"type":"string"},"total":{"type":"number"},"note":{"type":"string"}},"required":["id"]`)
	tests := []struct {
		name         string
		older, newer string
		want         []string
	}{
		{"the same", order, order, nil},
		{"any document before", ``, order, nil},
		{"true before", `true`, `{"type":"string"}`, nil},
		{"any document now", order, ``, []string{`the payload has changed its type from object to any`}},
		{
			"a property that is added",
			order,
			object(`"properties":{"id":{"type":"string"},"total":{"type":"number"},"note":{"type":"string"},"more":{"type":"string"}},"required":["id"]`),
			nil,
		},
		{
			"properties that are removed",
			order,
			object(`"properties":{"id":{"type":"string"}},"required":["id"]`),
			[]string{`property "note" was removed`, `property "total" was removed`},
		},
		{
			"a type that is changed",
			order,
			object(`"properties":{"id":{"type":"integer"},"total":{"type":"number"},"note":{"type":"string"}},"required":["id"]`),
			[]string{`property "id" has changed its type from string to integer`},
		},
		{
			"a number that is an integer now",
			order,
			object(`"properties":{"id":{"type":"string"},"total":{"type":"integer"},"note":{"type":"string"}},"required":["id"]`),
			nil,
		},
		{"an integer that is a number now", `{"type":"integer"}`, `{"type":"number"}`, []string{`the payload has changed its type from integer to number`}},
		{
			"a property that may be null now",
			object(`"properties":{"id":{"type":"string"}}`),
			object(`"properties":{"id":{"type":["string","null"]}}`),
			[]string{`property "id" has changed its type from string to null or string`},
		},
		{"a property that is never null now", object(`"properties":{"id":{"type":["string","null"]}}`), object(`"properties":{"id":{"type":"string"}}`), nil},
		{
			"a property that is required now",
			order,
			object(`"properties":{"id":{"type":"string"},"total":{"type":"number"},"note":{"type":"string"}},"required":["id","note"]`),
			[]string{`property "note" is required now`},
		},
		{
			"a new property that is required",
			object(`"properties":{}`),
			object(`"properties":{"id":{"type":"string"}},"required":["id"]`),
			[]string{`property "id" is required now`},
		},
		{"no longer required", order, object(`"properties":{"id":{"type":"string"},"total":{"type":"number"},"note":{"type":"string"}}`), nil},
		{
			"inside an object",
			object(`"properties":{"order":` + order + `}`),
			object(`"properties":{"order":` + object(`"properties":{"id":{"type":"string"},"total":{"type":"string"}}`) + `}`),
			[]string{`property "order.note" was removed`, `property "order.total" has changed its type from number to string`},
		},
		{
			"inside an array",
			object(`"properties":{"lines":{"type":"array","items":` + order + `}}`),
			object(`"properties":{"lines":{"type":"array","items":` + object(`"properties":{"id":{"type":"string"},"total":{"type":"number"}}`) + `}}`),
			[]string{`property "lines[].note" was removed`},
		},
		{"an array of anything now", `{"type":"array","items":{"type":"string"}}`, `{"type":"array"}`, []string{`property "[]" has changed its type from string to any`}},
		{
			"inside a map",
			object(`"properties":{"by":{"type":"object","additionalProperties":{"type":"integer"}}}`),
			object(`"properties":{"by":{"type":"object","additionalProperties":{"type":"string"}}}`),
			[]string{`property "by.*" has changed its type from integer to string`},
		},
		{"closed before and open now", object(`"additionalProperties":false`), object(`"properties":{"a":{"type":"string"}}`), nil},
		{
			"behind references",
			`{"$ref":"#/$defs/order","$defs":{"order":` + order + `}}`,
			`{"$ref":"#/$defs/o","$defs":{"o":` + object(`"properties":{"id":{"type":"string"},"note":{"type":"string"}}`) + `}}`,
			[]string{`property "total" was removed`},
		},
		{
			"a type that holds itself",
			`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"},"v":{"type":"string"}}}}}`,
			`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}}}`,
			[]string{`property "v" was removed`},
		},
		{"a reference to itself, and one to nothing", `{"$ref":"#"}`, `{"$ref":"#/$defs/none"}`, nil},
		{"an enumeration that has more", `{"enum":["a"]}`, `{"enum":["a","b"]}`, nil},
		{"an enumeration of another type", `{"enum":["a"]}`, `{"enum":[1,2]}`, []string{`the payload has changed its type from string to integer`}},
		{"a constant", `{"const":1.5}`, `{"const":null}`, []string{`the payload has changed its type from number to null`}},
		{
			"an alternative that changed",
			`{"anyOf":[{"type":"string"},{"type":"integer"}]}`,
			`{"anyOf":[{"type":"string"},{"type":"boolean"}]}`,
			[]string{`the payload has changed its type from integer to boolean`},
		},
		{"an alternative more", `{"oneOf":[{"type":"string"}]}`, `{"oneOf":[{"type":"string"},{"type":"null"}]}`, []string{`the payload has changed its type: oneOf has 2 schemas, not 1`}},
		{"no alternatives any more", `{"oneOf":[{"type":"string"}]}`, `{}`, []string{`the payload has changed its type: oneOf is gone`}},
		{
			"a tuple",
			`{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}]}`,
			`{"type":"array","prefixItems":[{"type":"string"},{"type":"boolean"}]}`,
			[]string{`property "[1]" has changed its type from integer to boolean`},
		},
		{"an object that is a list now", order, `{"type":"array"}`, []string{`the payload has changed its type from object to array`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			breaks, err := schemaBreaks(json.RawMessage(tt.older), json.RawMessage(tt.newer))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range breaks {
				got = append(got, b.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("breaks (-want +got):\n%s", diff)
			}
		})
	}
	for _, pair := range [][2]string{{`{`, `{}`}, {`{}`, `{`}} {
		if _, err := schemaBreaks(json.RawMessage(pair[0]), json.RawMessage(pair[1])); !errors.Is(err, task.ErrInvalid) {
			t.Errorf("schemaBreaks(%s, %s): %v, want %v", pair[0], pair[1], err, task.ErrInvalid)
		}
	}
}
