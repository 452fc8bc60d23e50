package expr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// payloadField is a field of the payload that a filter reads, and where it does.
type payloadField struct {
	name         string
	line, column int
}

// CheckPayload checks the fields that f reads of the payload against the JSON Schemas of
// the payloads it may meet: an [*Error] for the first that none of them has, because such
// a filter holds for nothing. Fields that has() asks for are left alone, and so is
// everything when there is a schema that names no fields, or allows others.
func (f *Filter) CheckPayload(schemas []json.RawMessage) error {
	fields := make(map[string]bool)
	for _, schema := range schemas {
		s := (&shapes{byType: make(map[string]*Shape)}).shape(schema)
		if s.fields == nil || s.open {
			return nil
		}
		for name := range s.fields {
			fields[name] = true
		}
	}
	for _, read := range f.reads {
		if len(schemas) > 0 && !fields[read.name] && !f.asked[read.name] {
			names := slices.Sorted(maps.Keys(fields))
			return &Error{Line: read.line, Column: read.column, Message: noPayloadField(read.name, names)}
		}
	}
	return nil
}

func noPayloadField(name string, names []string) string {
	return fmt.Sprintf("no event that comes here has %q in its payload%s", name, suggest(name, names, "there is "+orNothing(names)))
}

// payloadReads returns the fields of the payload that a condition reads, in their order,
// and those that has() asks for.
func payloadReads(compiled *cel.Ast) (reads []payloadField, asked map[string]bool) {
	asked = make(map[string]bool)
	info := compiled.NativeRep().SourceInfo()
	for _, e := range ast.MatchDescendants(ast.NavigateAST(compiled.NativeRep()), ast.AllMatcher()) {
		name, test, ok := fieldOfPayload(e)
		switch at := info.GetStartLocation(e.ID()); {
		case !ok:
		case test:
			asked[name] = true
		default:
			reads = append(reads, payloadField{name: name, line: max(at.Line(), 1), column: max(at.Column()+1, 1)})
		}
	}
	return reads, asked
}

// fieldOfPayload returns the field that payload.NAME or payload["NAME"] reads; test is
// whether has() does.
func fieldOfPayload(e ast.NavigableExpr) (name string, test, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return s.FieldName(), s.IsTestOnly(), isPayload(s.Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || !isPayload(call.Args()[0]) || call.Args()[1].Kind() != ast.LiteralKind {
			return "", false, false
		}
		key, ok := call.Args()[1].AsLiteral().(types.String)
		return string(key), false, ok
	default:
		return "", false, false
	}
}

// isPayload reports whether an expression is payload, or event.payload.
func isPayload(e ast.Expr) bool {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent() == payloadName
	case ast.SelectKind:
		s := e.AsSelect()
		return s.FieldName() == payloadName && s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == eventName
	default:
		return false
	}
}
