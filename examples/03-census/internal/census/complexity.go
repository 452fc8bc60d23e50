package census

import (
	"go/ast"
	"go/token"
)

// gauge measures the flow of one function. Cyclomatic complexity counts the decisions. Cognitive complexity
// counts each break in the straight line, and more for each level it is nested in; else, jumps, recursion and
// each change between && and || cost one.
type gauge struct {
	self       string // the function's own name, "" for a method
	recursive  bool
	cyclomatic int
	cognitive  int
	deepest    int
}

// measure gauges a function with a body.
func measure(d *ast.FuncDecl) gauge {
	g := gauge{cyclomatic: 1}
	if d.Recv == nil {
		g.self = d.Name.Name
	}
	g.walk(d.Body, 0)
	if g.recursive {
		g.cognitive++
	}
	return g
}

// enter counts a structure that nests what is in it.
func (g *gauge) enter(depth int) {
	g.cognitive += 1 + depth
	g.deepest = max(g.deepest, depth+1)
}

// walk measures everything below a node that is nested depth levels deep.
func (g *gauge) walk(n ast.Node, depth int) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			g.enter(depth)
			g.conditional(n, depth)
		case *ast.ForStmt:
			g.cyclomatic++
			g.enter(depth)
			g.parts(depth, n.Init, n.Post)
			if n.Cond != nil {
				g.walk(n.Cond, depth)
			}
			g.walk(n.Body, depth+1)
		case *ast.RangeStmt:
			g.cyclomatic++
			g.enter(depth)
			g.walk(n.X, depth)
			g.walk(n.Body, depth+1)
		case *ast.SwitchStmt:
			g.enter(depth)
			g.parts(depth, n.Init)
			if n.Tag != nil {
				g.walk(n.Tag, depth)
			}
			g.walk(n.Body, depth+1)
		case *ast.TypeSwitchStmt:
			g.enter(depth)
			g.parts(depth, n.Init, n.Assign)
			g.walk(n.Body, depth+1)
		case *ast.SelectStmt:
			g.enter(depth)
			g.walk(n.Body, depth+1)
		case *ast.FuncLit:
			g.walk(n.Body, depth+1)
		default:
			return g.leaf(n, depth)
		}
		return false
	})
}

// leaf measures what nests nothing, and says whether to look below it.
func (g *gauge) leaf(n ast.Node, depth int) bool {
	switch n := n.(type) {
	case *ast.CaseClause:
		if n.List != nil {
			g.cyclomatic++
		}
	case *ast.CommClause:
		if n.Comm != nil {
			g.cyclomatic++
		}
	case *ast.BranchStmt:
		if n.Label != nil {
			g.cognitive++
		}
	case *ast.CallExpr:
		if id, ok := n.Fun.(*ast.Ident); ok && id.Name == g.self {
			g.recursive = true
		}
	case *ast.BinaryExpr:
		if n.Op == token.LAND || n.Op == token.LOR {
			g.logical(n, token.ILLEGAL, depth)
			return false
		}
	}
	return true
}

func (g *gauge) parts(depth int, stmts ...ast.Stmt) {
	for _, s := range stmts {
		if s != nil {
			g.walk(s, depth)
		}
	}
}

// conditional measures an if and the chain of its else branches, which nest no deeper.
func (g *gauge) conditional(n *ast.IfStmt, depth int) {
	g.cyclomatic++
	g.parts(depth, n.Init)
	g.walk(n.Cond, depth)
	g.walk(n.Body, depth+1)
	switch e := n.Else.(type) {
	case *ast.IfStmt:
		g.cognitive++
		g.conditional(e, depth)
	case *ast.BlockStmt:
		g.cognitive++
		g.walk(e, depth+1)
	}
}

// logical measures a tree of && and ||: each operator is a decision, each run of equal operators one thought.
func (g *gauge) logical(e ast.Expr, outer token.Token, depth int) {
	switch x := e.(type) {
	case *ast.ParenExpr:
		g.logical(x.X, outer, depth)
	case *ast.BinaryExpr:
		if x.Op != token.LAND && x.Op != token.LOR {
			g.walk(x, depth)
			return
		}
		g.cyclomatic++
		if x.Op != outer {
			g.cognitive++
		}
		g.logical(x.X, x.Op, depth)
		g.logical(x.Y, x.Op, depth)
	default:
		g.walk(e, depth)
	}
}
