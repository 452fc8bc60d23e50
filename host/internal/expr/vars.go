package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// The names of an expression over values.
const (
	inputName   = "input"
	resultsName = "results"
	taskName    = "task"
	resultsType = "tasker.Results" // of the variable results
	taskType    = "tasker.Task"    // of the variable task
)

// Task is what expressions can read of a task beside its values.
type Task struct {
	ID            string
	Namespace     string
	Template      string
	Version       string
	CorrelationID string
	CreatedAt     time.Time
}

// Vars are the values that expressions read, as [Decode] returns them. What is not read
// is not asked for.
type Vars struct {
	Task Task
	// Input returns the task's input.
	Input func() (any, error)
	// Result returns the results of a step; false when it has none yet.
	Result func(step string) (value any, there bool, err error)
}

// Decode decodes a JSON document into what expressions read: whole numbers become int64
// or uint64, others float64. No document is null.
func Decode(doc json.RawMessage) (any, error) {
	if len(doc) == 0 {
		return nil, nil //nolint:nilnil // null
	}
	return decodeJSON(doc, func(s string) any { return types.NewErr("the number %s is out of range", s) })
}

// ResolveName implements the evaluator's view of the names.
func (v *Vars) ResolveName(name string) (any, bool) {
	switch name {
	case inputName:
		in, err := v.Input()
		if err != nil {
			return types.WrapErr(err), true
		}
		if in == nil {
			return types.NullValue, true
		}
		return in, true
	case resultsName, taskName:
		return variable{vars: v}, true
	}
	return nil, false
}

// variable is results or task as a value of the language, which only their fields are
// ever asked of.
type variable struct{ vars *Vars }

// ConvertToNative implements [ref.Val].
func (variable) ConvertToNative(reflect.Type) (any, error) { return nil, errNoVars }

// ConvertToType implements [ref.Val].
func (variable) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errNoVars) }

// Equal implements [ref.Val].
func (variable) Equal(ref.Val) ref.Val { return types.False }

// Type implements [ref.Val].
func (variable) Type() ref.Type { return types.NewObjectType(resultsType) }

// Value implements [ref.Val].
func (v variable) Value() any { return v.vars }

// varsOf returns the variables behind what a field is asked of.
func varsOf(target any) (*Vars, bool) {
	if v, ok := target.(variable); ok {
		target = v.vars
	}
	v, ok := target.(*Vars)
	return v, ok
}

// Parent implements the evaluator's view of the names: there is no outer scope.
func (v *Vars) Parent() interpreter.Activation { return nil }

var _ interpreter.Activation = (*Vars)(nil)

// taskField is one field of the variable task.
type taskField struct {
	name string
	typ  *types.Type
	get  func(t *Task) any
}

func taskFieldList() []taskField {
	return []taskField{
		{"id", types.StringType, func(t *Task) any { return t.ID }},
		{"namespace", types.StringType, func(t *Task) any { return t.Namespace }},
		{"template", types.StringType, func(t *Task) any { return t.Template }},
		{"version", types.StringType, func(t *Task) any { return t.Version }},
		{"correlation_id", types.StringType, func(t *Task) any { return t.CorrelationID }},
		{"created_at", types.TimestampType, func(t *Task) any { return t.CreatedAt }},
	}
}

func taskFields() []string {
	var names []string
	for _, f := range taskFieldList() {
		names = append(names, f.name)
	}
	return names
}

// valueProvider adds the types of the variables to the language's own.
type valueProvider struct {
	*types.Registry

	known *shapes // nil = nothing is known
}

// FindStructType implements [types.Provider].
func (p valueProvider) FindStructType(name string) (*types.Type, bool) {
	if name == resultsType || name == taskType || p.known.has(name) {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements [types.Provider].
func (p valueProvider) FindStructFieldNames(name string) ([]string, bool) {
	switch {
	case name == taskType:
		return taskFields(), true
	case name == resultsType, p.known.has(name):
		return nil, true
	}
	return p.Registry.FindStructFieldNames(name)
}

// FindStructFieldType implements [types.Provider].
func (p valueProvider) FindStructFieldType(typ, name string) (*types.FieldType, bool) {
	switch typ {
	case taskType:
		for _, f := range taskFieldList() {
			if f.name == name {
				return &types.FieldType{Type: f.typ, IsSet: func(any) bool { return true }, GetFrom: f.from}, true
			}
		}
	case resultsType:
		return &types.FieldType{
			Type: p.known.result(name),
			IsSet: func(target any) bool {
				v, ok := varsOf(target)
				if !ok {
					return false
				}
				_, there, err := v.Result(name)
				return there && err == nil
			},
			GetFrom: func(target any) (any, error) { return resultFrom(target, name) },
		}, true
	default:
		if p.known.has(typ) {
			return p.known.field(typ, name)
		}
		return p.Registry.FindStructFieldType(typ, name)
	}
	p.known.miss(typ, name)
	return nil, false
}

var errNoVars = errors.New("no values are there")

func (f taskField) from(target any) (any, error) {
	v, ok := varsOf(target)
	if !ok {
		return nil, errNoVars
	}
	return f.get(&v.Task), nil
}

func resultFrom(target any, step string) (any, error) {
	v, ok := varsOf(target)
	if !ok {
		return nil, errNoVars
	}
	value, there, err := v.Result(step)
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, fmt.Errorf("no such key: %s", step) //nolint:err113 // as the language itself says it
	case value == nil:
		return types.NullValue, nil
	}
	return value, nil
}
