package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// checkComments asks for a package comment and a comment on every exported name.
func (p *pkg) checkComments() {
	files := p.production()
	if len(files) == 0 {
		return
	}
	if !slices.ContainsFunc(files, func(f file) bool { return f.Doc.Text() != "" }) {
		p.fault(files[0].Name.Pos(), "no package comment: say what comes in, what goes out and what it never does")
	}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				p.checkFunc(d)
			case *ast.GenDecl:
				p.checkGroup(d)
			}
		}
	}
}

func (p *pkg) undocumented(name *ast.Ident) {
	p.fault(name.Pos(), "%s is exported and has no comment", name.Name)
}

func (p *pkg) checkFunc(d *ast.FuncDecl) {
	if !d.Name.IsExported() || d.Doc.Text() != "" {
		return
	}
	if d.Recv != nil && (slices.Contains(wellKnown, d.Name.Name) || !ast.IsExported(receiver(d.Recv.List[0].Type))) {
		return
	}
	p.undocumented(d.Name)
}

// receiver is the name of a receiver's type, without pointer and type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// checkGroup accepts a comment on the name, at the end of its line or on its group. Constants of a type of this package need
// none: the type's comment says what they are.
func (p *pkg) checkGroup(d *ast.GenDecl) {
	typed := false
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc.Text() == "" && s.Doc.Text() == "" && s.Comment.Text() == "" {
				p.undocumented(s.Name)
			}
		case *ast.ValueSpec:
			if s.Type != nil || len(s.Values) > 0 {
				_, typed = s.Type.(*ast.Ident)
				typed = typed && d.Tok == token.CONST && !strings.HasPrefix("string int uint bool float64", s.Type.(*ast.Ident).Name)
			}
			if d.Doc.Text() != "" || s.Doc.Text() != "" || s.Comment.Text() != "" || typed {
				continue
			}
			for _, name := range s.Names {
				if name.IsExported() {
					p.undocumented(name)
				}
			}
		}
	}
}
