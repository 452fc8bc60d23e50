package expr

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// inOrder adapts values as a registry does, but for maps: whoever visits one visits its keys
// in their order, so that an expression has one value. Go visits them in any order, and a
// step whose input was made twice would not have the same one.
type inOrder struct{ *types.Registry }

// NativeToValue implements [types.Adapter].
func (a inOrder) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case map[string]any:
		return orderedMap{types.NewStringInterfaceMap(a, v)}
	case []any:
		return types.NewDynamicList(a, v)
	case []ref.Val:
		return types.NewRefValList(a, v)
	}
	return a.Registry.NativeToValue(value)
}

// orderMade does for the maps that an expression makes what [inOrder] does for those that it
// reads.
func orderMade(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if made, ok := i.(interpreter.InterpretableConstructor); ok && made.Type() == types.MapType {
		return makesOrdered{made}, nil
	}
	return i, nil
}

// makesOrdered makes a map.
type makesOrdered struct {
	interpreter.InterpretableConstructor
}

// Exec implements [interpreter.InterpretableV2].
func (m makesOrdered) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	made := m.InterpretableConstructor.Exec(frame)
	if v, ok := made.(traits.Mapper); ok {
		return orderedMap{v}
	}
	return made // an error
}

// Eval implements [interpreter.Interpretable].
func (m makesOrdered) Eval(vars interpreter.Activation) ref.Val {
	return m.Exec(interpreter.AsFrame(vars))
}

// orderedMap is a map whose keys are visited in their order.
type orderedMap struct{ traits.Mapper }

// IsZeroValue implements [traits.Zeroer].
func (m orderedMap) IsZeroValue() bool { return m.Size() == types.IntZero }

// Iterator implements [traits.Iterable].
func (m orderedMap) Iterator() traits.Iterator {
	it := &keyIterator{}
	for in := m.Mapper.Iterator(); in.HasNext() == types.True; {
		it.keys = append(it.keys, in.Next())
	}
	slices.SortFunc(it.keys, compareKeys)
	return it
}

// compareKeys orders keys by their values, and those of different types by the names of these.
func compareKeys(a, b ref.Val) int {
	if by := strings.Compare(a.Type().TypeName(), b.Type().TypeName()); by != 0 {
		return by
	}
	if c, ok := a.(traits.Comparer); ok {
		if order, ok := c.Compare(b).(types.Int); ok {
			return int(order)
		}
	}
	return 0
}

// keyIterator visits keys. What it is as a value is never asked.
type keyIterator struct {
	types.Null

	keys []ref.Val
}

// HasNext implements [traits.Iterator].
func (it *keyIterator) HasNext() ref.Val { return types.Bool(len(it.keys) > 0) }

// Next implements [traits.Iterator]; nil after the last.
func (it *keyIterator) Next() ref.Val {
	if len(it.keys) == 0 {
		return nil
	}
	next := it.keys[0]
	it.keys = it.keys[1:]
	return next
}
