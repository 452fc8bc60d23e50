package template

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schemaJSON []byte // never written: embedding needs a variable

// Schema returns the JSON Schema (draft 2020-12) of template files, for editors. It knows
// every key and every form of a value; what needs more than one place to see, such as an
// unknown dependency, is for [Parse] to find.
func Schema() []byte { return slices.Clone(schemaJSON) }
