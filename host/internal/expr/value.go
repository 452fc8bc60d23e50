package expr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Limits of expressions over values.
const (
	// MaxValueCost is what all expressions of one [Mapping], or one condition, may cost
	// together, in the units of [MaxCost]. They are evaluated where tasks are decided, so
	// the limit is lower.
	MaxValueCost = 300_000
	// MaxTurns is how many elements the macros of one expression may go over together. It counts and does not look at a clock, so that the same values always
	// give the same answer; the library's own count of a macro's cost bounds nothing, because
	// counting takes time that grows with the square of the list.
	MaxTurns = 5_000
	// maxWritten is how many elements a list or map that is written out in a macro may have.
	maxWritten = 32
)

// ErrValueCost is the error of an evaluation that was stopped at [MaxValueCost].
var ErrValueCost = errors.New("the expression costs too much on these values")

// ErrTurns is the error of an evaluation that was stopped at [MaxTurns].
var ErrTurns = fmt.Errorf("the macros of the expression go over more than %d elements", MaxTurns)

// Value is a compiled expression over the values of a task: its input, the results of
// steps, and the task itself. Make it with [CompileValue]; it is safe for concurrent use.
type Value struct {
	source  string
	program cel.Program
	input   bool
	steps   []StepRead
}

// StepRead is a place where an expression reads the results of a step.
type StepRead struct {
	Step   string
	Line   int // from 1
	Column int // from 1, in characters
}

// CompileValue compiles an expression. What is wrong with the source is an [*Error].
func CompileValue(source string) (*Value, error) {
	if err := checkText("expression", source); err != nil {
		return nil, err
	}
	env, err := valueEnvironment()
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	compiled, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, values(nil).firstError(source, issues.Errors())
	}
	v := &Value{source: source}
	if err := v.inspect(compiled); err != nil {
		return nil, err
	}
	v.program, err = env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(orderMade), cel.CostTracking(meter{}), cel.CostLimit(MaxValueCost), cel.InterruptCheckFrequency(MaxTurns))
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Message: values(nil).readable(err.Error())}
	}
	return v, nil
}

// CompileWhen is [CompileValue] for a condition: what can never be true or false is an
// error too.
func CompileWhen(source string) (*Value, error) {
	v, err := CompileValue(source)
	if err != nil {
		return nil, err
	}
	env, err := valueEnvironment()
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	compiled, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, values(nil).firstError(source, issues.Errors())
	}
	return v, checkCondition(compiled.OutputType())
}

// checkCondition refuses the type of what can never be a condition.
func checkCondition(out *types.Type) error {
	if out.IsExactType(types.BoolType) || out.IsExactType(types.DynType) {
		return nil
	}
	return &Error{Line: 1, Column: 1, Message: "a condition is true or false, this is " + typeName(out.String())}
}

// String returns the expression as written.
func (v *Value) String() string { return v.source }

// ReadsInput reports whether the expression reads the task's input.
func (v *Value) ReadsInput() bool { return v.input }

// Steps returns the places where the expression reads the results of steps.
func (v *Value) Steps() []StepRead { return v.steps }

// inspect finds what the expression reads and refuses what the types allow and should
// not be.
func (v *Value) inspect(compiled *cel.Ast) error {
	native := compiled.NativeRep()
	for _, e := range ast.MatchDescendants(ast.NavigateAST(native), ast.AllMatcher()) {
		at := native.SourceInfo().GetStartLocation(e.ID())
		message := ""
		switch e.Kind() {
		case ast.IdentKind:
			message = v.read(e, at.Line(), at.Column()+1)
		case ast.StructKind:
			message = "an expression makes maps, as {\"key\": value}"
		case ast.ListKind, ast.MapKind:
			if len(e.Children()) > maxWritten && grows(e) {
				message = fmt.Sprintf("in a macro such as map, a list or map that is written out has at most %d parts", maxWritten)
			}
		case ast.CallKind:
			if call := e.AsCall(); call.FunctionName() == overloads.Matches {
				message = checkRegex(call)
			}
		default:
		}
		if message != "" {
			return &Error{Line: max(at.Line(), 1), Column: max(at.Column()+1, 1), Message: message}
		}
	}
	return nil
}

