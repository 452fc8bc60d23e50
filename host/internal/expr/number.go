package expr

import (
	"math"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// JSON has one kind of number, the language has two that do not add up: a price of 5
// would fail where one of 4.99 works. So + - * / take whole numbers and others together,
// and / of whole numbers is a whole number only when nothing is left over.

// withoutArithmetic is the language's own set of functions without those operators.
func withoutArithmetic() cel.EnvOption {
	subset := env.NewLibrarySubset().AddExcludedFunctions(
		env.NewFunction(operators.Add), env.NewFunction(operators.Subtract),
		env.NewFunction(operators.Multiply), env.NewFunction(operators.Divide))
	return cel.StdLib(cel.StdLibSubset(subset))
}

// arithmetic declares the operators for numbers and for whatever else they can be used on.
func arithmetic() []cel.EnvOption {
	a, b, c := cel.StringType, cel.TimestampType, cel.DurationType
	list := cel.ListType(cel.TypeParamType("A"))
	return []cel.EnvOption{
		operator2(operators.Add, "add", func(l, r ref.Val) ref.Val { return l.(traits.Adder).Add(r) }, //nolint:errcheck,forcetypeassert // see operator2
			traits.AdderType, false, sum{a, a, a}, sum{list, list, list}, sum{b, c, b}, sum{c, b, b}, sum{c, c, c}),
		operator2(operators.Subtract, "subtract", func(l, r ref.Val) ref.Val { return l.(traits.Subtractor).Subtract(r) }, //nolint:errcheck,forcetypeassert // see operator2
			traits.SubtractorType, false, sum{b, b, c}, sum{b, c, b}, sum{c, c, c}),
		operator2(operators.Multiply, "multiply", func(l, r ref.Val) ref.Val { return l.(traits.Multiplier).Multiply(r) }, //nolint:errcheck,forcetypeassert // see operator2
			traits.MultiplierType, false),
		operator2(operators.Divide, "divide", divide, traits.DividerType, true),
	}
}

// sum is an operator's left, right and result type.
type sum struct{ left, right, out *cel.Type }

// operator2 declares an operator with two sides. do is called when the left side has the
// trait, with numbers of one kind.
func operator2(name, id string, do func(l, r ref.Val) ref.Val, trait int, exact bool, more ...sum) cel.EnvOption {
	whole := cel.IntType
	if exact { // 5 / 2 is no whole number
		whole = cel.DoubleType
	}
	all := append([]sum{
		{cel.IntType, cel.IntType, whole},
		{cel.DoubleType, cel.DoubleType, cel.DoubleType},
		{cel.IntType, cel.DoubleType, cel.DoubleType},
		{cel.DoubleType, cel.IntType, cel.DoubleType},
		{cel.UintType, cel.UintType, cel.UintType},
	}, more...)
	options := make([]cel.FunctionOpt, 0, len(all)+1)
	for _, s := range all {
		overload := id + "_" + s.left.TypeName() + "_" + s.right.TypeName()
		options = append(options, cel.Overload(overload, []*cel.Type{s.left, s.right}, s.out))
	}
	options = append(options, cel.SingletonBinaryBinding(func(l, r ref.Val) ref.Val {
		l, r = sameKind(l, r)
		if !l.Type().HasTrait(trait) {
			return types.MaybeNoSuchOverloadErr(l)
		}
		return do(l, r)
	}))
	return cel.Function(name, options...)
}

// sameKind makes two numbers of different kinds doubles.
func sameKind(l, r ref.Val) (left, right ref.Val) {
	if l.Type() == r.Type() {
		return l, r
	}
	x, ok := toDouble(l)
	y, also := toDouble(r)
	if !ok || !also {
		return l, r
	}
	return x, y
}

func toDouble(v ref.Val) (types.Double, bool) {
	switch v := v.(type) {
	case types.Int:
		return types.Double(v), true
	case types.Uint:
		return types.Double(v), true
	case types.Double:
		return v, true
	default:
		return 0, false
	}
}

func divide(l, r ref.Val) ref.Val {
	x, ok := l.(types.Int)
	y, also := r.(types.Int)
	if ok && also && y != 0 && x != math.MinInt64 && x%y != 0 {
		l, r = types.Double(x), types.Double(y)
	}
	if d, ok := r.(types.Double); ok && d == 0 {
		return types.NewErr("division by zero")
	}
	return l.(traits.Divider).Divide(r) //nolint:errcheck,forcetypeassert // the trait says so
}
