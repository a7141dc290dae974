package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

func (p *pkg) checkInit() {
	for _, f := range p.files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				p.fault(fn.Pos(), "no init functions: a program does what its main says, in the order main says it")
			}
		}
	}
}

// checkVariables enforces the rule for package variables: one is allowed when it is a table, a sentinel error, a compiled
// expression or an embedded file, which means that its first value cannot change by itself and nobody writes to it.
func (p *pkg) checkVariables() {
	vars := map[types.Object]bool{}
	for _, f := range p.production() {
		for _, d := range f.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, s := range group.Specs {
				p.checkDeclaration(f, group, s.(*ast.ValueSpec), vars)
			}
		}
	}
	for _, f := range p.files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			for _, written := range targets(n) {
				p.checkWrite(f, written, vars)
			}
			return true
		})
	}
}

const fixValue = "no mutable package variables: "

// checkDeclaration looks at the first value of a package variable and remembers the variable.
func (p *pkg) checkDeclaration(f file, group *ast.GenDecl, spec *ast.ValueSpec, vars map[types.Object]bool) {
	for i, name := range spec.Names {
		if name.Name == "_" {
			continue // a check that a type has the methods of an interface
		}
		if obj := p.info.Defs[name]; obj != nil {
			vars[obj] = true
		}
		switch {
		case len(spec.Values) > i:
			if why := p.changeable(f, spec.Values[i]); why != "" {
				p.fault(name.Pos(), fixValue+"%s %s", name.Name, why)
			}
		case len(spec.Values) == 1: // a, b = f()
		case !embedded(group.Doc) && !embedded(spec.Doc):
			p.fault(name.Pos(), fixValue+"%s has no first value, so it waits to be written", name.Name)
		}
	}
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// changeable says why a first value could change without being assigned to, or "".
func (p *pkg) changeable(f file, value ast.Expr) string {
	switch v := value.(type) {
	case *ast.UnaryExpr:
		if v.Op == token.AND {
			return "points to something that its methods can change"
		}
	case *ast.FuncLit:
		return "holds a function: declare it with func"
	case *ast.SelectorExpr:
		if path, name, ok := f.qualified(v); ok && standard(path) && ast.IsExported(name) && path == "time" && slices.Contains(clockFuncs, name) {
			return "is a hook: pass it as an option"
		}
	case *ast.CallExpr:
		return p.changeableCall(f, v)
	case *ast.CompositeLit:
		if path, name, ok := f.qualified(v.Type); ok && under(path, "sync") {
			return "is a sync." + name
		}
	}
	return ""
}

func (p *pkg) changeableCall(f file, call *ast.CallExpr) string {
	fun := call.Fun
	if index, ok := fun.(*ast.IndexExpr); ok { // reflect.TypeFor[T]()
		fun = index.X
	}
	switch fn := fun.(type) {
	case *ast.Ident:
		if fn.Name == "make" || fn.Name == "new" {
			return "is made empty, so it waits to be written"
		}
		return "" // a conversion, or a function of this package that builds a table
	case *ast.ArrayType, *ast.MapType, *ast.ParenExpr, *ast.StarExpr:
		return "" // a conversion
	}
	if path, name, ok := f.qualified(fun); ok {
		if slices.Contains(pureCalls, path[strings.LastIndexByte(path, '/')+1:]+"."+name) {
			return ""
		}
		return "holds the result of " + path + "." + name + ", which is not known to be unchangeable"
	}
	return ""
}

// targets are the expressions that a statement or call writes to.
func targets(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.SendStmt:
		return []ast.Expr{n.Chan}
	case *ast.CallExpr:
		if fn, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains([]string{"delete", "clear", "copy", "close"}, fn.Name) {
			return n.Args[:1]
		}
	}
	return nil
}

// checkWrite refuses a write to a package variable, whole or in part, of this package or another.
func (p *pkg) checkWrite(f file, target ast.Expr, vars map[types.Object]bool) {
	for {
		switch e := target.(type) {
		case *ast.Ident:
			if vars[p.info.Uses[e]] {
				p.fault(e.Pos(), fixValue+"%s is written here", e.Name)
			}
			return
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok {
				if _, isPackage := p.info.Uses[x].(*types.PkgName); isPackage {
					if !f.test {
						p.fault(e.Pos(), fixValue+"%s.%s of another package is written here", x.Name, e.Sel.Name)
					}
					return
				}
			}
			target = e.X
		case *ast.IndexExpr:
			target = e.X
		case *ast.SliceExpr:
			target = e.X
		case *ast.ParenExpr:
			target = e.X
		case *ast.StarExpr:
			target = e.X
		default:
			return
		}
	}
}