// read notes what a name reads, and returns what is wrong with it.
func (v *Value) read(e ast.NavigableExpr, line, column int) string {
	name := e.AsIdent()
	if name == inputName && !bound(e, name) {
		v.input = true
		return ""
	}
	ofTask := name == taskName && e.Type().IsExactType(types.NewObjectType(taskType))
	ofSteps := name == resultsName && e.Type().IsExactType(types.NewObjectType(resultsType))
	if !ofTask && !ofSteps {
		return ""
	}
	field, ok := fieldOf(e)
	switch {
	case !ok && ofTask:
		return "task is used by its fields: " + strings.Join(taskFields(), ", ")
	case !ok:
		return "results is used by its steps, as results.name"
	case ofSteps:
		v.steps = append(v.steps, StepRead{Step: field, Line: max(line, 1), Column: max(column, 1)})
	}
	return ""
}

// bound reports whether a name belongs to a macro around it.
func bound(e ast.NavigableExpr, name string) bool {
	for parent, ok := e.Parent(); ok; parent, ok = parent.Parent() {
		if parent.Kind() != ast.ComprehensionKind {
			continue
		}
		c := parent.AsComprehension()
		if c.IterVar() == name || c.IterVar2() == name || c.AccuVar() == name {
			return true
		}
	}
	return false
}

// fieldOf returns the field by which a name is used: name.field or name.?field.
func fieldOf(e ast.NavigableExpr) (string, bool) {
	parent, ok := e.Parent()
	if !ok {
		return "", false
	}
	switch parent.Kind() {
	case ast.SelectKind:
		return parent.AsSelect().FieldName(), true
	case ast.CallKind:
		call := parent.AsCall()
		if call.FunctionName() != operators.OptSelect || len(call.Args()) != 2 || call.Args()[0].ID() != e.ID() {
			return "", false
		}
		field, ok := call.Args()[1].AsLiteral().Value().(string)
		return field, ok
	default:
		return "", false
	}
}

// True evaluates a condition. Every error of the evaluation is returned: what is not
// there makes a condition neither true nor false.
func (v *Value) True(vars *Vars) (bool, error) {
	out, _, err := v.eval(vars)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("a condition is true or false, this came to %s", typeName(out.Type().TypeName()))
	}
	return bool(b), nil
}

// eval evaluates the expression and returns what it cost.
func (v *Value) eval(vars *Vars) (ref.Val, uint64, error) {
	out, details, err := v.program.ContextEval(ended(), vars)
	cost := uint64(0)
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	if err != nil {
		if _, stopped := errors.AsType[interpreter.EvalCancelledError](err); stopped {
			return nil, cost, ErrValueCost
		}
		if errors.Is(err, interpreter.InterruptError{}) {
			return nil, cost, ErrTurns
		}
		return nil, cost, v.explain(vars, err)
	}
	return out, cost, nil
}

// ended returns a context that has ended: the evaluator looks at it after every
// [MaxTurns] turns of macros, and never before.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// explain says what went wrong, and which results that the expression reads are not there.
func (v *Value) explain(vars *Vars, err error) error {
	text := err.Error()
	if key, ok := strings.CutPrefix(text, "no such key: "); ok {
		text = fmt.Sprintf("there is no %q", key)
	}
	text = values(nil).readable(text)
	seen := make([]string, 0, len(v.steps))
	for _, s := range v.steps {
		value, there, err := vars.Result(s.Step)
		switch {
		case err != nil || slices.Contains(seen, s.Step):
		case !there:
			text += fmt.Sprintf("; step %s has no results yet", s.Step)
		case value == nil:
			text += fmt.Sprintf("; results.%s is null", s.Step)
		}
		seen = append(seen, s.Step)
	}
	return errors.New(text)
}

// valueEnvironment is what expressions over values are compiled in.
var valueEnvironment = sync.OnceValues(func() (*cel.Env, error) { return newValueEnv(types.DynType, nil) })

// newValueEnv returns an environment in which the input has a type, and what is known of
// the results of steps is in known.
func newValueEnv(input *types.Type, known *shapes) (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{
		cel.CustomTypeProvider(valueProvider{Registry: registry, known: known}),
		cel.CustomTypeAdapter(inOrder{registry}),
		cel.Variable(inputName, input),
		cel.Variable(resultsName, types.NewObjectType(resultsType)),
		cel.Variable(taskName, types.NewObjectType(taskType)),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNestingDepthLimit(maxDepth),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		textMethod("lowerAscii", lowerASCII), textMethod("upperAscii", upperASCII), textMethod("trim", strings.TrimSpace),
	}
	return cel.NewCustomEnv(append([]cel.EnvOption{withoutArithmetic()}, append(arithmetic(), options...)...)...)
}
