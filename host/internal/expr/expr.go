// Package expr compiles the expressions (CEL) of templates, of configurations and of
// subscribers, and evaluates them over events.
package expr

// Filter is a compiled condition over an event. Make it with [Compile]; it is safe for
// concurrent use.
type Filter struct {
	source string
}

// String returns the condition as written.
func (f *Filter) String() string { return f.source }
