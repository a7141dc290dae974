package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// violation is one broken rule at one place.
type violation struct {
	file string // relative to the tree, with slashes
	line int
	text string
}

func (v violation) String() string { return fmt.Sprintf("%s:%d: %s", v.file, v.line, v.text) }

// file is one parsed Go file.
type file struct {
	*ast.File
	test bool
}

// pkg is one folder's package, with its test files. All build tags are read together: a rule holds on every system.
type pkg struct {
	dir   string // inside the module, with slashes
	name  string
	fset  *token.FileSet
	root  string
	files []file
	info  *types.Info

	found []violation
}

func (p *pkg) fault(pos token.Pos, format string, args ...any) {
	at := p.fset.Position(pos)
	name, _ := filepath.Rel(p.root, at.Filename)
	p.found = append(p.found, violation{filepath.ToSlash(name), at.Line, p.dir + ": " + fmt.Sprintf(format, args...)})
}

// production are the files that are not tests.
func (p *pkg) production() []file {
	return slices.DeleteFunc(slices.Clone(p.files), func(f file) bool { return f.test })
}

// load parses every package below root. Folders that the go tool ignores, and modules of their own, are left out.
func load(t *testing.T, root string) []*pkg {
	t.Helper()
	var pkgs []*pkg
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != root {
			if name := d.Name(); name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
		}
		p, err := parse(root, path)
		if p != nil {
			pkgs = append(pkgs, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

// parse reads one folder; nil when it holds no Go file.
func parse(root, dir string) (*pkg, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		return nil, err
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return nil, err
	}
	p := &pkg{dir: filepath.ToSlash(rel), fset: token.NewFileSet(), root: root}
	for _, name := range names {
		f, err := parser.ParseFile(p.fset, name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		test := strings.HasSuffix(name, "_test.go")
		if !test || p.name == "" {
			p.name = strings.TrimSuffix(f.Name.Name, "_test")
		}
		p.files = append(p.files, file{f, test})
	}
	p.resolve()
	return p, nil
}

// resolve finds out which name means which object. Imports are not followed: what they would tell is not needed here, so
// a tree that does not compile can be checked, too.
func (p *pkg) resolve() {
	var files []*ast.File
	for _, f := range p.files {
		if f.Name.Name == p.name { // not the external test package
			files = append(files, f.File)
		}
	}
	p.info = &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Error: func(error) {}, FakeImportC: true, DisableUnusedImportCheck: true}
	_, _ = config.Check(p.dir, p.fset, files, p.info) // the errors are those of the imports
}

// qualified gives the import path and name of a selector on an imported package: "time", "Now".
func (f file) qualified(e ast.Expr) (path, name string, ok bool) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", "", false
	}
	for _, spec := range f.Imports {
		if path := importPath(spec); importName(spec, path) == x.Name {
			return path, sel.Sel.Name, true
		}
	}
	return "", "", false
}

func importPath(spec *ast.ImportSpec) string {
	path, _ := strconv.Unquote(spec.Path.Value)
	return path
}

// importName is the name by which a file knows an import: its own, or the last element that is no version.
func importName(spec *ast.ImportSpec, path string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	if len(parts) > 1 && len(last) > 1 && last[0] == 'v' && strings.Trim(last[1:], "0123456789") == "" {
		return parts[len(parts)-2]
	}
	return last
}

// check applies every rule to the tree below root and returns what is broken, sorted by place.
func check(t *testing.T, root string) []violation {
	t.Helper()
	var all []violation
	for _, p := range load(t, root) {
		p.checkName()
		p.checkImports()
		p.checkInit()
		p.checkVariables()
		p.checkComments()
		if slices.Contains(deciding, p.dir) {
			p.checkDeciding()
		}
		all = append(all, p.found...)
	}
	slices.SortFunc(all, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.text, b.text))
	})
	return all
}
