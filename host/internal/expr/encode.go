package expr

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// encoder writes the values of expressions as JSON. A value can hold another one many
// times over, so that it is far larger written than kept: hence the limit.
type encoder struct {
	b     []byte
	limit int // in bytes
	depth int
}

// maxNesting is how many levels a value may have.
const maxNesting = 1000

// present unwraps an optional; false when it is empty.
func present(v ref.Val) (ref.Val, bool) {
	for {
		o, ok := v.(*types.Optional)
		if !ok {
			return v, true
		}
		if !o.HasValue() {
			return nil, false
		}
		v = o.GetValue()
	}
}

func (e *encoder) full() error {
	if len(e.b) > e.limit {
		return fmt.Errorf("%w: over %d bytes", ErrTooLarge, e.limit)
	}
	return nil
}

func (e *encoder) raw(doc []byte) error {
	e.b = append(e.b, doc...)
	return e.full()
}

func (e *encoder) text(s string) { e.b = append(e.b, literal(s)...) }

// value appends a value.
func (e *encoder) value(v ref.Val) error {
	if e.depth++; e.depth > maxNesting {
		return fmt.Errorf("%w: over %d levels", ErrTooLarge, maxNesting)
	}
	defer func() { e.depth-- }()
	switch v := v.(type) {
	case types.Null:
		e.b = append(e.b, "null"...)
	case types.Bool:
		e.b = strconv.AppendBool(e.b, bool(v))
	case types.Int:
		e.b = strconv.AppendInt(e.b, int64(v), 10)
	case types.Uint:
		e.b = strconv.AppendUint(e.b, uint64(v), 10)
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("%v is no number of JSON", float64(v)) //nolint:err113 // for people
		}
		n, err := json.Marshal(float64(v))
		if err != nil {
			return fmt.Errorf("number: %w", err)
		}
		e.b = append(e.b, n...)
	case types.String:
		e.text(string(v))
	case types.Timestamp:
		e.text(v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		e.text(v.String())
	case traits.Mapper:
		return e.entries(v)
	case traits.Lister:
		return e.items(v)
	default:
		return fmt.Errorf("%s is no value of JSON", typeName(v.Type().TypeName())) //nolint:err113 // for people
	}
	return e.full()
}

func (e *encoder) items(list traits.Lister) error {
	e.b = append(e.b, '[')
	first := true
	for it := list.Iterator(); it.HasNext() == types.True; {
		v, there := present(it.Next())
		if !there {
			continue
		}
		if !first {
			e.b = append(e.b, ',')
		}
		first = false
		if err := e.value(v); err != nil {
			return err
		}
	}
	e.b = append(e.b, ']')
	return e.full()
}

func (e *encoder) entries(m traits.Mapper) error {
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			return fmt.Errorf("a map of JSON has texts as keys") //nolint:err113,perfsprint // for people
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	e.b = append(e.b, '{')
	first := true
	for _, key := range keys {
		v, there := present(m.Get(types.String(key)))
		if !there {
			continue
		}
		if !first {
			e.b = append(e.b, ',')
		}
		first = false
		e.text(key)
		e.b = append(e.b, ':')
		if err := e.value(v); err != nil {
			return err
		}
	}
	e.b = append(e.b, '}')
	return e.full()
}
