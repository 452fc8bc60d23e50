package expr

import (
	"fmt"
	"regexp/syntax"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// checkUse refuses what the types allow and should not be: event as a whole, which no
// function can take; lists made in a loop, which can grow without a count; and regular
// expressions that are large or come from an event.
func checkUse(compiled *cel.Ast) error {
	whole := types.NewObjectType(eventType)
	for _, e := range ast.MatchDescendants(ast.NavigateAST(compiled.NativeRep()), ast.AllMatcher()) {
		message := ""
		switch e.Kind() {
		case ast.StructKind:
			message = wholeEvent()
		case ast.IdentKind:
			parent, ok := e.Parent()
			if e.AsIdent() == eventName && e.Type().IsExactType(whole) && (!ok || parent.Kind() != ast.SelectKind) {
				message = wholeEvent()
			}
		case ast.ListKind, ast.MapKind:
			if grows(e) {
				message = "in a macro such as exists or map, a list or map that is written out has only constants"
			}
		case ast.CallKind:
			if call := e.AsCall(); call.FunctionName() == overloads.Matches {
				message = checkRegex(call)
			}
		default:
		}
		if message != "" {
			at := compiled.NativeRep().SourceInfo().GetStartLocation(e.ID())
			return &Error{Line: max(at.Line(), 1), Column: max(at.Column()+1, 1), Message: message}
		}
	}
	return nil
}

func wholeEvent() string {
	return "event is used by its fields: " + strings.Join(fieldNames(), ", ")
}

// checkRegex returns what is wrong with the regular expression of a call of matches, ""
// when nothing is.
func checkRegex(call ast.CallExpr) string {
	pattern := call.Args()[len(call.Args())-1]
	text, ok := "", pattern.Kind() == ast.LiteralKind
	if ok {
		text, ok = pattern.AsLiteral().Value().(string)
	}
	if !ok {
		return "the regular expression of matches is written out, in quotes"
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return err.Error()
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return err.Error()
	}
	if len(program.Inst) > maxRegex {
		return fmt.Sprintf("the regular expression is too large: %d instructions, the limit is %d", len(program.Inst), maxRegex)
	}
	return ""
}

// grows reports whether a written list or map could multiply what it holds: a loop goes
// over it, or makes it, and it holds more than constants. One that is only compared with
// does not grow.
func grows(e ast.NavigableExpr) bool {
	parent, ok := e.Parent()
	if !ok || constant(e) {
		return false
	}
	if parent.Kind() == ast.CallKind {
		call := parent.AsCall()
		switch call.FunctionName() {
		case operators.In, operators.Equals, operators.NotEquals:
			return false
		case operators.Add: // the macros add to their result so
			if first := call.Args()[0]; first.Kind() == ast.IdentKind && strings.HasPrefix(first.AsIdent(), "@") {
				return false
			}
		}
	}
	for ; ok; parent, ok = parent.Parent() {
		if parent.Kind() == ast.ComprehensionKind {
			return true
		}
	}
	return false
}

// constant reports whether a literal holds nothing but literals.
func constant(e ast.NavigableExpr) bool {
	for _, c := range e.Children() {
		switch c.Kind() {
		case ast.LiteralKind:
		case ast.ListKind, ast.MapKind:
			if !constant(c) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// meter says what the call of a function costs. The library's own meter knows only
// functions whose types are known when they are compiled, and what is in a payload has
// none.
type meter struct{}

// perUnit is how many characters or elements cost as much as one operation.
const perUnit = 10

// CallCost implements the library's meter.
func (meter) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	walked := uint64(0)
	switch function {
	case operators.Equals, operators.NotEquals, operators.In:
		for _, a := range args {
			walked += uint64(deepSize(a, MaxCost*perUnit)) //nolint:gosec // never negative
		}
	default:
		for _, a := range args {
			walked += size(a)
		}
		walked += size(result)
	}
	if function == overloads.Matches && len(args) > 0 {
		// Every character of the text can meet every part of the expression.
		walked *= 1 + size(args[len(args)-1])/4
	}
	cost := 1 + walked/perUnit
	return &cost
}

// size is how many characters or elements a value has on its own level.
func size(v ref.Val) uint64 {
	if s, ok := v.(traits.Sizer); ok {
		if n, ok := s.Size().(types.Int); ok {
			return uint64(n) //nolint:gosec // never negative
		}
	}
	return 1
}

// deepSize is how many characters and elements a value has on all its levels, counted no
// further than most.
func deepSize(v ref.Val, most int) int {
	n := 0
	switch v := v.(type) {
	case types.String:
		return len(v)
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True && n < most; {
			key := it.Next()
			n += 1 + deepSize(key, most-n)
			n += deepSize(v.Get(key), most-n)
		}
		return n
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True && n < most; {
			n += 1 + deepSize(it.Next(), most-n)
		}
		return n
	}
	return 1
}
