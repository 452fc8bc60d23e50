package expr

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"github.com/agnivade/levenshtein"
)

// Error is what is wrong with the source of a condition, and where in it.
type Error struct {
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
}

// Error returns "line:column: message".
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// dialect is what messages say that depends on what an expression is over.
type dialect struct {
	names   []string // the names of the variables
	reads   string   // what is read
	missing func(field string) string
}

// events is the dialect of filters.
func events() dialect {
	return dialect{
		names: []string{eventName, payloadName}, reads: "a filter reads event and payload",
		missing: func(field string) string {
			return fmt.Sprintf("an event has no field %q%s", field, suggest(field, fieldNames(), "it has "+strings.Join(fieldNames(), ", ")))
		},
	}
}

// values is the dialect of expressions over the values of a task.
func values(known *shapes) dialect {
	return dialect{
		names: []string{inputName, resultsName, taskName}, reads: "an expression reads input, results and task",
		missing: known.missing,
	}
}

// firstError returns the first of the compiler's errors, in words that a reader of the
// source understands.
func (w dialect) firstError(source string, found []*cel.Error) *Error {
	first := slices.MinFunc(found, func(a, b *cel.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	line, column := max(first.Location.Line(), 1), max(first.Location.Column()+1, 1)
	if m := regexp.MustCompile(`^(?:undefined field|undeclared reference to) '([^']+)'`).FindStringSubmatch(first.Message); m != nil {
		column = nameColumn(source, line, column, m[1])
	}
	return &Error{Line: line, Column: column, Message: w.readable(first.Message)}
}

// nameColumn returns the column of a name that the compiler found wrong: it says where
// the dot before it or the parenthesis behind it is.
func nameColumn(source string, line, column int, name string) int {
	lines := strings.Split(source, "\n")
	if line > len(lines) {
		return column
	}
	text, wanted := []rune(lines[line-1]), []rune(name)
	for from := max(0, column-1-len(wanted)); from+len(wanted) <= len(text); from++ {
		if slices.Equal(text[from:from+len(wanted)], wanted) {
			return from + 1
		}
	}
	return column
}

// rewrite is a message of the CEL library and how it is told here.
type rewrite struct {
	pattern string
	tell    func(m []string) string
}

func (w dialect) rewrites() []rewrite {
	return []rewrite{
		{`^undefined field '([^']*)'`, func(m []string) string { return w.missing(m[1]) }},
		{`^undeclared reference to '([^']*)'`, func(m []string) string {
			return fmt.Sprintf("unknown name %q%s", m[1], suggest(m[1], append(w.names, functionNames()...), w.reads))
		}},
		{`^found no matching overload for '([^']*)' applied to '(.*)'$`, func(m []string) string {
			return fmt.Sprintf("%s cannot be applied to %s", operator(m[1]), typeNames(m[2]))
		}},
		{`^Syntax error: (?:mismatched input|extraneous input|no viable alternative at input|token recognition error at:) '(.*?)'(?: expecting .*)?$`, func(m []string) string {
			return "not expected here: " + unexpected(m[1])
		}},
		{`^Syntax error: (.*)$`, func(m []string) string { return "no condition: " + m[1] }},
		{`^invalid (timestamp|duration) argument`, func(m []string) string { return "not a " + m[1] }},
		{`^no such overload`, func([]string) string { return "values of these types do not go together" }},
	}
}

// unexpected names a token that the grammar does not allow, with what was probably meant.
func unexpected(token string) string {
	token = strings.TrimSpace(token)
	switch token {
	case "<EOF>":
		return "the end"
	case "=":
		return `"=": compare with ==`
	case "and", "AND", "&":
		return fmt.Sprintf("%q: write &&", token)
	case "or", "OR", "|":
		return fmt.Sprintf("%q: write ||", token)
	case "not", "NOT":
		return fmt.Sprintf("%q: write !", token)
	}
	return fmt.Sprintf("%q", token)
}

// readable turns a message of the CEL library into one line in this project's words.
func (w dialect) readable(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	for _, r := range w.rewrites() {
		if m := regexp.MustCompile(r.pattern).FindStringSubmatch(message); m != nil {
			return r.tell(m)
		}
	}
	return message
}

// functionNames are the functions that are proposed for a misspelt name.
func functionNames() []string {
	return []string{
		"has", "size", "int", "double", "string", "timestamp", "duration", "matches", "contains",
		"startsWith", "endsWith", "lowerAscii", "upperAscii", "trim", "exists", "exists_one", "all", "filter", "map",
	}
}

// suggest returns the words that follow an unknown name: the nearest known one, or other.
func suggest(name string, known []string, other string) string {
	best, limit := "", min(3, 1+len(name)/4)
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, k); d <= limit {
			best, limit = k, d-1
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	return ": " + other
}

// operator returns how an operator is written: the library calls == "_==_".
func operator(name string) string {
	name = strings.TrimPrefix(name, "@")
	if trimmed := strings.Trim(name, "_"); trimmed != "" && !strings.HasPrefix(name, trimmed) {
		return strings.ReplaceAll(trimmed, "_", "")
	}
	return name
}

// typeNames renames the types in "(string, int)" or "string.(int)".
func typeNames(list string) string {
	return regexp.MustCompile(`[A-Za-z_.]*[A-Za-z_]`).ReplaceAllStringFunc(strings.Replace(list, ".(", " and (", 1), func(s string) string {
		if s == "and" {
			return s
		}
		return typeName(s)
	})
}

// typeName returns the word for a type of the language.
func typeName(s string) string {
	switch s {
	case "string":
		return "a text"
	case "int", "uint", "double":
		return "a number (" + s + ")"
	case "bool":
		return "true or false"
	case "list":
		return "a list"
	case "map":
		return "a map"
	case "null_type", "null":
		return "null"
	case "dyn":
		return "any value"
	case eventType:
		return "the event"
	}
	if strings.HasPrefix(s, typePrefix) {
		return "a map with known fields"
	}
	return s
}
