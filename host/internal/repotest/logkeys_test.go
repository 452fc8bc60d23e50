package repotest

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// logMethods are the methods of a logger, with how many arguments stand before the pairs.
// The last one is of logkeys.About.
func logMethods() map[string]int {
	return map[string]int{"Trace": 1, "Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "Log": 2, "With": 0}
}

// TestLogKeys: whoever searches the host's log for a task must not have to guess how each
// part spells it, so all keys are constants of package logkeys.
func TestLogKeys(t *testing.T) {
	found := 0
	for _, f := range goFiles(t) {
		if f.isTest() || !strings.HasPrefix(f.name, "host/") || strings.Contains(f.name, "/logkeys/") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			keys := keysOf(call)
			for _, key := range keys {
				if !isKey(key) {
					t.Errorf("%s:%d: the key of a log line is no constant of package logkeys", f.name, f.line(key.Pos()))
				}
			}
			found += len(keys)
			return true
		})
	}
	if found == 0 {
		t.Error("no keys found: does the host log nothing any more?")
	}
}

// isKey reports whether an expression is logkeys.Something.
func isKey(x ast.Expr) bool {
	sel, ok := x.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "logkeys"
}

// keysOf returns the keys of a call that logs, or that adds pairs to what a line is about.
// Pairs that are spread (args...) are looked at where they are made, by eye.
func keysOf(call *ast.CallExpr) (keys []ast.Expr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	skip, ok := logMethods()[method.Sel.Name]
	if !ok || !logs(method.X) {
		return nil
	}
	args := call.Args[min(skip, len(call.Args)):]
	if call.Ellipsis.IsValid() {
		args = args[:max(0, len(args)-1)]
	}
	for pair := range slices.Chunk(args, 2) {
		keys = append(keys, pair[0])
	}
	return keys
}

// logs reports whether an expression is a logger by its name, or what a line is about.
func logs(x ast.Expr) bool {
	var name string
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	case *ast.CallExpr:
		return logs(x.Fun)
	}
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "log") || strings.HasSuffix(name, "logger") || strings.HasPrefix(name, "about")
}
