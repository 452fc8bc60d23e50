package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

// The keys of references: an object with one of them stands for what it refers to.
const (
	refInput   = "$input"   // a JSON pointer into the step's input
	refResult  = "$result"  // a JSON pointer into the results of the dependencies by step: /charge/id
	refDefault = "$default" // beside one of these: what counts when it leads nowhere
	refLiteral = "$literal" // its value as it is, whatever keys are in it
)

// values are what references refer to. A value in a config is any JSON in which references stand for values; texts are
// never searched for anything.
type values struct {
	ctx   context.Context //nolint:containedctx // of one attempt, as long as this value
	input json.RawMessage
}

// decode reads JSON whose numbers stay what they are.
func decode(doc []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// unresolved is a permanent error: the same input leads to it again.
func unresolved(err error) error { return sdk.Permanent(sdk.WithCode(err, codeReference)) }

// resolve returns a value of the config with all references resolved. The place is a JSON pointer to it.
func (v values) resolve(place string, doc json.RawMessage) (any, error) {
	value, err := decode(doc)
	if err != nil {
		return nil, misconfigured(fmt.Errorf("%s: %w", place, err))
	}
	return v.replace(place, value)
}

// replace resolves the references within a value.
func (v values) replace(place string, value any) (any, error) {
	switch value := value.(type) {
	case []any:
		out := make([]any, len(value))
		for i, e := range value {
			var err error
			if out[i], err = v.replace(place+"/"+strconv.Itoa(i), e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		if refers(value) {
			return v.refer(place, value)
		}
		out := make(map[string]any, len(value))
		for key, e := range value {
			var err error
			if out[key], err = v.replace(place+"/"+escape(key), e); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return value, nil
	}
}

// refers reports whether an object is a reference, or means to be one.
func refers(object map[string]any) bool {
	for key := range object {
		if strings.HasPrefix(key, "$") {
			return true
		}
	}
	return false
}

// refer follows a reference.
func (v values) refer(place string, ref map[string]any) (any, error) {
	if literal, ok := ref[refLiteral]; ok && len(ref) == 1 {
		return literal, nil
	}
	fallback, optional := ref[refDefault]
	keys := 1
	if optional {
		keys = 2
	}
	input, isInput := ref[refInput].(string)
	result, isResult := ref[refResult].(string)
	if len(ref) != keys || isInput == isResult {
		return nil, misconfigured(fmt.Errorf("%s: a reference is {%s: POINTER}, {%s: /STEP/POINTER}, either with %s, or {%s: ANYTHING}",
			place, refInput, refResult, refDefault, refLiteral))
	}
	var value any
	var err error
	if isInput {
		value, err = v.fromInput(input)
	} else {
		value, err = v.fromResult(result)
	}
	if errors.Is(err, errNothing) || errors.Is(err, sdk.ErrNoResult) {
		if optional {
			return fallback, nil
		}
		return nil, unresolved(fmt.Errorf("%s: %w", place, err))
	}
	return value, err
}

func (v values) fromInput(pointer string) (any, error) {
	if len(v.input) == 0 {
		return nil, fmt.Errorf("the input: %w", errNothing)
	}
	doc, err := decode(v.input)
	if err != nil {
		return nil, err
	}
	value, err := lookup(doc, pointer)
	if err != nil {
		return nil, fmt.Errorf("the input: %w", err)
	}
	return value, nil
}

func (v values) fromResult(pointer string) (any, error) {
	step, rest, more := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	if more {
		rest = "/" + rest
	}
	raw, err := sdk.Result[json.RawMessage](v.ctx, step)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 { // of a skipped step
		raw = json.RawMessage("null")
	}
	doc, err := decode(raw)
	if err != nil {
		return nil, err
	}
	value, err := lookup(doc, rest)
	if err != nil {
		return nil, fmt.Errorf("the results of step %s: %w", step, err)
	}
	return value, nil
}

// text resolves a value that is one text or number.
func (v values) text(place string, doc json.RawMessage) (string, error) {
	value, err := v.resolve(place, doc)
	if err != nil {
		return "", err
	}
	return scalar(place, value)
}

// scalar makes a text of a text, a number or a boolean.
func scalar(place string, value any) (string, error) {
	switch value := value.(type) {
	case string:
		return value, nil
	case json.Number:
		return value.String(), nil
	case bool:
		return strconv.FormatBool(value), nil
	default:
		return "", unresolved(fmt.Errorf("%s: want a text, a number or a boolean, not %s", place, kindOf(value)))
	}
}

// query resolves the fields of a query or a form. Null leaves a field out; a list repeats it.
func (v values) query(place string, fields map[string]json.RawMessage) (url.Values, error) {
	out := make(url.Values, len(fields))
	for name, doc := range fields {
		at := place + "/" + escape(name)
		value, err := v.resolve(at, doc)
		if err != nil {
			return nil, err
		}
		list, isList := value.([]any)
		if !isList && value != nil {
			list = []any{value}
		}
		for _, e := range list {
			text, err := scalar(at, e)
			if err != nil {
				return nil, err
			}
			out.Add(name, text)
		}
	}
	return out, nil
}

// errNothing says that a pointer leads nowhere.
var errNothing = errors.New("nothing there")

// lookup follows a JSON pointer (RFC 6901). The error is an [errNothing].
func lookup(doc any, pointer string) (any, error) {
	if pointer == "" {
		return doc, nil
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		found := false
		switch at := doc.(type) {
		case map[string]any:
			doc, found = at[part]
		case []any:
			i, err := strconv.Atoi(part)
			if found = err == nil && i >= 0 && i < len(at) && strconv.Itoa(i) == part; found {
				doc = at[i]
			}
		}
		if !found {
			return nil, fmt.Errorf("%s: %w", pointer, errNothing)
		}
	}
	return doc, nil
}

// extract follows a pointer into an answer. What is not there may be in the answer to another attempt.
func extract(doc any, pointer string) (any, error) {
	value, err := lookup(doc, pointer)
	if err != nil {
		return nil, sdk.Downstream(sdk.WithCode(fmt.Errorf("the answer: %w", err), httpapi.CodeInvalidResponse))
	}
	return value, nil
}

// checkPointer refuses what is no JSON pointer.
func checkPointer(place, pointer string) error {
	if pointer != "" && !strings.HasPrefix(pointer, "/") {
		return fmt.Errorf("%s: %q is no JSON pointer, such as /body/id", place, pointer)
	}
	return nil
}

// escape makes a part of a JSON pointer.
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// kindOf names the kind of a JSON value.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return fmt.Sprintf("a %T", value)
	}
}
