package house

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// source is what the module's files say.
type source struct {
	module   string // the module's path
	packages map[string]*pkg
}

// pkg is one directory with Go files in it.
type pkg struct {
	dir     string // in the module, slash-separated; "." is its root
	files   []file
	imports []use // by files that are not tests; path, not name
	tested  []use // imports by files that are
	calls   []use // by files that are not tests
}

// file is one Go file.
type file struct {
	name      string
	pkg       string // the name in its package clause
	doc       string // the comment on its package clause
	lines     int
	generated bool
}

func (f file) test() bool { return strings.HasSuffix(f.name, "_test.go") }

// use is one place where something is imported or called. Of the go statement,
// of and name are theGoStatement.
type use struct {
	at   string // file:line
	of   string // import path; one of this module's begins with the module path
	name string // of what is called
}

// sorted returns the packages by directory.
func (s *source) sorted() []*pkg {
	return slices.SortedFunc(maps.Values(s.packages), func(a, b *pkg) int { return cmp.Compare(a.dir, b.dir) })
}

// local returns the directory of an import path of this module.
func (s *source) local(path string) (string, bool) {
	if path == s.module {
		return ".", true
	}
	return strings.CutPrefix(path, s.module+"/")
}

// readSource reads all Go files of the module at the root of fsys. It skips
// what the go command skips: testdata, names that begin with "." or "_", and
// directories that are modules themselves.
func readSource(fsys fs.FS) (*source, error) {
	mod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	s := &source{packages: map[string]*pkg{}}
	for line := range strings.Lines(string(mod)) {
		if module, found := strings.CutPrefix(line, "module "); found {
			s.module = strings.TrimSpace(module)
			break
		}
	}
	if s.module == "" {
		return nil, fmt.Errorf("go.mod has no line that begins with %q", "module ")
	}
	return s, fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skip(fsys, name)
		case path.Ext(name) == ".go" && !hidden(name):
			return s.readFile(fsys, name)
		}
		return nil
	})
}

func hidden(name string) bool {
	base := path.Base(name)
	return name != "." && (base[0] == '.' || base[0] == '_')
}

// skip returns fs.SkipDir for directories that are none of the module's packages.
func skip(fsys fs.FS, dir string) error {
	if hidden(dir) || path.Base(dir) == "testdata" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(dir, "go.mod")); err == nil && dir != "." {
		return fs.SkipDir
	}
	return nil
}

func (s *source) readFile(fsys fs.FS, name string) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	p := s.packages[dir]
	if p == nil {
		p = &pkg{dir: dir}
		s.packages[dir] = p
	}
	f := file{
		name:      path.Base(name),
		pkg:       parsed.Name.Name,
		doc:       parsed.Doc.Text(),
		lines:     strings.Count(string(text), "\n"),
		generated: ast.IsGenerated(parsed),
	}
	p.files = append(p.files, f)
	at := func(pos token.Pos) string { return fmt.Sprintf("%s:%d", name, set.Position(pos).Line) }
	names := map[string]string{} // import path by name in this file
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", at(spec.Pos()), err)
		}
		if f.test() {
			p.tested = append(p.tested, use{at: at(spec.Pos()), of: imported})
			continue
		}
		p.imports = append(p.imports, use{at: at(spec.Pos()), of: imported})
		names[importName(spec, imported)] = imported
	}
	if f.test() {
		return nil
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			p.calls = append(p.calls, use{at(n.Pos()), theGoStatement, theGoStatement})
		case *ast.SelectorExpr:
			// A variable that hides the package of the same name is taken for
			// the package; it should have another name anyway.
			if x, isName := n.X.(*ast.Ident); isName && names[x.Name] != "" {
				p.calls = append(p.calls, use{at(n.Pos()), names[x.Name], n.Sel.Name})
			}
		}
		return true
	})
	return nil
}

// importName returns the name under which a file knows an import, guessed from
// its path where the file does not say.
func importName(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(imported)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(imported)) // a major version
	}
	return base
}
