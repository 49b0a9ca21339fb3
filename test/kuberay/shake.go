// Package kuberay checks what raybuild exports by KubeRay's own code: its operator's validation of
// RayClusters, and its definition of them. The operator is a module that raybuild does not depend
// on, with a Kubernetes of its own for each version. The test takes its source from the Go module
// proxy, keeps what the validation reaches, and builds that, all versions in one module, against
// the Kubernetes that raybuild's go.mod names and that other tests have built before.
package kuberay

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// shaker copies, out of a module, the declarations that some functions reach.
type shaker struct {
	dir, module string // the module's source, and its path
	as          string // the path that what is kept gets
	fset        *token.FileSet
	packages    map[string]*source // by directory below dir
}

// source is a package of the module.
type source struct {
	files map[string]*ast.File
	decls map[string][]found // by name; methods by "Type.Method"
	kept  map[ast.Node]bool  // declarations and specs
}

// found is a declaration in a file. spec is the one of a group that has the name; nil: all of it.
type found struct {
	file string
	decl ast.Decl
	spec ast.Spec
}

// shake writes what functions, which are listed by package, reach to the directory out. inits are the
// packages whose init functions are kept as well, where the functions reach those packages: an init
// may change what is kept.
func shake(dir, module, as string, functions map[string][]string, inits []string, out string) error {
	s := &shaker{dir: dir, module: module, as: as, fset: token.NewFileSet(), packages: map[string]*source{}}
	for pkg, names := range functions {
		for _, f := range names {
			if err := s.keep(pkg, f); err != nil {
				return err
			}
		}
	}
	for _, p := range inits {
		if s.packages[p] == nil {
			continue
		}
		if err := s.keep(p, "init"); err != nil {
			return err
		}
	}
	for p, src := range s.packages {
		if err := s.write(p, src, out); err != nil {
			return fmt.Errorf("write package %q: %w", p, err)
		}
	}
	return nil
}

// load parses a package once.
func (s *shaker) load(pkg string) (*source, error) {
	if src := s.packages[pkg]; src != nil {
		return src, nil
	}
	src := &source{files: map[string]*ast.File{}, decls: map[string][]found{}, kept: map[ast.Node]bool{}}
	names, err := fs.Glob(os.DirFS(s.dir), pkg+"/*.go")
	if err != nil {
		return nil, fmt.Errorf("list Go files of package %q: %w", pkg, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("load package %q: module %s has no Go files there", pkg, s.module)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(s.fset, filepath.Join(s.dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		src.files[name] = f
		for _, d := range f.Decls {
			src.add(name, d)
		}
	}
	s.packages[pkg] = src
	return src, nil
}

func (src *source) add(file string, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil && len(d.Recv.List) == 1 {
			name = receiver(d.Recv.List[0].Type) + "." + name
		}
		src.decls[name] = append(src.decls[name], found{file, d, nil})
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			// A group of constants may count with iota: it stays whole.
			of := found{file, d, spec}
			if d.Tok == token.CONST {
				of.spec = nil
			}
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				src.decls[spec.Name.Name] = append(src.decls[spec.Name.Name], of)
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					if n.Name == "_" {
						continue // an assertion of the compiler's
					}
					src.decls[n.Name] = append(src.decls[n.Name], of)
				}
			}
		}
	}
}

func receiver(t ast.Expr) string {
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return "?"
}

// keep takes a declaration and all that it names, in this package and the module's others.
func (s *shaker) keep(pkg, name string) error {
	src, err := s.load(pkg)
	if err != nil {
		return err
	}
	all := src.decls[name]
	if name != "init" && !strings.Contains(name, ".") && len(all) == 0 {
		return nil // a name of the language, of a parameter, or of a field
	}
	for _, f := range all {
		node := ast.Node(f.decl)
		if f.spec != nil {
			node = f.spec
		}
		if src.kept[node] {
			continue
		}
		src.kept[node] = true
		if err := s.follow(pkg, src, f, node); err != nil {
			return err
		}
	}
	return nil
}

func (s *shaker) follow(pkg string, src *source, f found, node ast.Node) error {
	imports := importsOf(src.files[f.file])
	var failed error
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if own, ok := strings.CutPrefix(imports[x.Name], s.module+"/"); ok {
					failed = keepFirst(failed, s.keep(own, n.Sel.Name))
				}
			}
			// A method that is called is kept for every type of the package that has one of that name.
			for name := range src.decls {
				if strings.HasSuffix(name, "."+n.Sel.Name) {
					failed = keepFirst(failed, s.keep(pkg, name))
				}
			}
		case *ast.Ident:
			failed = keepFirst(failed, s.keep(pkg, n.Name))
		}
		return failed == nil
	})
	return failed
}

func keepFirst(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// importsOf are a file's imports by the names that it has for them.
func importsOf(f *ast.File) map[string]string {
	out := map[string]string{}
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		out[name] = p
	}
	return out
}

// write writes the kept part of each file.
func (s *shaker) write(pkg string, src *source, out string) error {
	for name, f := range src.files {
		var body bytes.Buffer
		used := map[string]bool{}
		for _, d := range f.Decls {
			part := src.part(d)
			if part == nil {
				continue
			}
			ast.Inspect(part, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok {
						used[x.Name] = true
					}
				}
				return true
			})
			if err := format.Node(&body, s.fset, part); err != nil {
				return err
			}
			body.WriteString("\n\n")
		}
		if body.Len() == 0 {
			continue
		}
		var text bytes.Buffer
		fmt.Fprintf(&text, "package %s\n\n", f.Name.Name)
		imports := importsOf(f)
		for _, alias := range slices.Sorted(maps.Keys(imports)) {
			p := imports[alias]
			if own, ok := strings.CutPrefix(p, s.module+"/"); ok {
				p = s.as + "/" + own
			}
			if used[alias] {
				fmt.Fprintf(&text, "import %s %q\n", alias, p)
			}
		}
		text.WriteString("\n")
		text.Write(body.Bytes())
		to := filepath.Join(out, filepath.FromSlash(pkg), path.Base(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // a test's directory
			return err
		}
		if err := os.WriteFile(to, text.Bytes(), 0o644); err != nil { //nolint:gosec // a test's file
			return err
		}
	}
	return nil
}

// part is what is kept of a declaration; nil: nothing.
func (src *source) part(d ast.Decl) ast.Decl {
	if src.kept[d] {
		return d
	}
	g, ok := d.(*ast.GenDecl)
	if !ok {
		return nil
	}
	few := *g
	few.Specs = nil
	for _, spec := range g.Specs {
		if src.kept[spec] {
			few.Specs = append(few.Specs, spec)
		}
	}
	if len(few.Specs) == 0 {
		return nil
	}
	return &few
}
