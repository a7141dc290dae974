package arch

import (
	"go/ast"
	"slices"
)

func (p *pkg) checkName() {
	if why := vague(p.name, p.dir); why != "" {
		p.fault(p.files[0].Name.Pos(), "%s", why)
	}
}

// checkImports holds the import graph against the locked doors. The doors to foreign systems bind production code; tests may
// hold an edge against the real system with a client of their own.
func (p *pkg) checkImports() {
	for _, f := range p.files {
		for _, spec := range f.Imports {
			imported := importPath(spec)
			if spec.Name != nil && spec.Name.Name == "." {
				p.fault(spec.Pos(), "no dot imports: a reader must see where a name comes from")
			}
			if to, ok := own(imported); ok {
				if why := edge(p.dir, to); why != "" {
					p.fault(spec.Pos(), "must not import %s: %s", to, why)
				}
				continue
			}
			if under(p.dir, "spec") && !standard(imported) && !f.test {
				p.fault(spec.Pos(), "must not import %s: spec imports nothing but the standard library", imported)
			}
			if f.test || under(p.dir, "integration") {
				continue
			}
			if why := locked(p.dir, imported); why != "" {
				p.fault(spec.Pos(), "must not import %s: %s", imported, why)
			}
		}
	}
}

// checkDeciding looks for what makes a result depend on more than the arguments.
func (p *pkg) checkDeciding() {
	for _, f := range p.production() {
		for _, spec := range f.Imports {
			imported := importPath(spec)
			if why := impure(p.dir, imported); why != "" {
				p.fault(spec.Pos(), "must not import %s: %s", imported, why)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				p.fault(n.Pos(), "no go statement: a deciding package starts no goroutine")
			case *ast.SelectStmt:
				p.fault(n.Pos(), "no select: a deciding package waits for nothing")
			case *ast.ChanType:
				p.fault(n.Pos(), "no channels: a deciding package talks to nobody")
			case *ast.SelectorExpr:
				p.checkSource(f, n)
			}
			return true
		})
	}
}

// checkSource refuses clocks and global random sources.
func (p *pkg) checkSource(f file, sel *ast.SelectorExpr) {
	path, name, ok := f.qualified(sel)
	switch {
	case !ok:
	case path == "time" && slices.Contains(clockFuncs, name):
		p.fault(sel.Pos(), "no time.%s: a deciding package is told `now`", name)
	case (path == "math/rand" || path == "math/rand/v2") && !slices.Contains(randConstructors, name):
		p.fault(sel.Pos(), "no rand.%s: a deciding package is given its random source", name)
	case path == "context" && (name == "Background" || name == "TODO" || name == "WithTimeout" || name == "WithDeadline"):
		p.fault(sel.Pos(), "no context.%s: a deciding package waits for nothing", name)
	}
}
