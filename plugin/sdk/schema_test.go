package sdk

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	derive "github.com/invopop/jsonschema"
)

type (
	nested struct {
		Name     string   `json:"name"`
		Children []nested `json:"children"`
	}
	page[T any] struct {
		Items []T `json:"items"`
	}
	// Schema has the name of a type of another package.
	Schema struct {
		Other  *derive.Schema `json:"other,omitempty"`
		Number int            `json:"number"`
	}
	nils struct {
		Pointer *int                   `json:"pointer"         jsonschema:"minimum=1"`
		Slice   []string               `json:"slice"           jsonschema_description:"Some."`
		Map     map[string]int         `json:"map"`
		Raw     json.RawMessage        `json:"raw"`
		Any     any                    `json:"any"`
		Bytes   []byte                 `json:"bytes"`
		Times   map[string][]time.Time `json:"times"`
		Plain   int                    `json:"plain"`
	}
)

// TestSchemaAnywhere derives a schema in a directory whose path is no URL as it stands, as a home's may be.
func TestSchemaAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a home é%20")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if _, err := deriveSchema(reflect.TypeFor[nested](), true); err != nil {
		t.Error(err)
	}
}

// TestSchemas derives schemas that accept what encoding/json writes for a type, and refuse what it is not.
func TestSchemas(t *testing.T) {
	one := 1
	tests := map[string]struct {
		typ     reflect.Type
		accepts any
		refuses string
		where   string
	}{
		"recursive":       {reflect.TypeFor[nested](), nested{Name: "a", Children: []nested{{Name: "b"}}}, `{"name":"a","children":[{"name":1,"children":null}]}`, "/children/0/name"},
		"pointer":         {reflect.TypeFor[*nested](), nested{Name: "a"}, `[]`, ""},
		"generic":         {reflect.TypeFor[page[nested]](), page[nested]{Items: []nested{{}}}, `{"items":[1]}`, "/items/0"},
		"same name twice": {reflect.TypeFor[Schema](), Schema{Number: 1}, `{"number":"x"}`, "/number"},
		"nil":             {reflect.TypeFor[nils](), nils{}, `{"pointer":null,"slice":null,"map":null,"raw":1,"any":1,"bytes":null,"times":null,"plain":null}`, "/plain"},
		"not nil": {
			reflect.TypeFor[nils](),
			nils{Pointer: &one, Slice: []string{"x"}, Map: map[string]int{"a": 1}, Raw: []byte(`[1]`), Any: "x", Bytes: []byte("x"), Times: map[string][]time.Time{"x": {time.Now()}}},
			`{"pointer":null,"slice":null,"map":null,"raw":1,"any":1,"bytes":null,"times":{"x":[1]},"plain":1}`, "/times/x/0",
		},
		"text":     {reflect.TypeFor[string](), "x", `1`, ""},
		"duration": {reflect.TypeFor[Duration](), Duration(90 * time.Second), `"soon"`, ""},
		"list":     {reflect.TypeFor[[]int](), []int{1}, `["x"]`, "/0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := deriveSchema(tt.typ, true)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := encode(tt.accepts)
			if err != nil {
				t.Fatal(err)
			}
			if bad := s.check(doc); bad != nil {
				t.Errorf("%s does not fit: %s\n%s", doc, problems(bad), s.raw)
			}
			bad := s.check([]byte(tt.refuses))
			if len(bad) == 0 || bad[0].pointer != tt.where {
				t.Errorf("%s: %s, want a problem at %q\n%s", tt.refuses, problems(bad), tt.where, s.raw)
			}
		})
	}
	for _, typ := range []reflect.Type{nil, reflect.TypeFor[any](), reflect.TypeFor[json.RawMessage]()} {
		if s, err := deriveSchema(typ, true); s != nil || err != nil {
			t.Errorf("schema of %v is %v, %v; want none", typ, s, err)
		}
	}
}
