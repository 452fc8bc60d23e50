// Package expr compiles what is written in the Common Expression Language (CEL), and
// evaluates it: conditions over events, which are the filters of subscribers, of templates
// and of the host's configuration, and expressions over the values of a task, which are
// the `with` and `when` of steps.
//
// An expression over values ([Value], and several in a [Mapping]) sees "input", the task's
// input, "results", by step, and "task". A [Scope] checks it against JSON Schemas. Numbers
// are those of JSON: whole ones and others compute with each other, and 5 / 2 is 2.5. There
// is no clock and nothing random: the same values always give the same document.
//
// A condition over events sees two names. "event" is the event's envelope: id, type, at (a
// timestamp), task, task_seq, step, namespace, template, version, correlation_id and
// payload; the compiler knows these fields and their types. "payload" is short for
// event.payload, whose fields are only known when an event is there. Beside the
// operators, functions and macros of the language there are the methods lowerAscii,
// upperAscii and trim of texts. Whole numbers of a payload are ints, others doubles; they
// compare with each other.
//
// Nothing of this has side effects, waits, or can run for long: [MaxSource] bounds the
// text, [MaxCost] and [MaxValueCost] the evaluation; [MaxTime] bounds that of filters too.
package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Limits of one condition.
const (
	// MaxSource is the length in bytes of the longest source.
	MaxSource = 4 << 10
	// MaxCost is what one evaluation may cost: one per operation, and one per ten
	// characters or elements that an operation walks over.
	MaxCost = 300_000
	// MaxTime is how long the macros of one evaluation, such as exists, may take. The
	// library counts what a macro costs in time that grows with the square of the list, so
	// that the cost alone bounds nothing.
	MaxTime = 200 * time.Millisecond
	// checkEvery is after how many elements of a list the time is looked at.
	checkEvery = 16
	// maxDepth is how deep a condition may be nested.
	maxDepth = 50
	// maxRegex is the size of the largest regular expression, in the
	// instructions that it compiles to.
	maxRegex = 250
)

// Errors of evaluations that were stopped.
var (
	ErrCost = errors.New("the filter costs too much on this event") // at [MaxCost]
	ErrTime = errors.New("the filter takes too long on this event") // at [MaxTime]
)

// Filter is a compiled condition over an event. Make it with [Compile]; it is safe for
// concurrent use.
type Filter struct {
	source  string
	program cel.Program
	loops   bool // there is a macro in it

	reads []payloadField  // what it reads of the payload, in the order of the source
	asked map[string]bool // the fields of the payload that has() asks for
}

// Compile compiles a condition. What is wrong with the source is an [*Error].
func Compile(source string) (*Filter, error) {
	if err := checkText("filter", source); err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("filters: %w", err)
	}
	compiled, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, events().firstError(source, issues.Errors())
	}
	if err := checkUse(compiled); err != nil {
		return nil, err
	}
	if out := compiled.OutputType(); !out.IsExactType(types.BoolType) && !out.IsExactType(types.DynType) {
		return nil, &Error{Line: 1, Column: 1, Message: "a filter is true or false, this is " + typeName(out.String())}
	}
	program, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(orderMade), cel.CostTracking(meter{}), cel.CostLimit(MaxCost),
		cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Message: events().readable(err.Error())}
	}
	loops := ast.MatchDescendants(ast.NavigateAST(compiled.NativeRep()), ast.KindMatcher(ast.ComprehensionKind))
	reads, asked := payloadReads(compiled)
	return &Filter{source: source, program: program, loops: len(loops) > 0, reads: reads, asked: asked}, nil
}

// String returns the condition as written.
func (f *Filter) String() string { return f.source }

// Match reports whether the condition holds for e. A field that the payload does not
// have, or a place that its list does not have, makes it false, like has() would; so
// does every other error of the evaluation, such as a text that is compared with a
// number. Those are returned, so that the caller can tell them once.
func (f *Filter) Match(e *Event) (bool, error) {
	if err := e.decode(); err != nil {
		return false, err
	}
	out, err := f.eval(e)
	if err != nil {
		return false, evalError(err)
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("a filter is true or false, this came to %s", typeName(out.Type().TypeName()))
	}
	return bool(b), nil
}

// eval evaluates the condition within [MaxTime].
func (f *Filter) eval(e *Event) (ref.Val, error) {
	if !f.loops {
		out, _, err := f.program.Eval(e)
		return out, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), MaxTime)
	defer cancel()
	out, _, err := f.program.ContextEval(ctx, e)
	return out, err
}

// evalError sorts the errors of an evaluation: nil for what is merely not there.
func evalError(err error) error {
	if _, stopped := errors.AsType[interpreter.EvalCancelledError](err); stopped {
		return ErrCost
	}
	if errors.Is(err, interpreter.InterruptError{}) {
		return ErrTime
	}
	text := err.Error()
	// The library keeps the types of these errors to itself.
	if strings.HasPrefix(text, "no such key: ") || strings.HasPrefix(text, "index out of bounds: ") {
		return nil
	}
	return errors.New(events().readable(text))
}

// checkText checks what concerns the source as a text.
func checkText(what, source string) error {
	switch {
	case strings.TrimSpace(source) == "":
		return &Error{Line: 1, Column: 1, Message: "the " + what + " is empty"}
	case len(source) > MaxSource:
		return &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the %s has %d bytes: the limit is %d", what, len(source), MaxSource)}
	case !utf8.ValidString(source):
		return &Error{Line: 1, Column: 1, Message: "the " + what + " is not UTF-8 text"}
	}
	return nil
}

// environment is what conditions are compiled in. It is built at the first use, because
// most commands compile none.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.CustomTypeProvider(provider{Registry: registry}),
		cel.CustomTypeAdapter(inOrder{registry}),
		cel.Variable(eventName, types.NewObjectType(eventType)),
		cel.Variable(payloadName, types.DynType),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNestingDepthLimit(maxDepth),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		textMethod("lowerAscii", lowerASCII), textMethod("upperAscii", upperASCII), textMethod("trim", strings.TrimSpace),
	)
})

// textMethod declares a method of texts. The library's own set has ones that can make a
// text of any size out of a small one in a single call, before the cost is counted.
func textMethod(name string, do func(string) string) cel.EnvOption {
	return cel.Function(name, cel.MemberOverload(name+"_string", []*cel.Type{cel.StringType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			s, ok := v.(types.String)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			return types.String(do(string(s)))
		})))
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func upperASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r + 'A' - 'a'
		}
		return r
	}, s)
}
