package house

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// matches says whether a package or import path is one of the patterns.
func matches(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		tree, isTree := strings.CutSuffix(pattern, "...")
		if !isTree {
			return name == pattern
		}
		return tree == "" || name == strings.TrimSuffix(tree, "/") || strings.HasPrefix(name, tree)
	})
}

// floorOf returns the floor on which the plan puts a package.
func (p plan) floorOf(dir string) (int, bool) {
	i := slices.IndexFunc(p.floors, func(f floor) bool { return matches(dir, f.packages) })
	return i, i >= 0
}

// violations returns everything that breaks a rule, each with what is right.
func (p plan) violations(s *source) []string {
	return slices.Concat(
		p.wrongFloors(s), p.wrongImports(s), p.wrongReach(s), p.wrongJoins(s),
		p.wrongLibraries(s), p.wrongCalls(s), wrongFiles(s),
	)
}

// wrongFloors: every package has a floor, and imports point down.
func (p plan) wrongFloors(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		here, found := p.floorOf(pkg.dir)
		if !found {
			wrong = append(wrong, fmt.Sprintf("%s: is not in the plan; give it a floor in internal/house/plan_test.go", pkg.dir))
			continue
		}
		for _, imported := range pkg.imports {
			dir, isLocal := s.local(imported.of)
			there, found := p.floorOf(dir)
			switch {
			case !isLocal || !found:
			case there > here:
				wrong = append(wrong, fmt.Sprintf("%s: %s (floor %d: %s) imports %s (floor %d: %s); imports point down only",
					imported.at, pkg.dir, here, p.floors[here].name, dir, there, p.floors[there].name))
			case there == here && !p.floors[here].sideways:
				wrong = append(wrong, fmt.Sprintf("%s: %s imports %s beside it on floor %d (%s); packages of that floor do not know one another",
					imported.at, pkg.dir, dir, here, p.floors[here].name))
			}
		}
	}
	return wrong
}

// plain turns import paths of the module into directories.
func (s *source) plain(imported string) string {
	if dir, isLocal := s.local(imported); isLocal {
		return dir
	}
	return imported
}

// wrongImports: nobody imports what is banned for it.
func (p plan) wrongImports(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		wrong = append(wrong, s.banned(pkg.dir, pkg.imports, p.imports)...)
		wrong = append(wrong, s.banned(pkg.dir, slices.Concat(pkg.imports, pkg.tested), p.tested)...)
	}
	return wrong
}

// banned returns what is wrong with the imports of a package, by these bans.
func (s *source) banned(dir string, imports []use, bans []ban) (wrong []string) {
	for _, ban := range bans {
		if !matches(dir, ban.from) || matches(dir, ban.except) {
			continue
		}
		for _, imported := range imports {
			if name := s.plain(imported.of); matches(name, ban.to) {
				wrong = append(wrong, fmt.Sprintf("%s: %s imports %s; %s", imported.at, dir, name, ban.reason))
			}
		}
	}
	return wrong
}

// reach returns everything that dir imports, directly or through packages of
// the module, each with the chain of imports that leads to it.
func (s *source) reach(dir string) map[string][]string {
	chains := map[string][]string{dir: {dir}}
	for queue := []string{dir}; len(queue) > 0; queue = queue[1:] {
		pkg := s.packages[queue[0]]
		if pkg == nil {
			continue // not of this module, or not there yet
		}
		for _, imported := range pkg.imports {
			name := s.plain(imported.of)
			if chains[name] == nil {
				chains[name] = append(slices.Clone(chains[pkg.dir]), name)
				queue = append(queue, name)
			}
		}
	}
	return chains
}

// wrongReach: nobody imports what is banned for it through others either.
func (p plan) wrongReach(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		chains := s.reach(pkg.dir)
		for _, ban := range p.reach {
			if !matches(pkg.dir, ban.from) || matches(pkg.dir, ban.except) {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(chains)) {
				if name != pkg.dir && matches(name, ban.to) {
					wrong = append(wrong, fmt.Sprintf("%s: imports %s; %s", pkg.dir, strings.Join(chains[name][1:], " -> "), ban.reason))
				}
			}
		}
	}
	return wrong
}

// wrongJoins: below the assembly, nobody has both the engine and an adapter.
func (p plan) wrongJoins(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		if here, found := p.floorOf(pkg.dir); !found || here >= assembly {
			continue
		}
		var has [2]string
		for _, name := range slices.Sorted(maps.Keys(s.reach(pkg.dir))) {
			switch {
			case matches(name, engine):
				has[0] = name
			case matches(name, adapters):
				has[1] = name
			}
		}
		if has[0] != "" && has[1] != "" {
			wrong = append(wrong, fmt.Sprintf("%s: joins %s and %s; only the assembly (floor %d) wires the engine to adapters", pkg.dir, has[0], has[1], assembly))
		}
	}
	return wrong
}

// wrongLibraries: every dependency is known, and comes in by its doors.
func (p plan) wrongLibraries(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		for _, imported := range pkg.imports {
			if _, isLocal := s.local(imported.of); isLocal || standard(imported.of) {
				continue
			}
			i := slices.IndexFunc(p.libraries, func(l library) bool { return matches(imported.of, []string{l.path}) })
			switch {
			case i < 0:
				wrong = append(wrong, fmt.Sprintf("%s: %s is a new dependency; say in internal/house/plan_test.go who may import it, and why", imported.at, imported.of))
			case !matches(pkg.dir, p.libraries[i].doors):
				wrong = append(wrong, fmt.Sprintf("%s: %s imports %s, which only %s may: %s", imported.at, pkg.dir, imported.of,
					strings.Join(p.libraries[i].doors, ", "), p.libraries[i].reason))
			}
		}
	}
	return wrong
}

// standard says whether an import path is one of the standard library: those
// have no dot in their first element.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// wrongCalls: nobody calls what is banned for it.
func (p plan) wrongCalls(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		for _, rule := range p.calls {
			if !matches(pkg.dir, rule.from) || matches(pkg.dir, rule.except) {
				continue
			}
			for _, called := range pkg.calls {
				if called.of == rule.of && rule.bans(called.name) {
					what := called.of + "." + called.name
					if called.of == theGoStatement {
						what = "the go statement"
					}
					wrong = append(wrong, fmt.Sprintf("%s: %s uses %s; %s", called.at, pkg.dir, what, rule.reason))
				}
			}
		}
	}
	return wrong
}

func (c call) bans(name string) bool {
	if strings.HasPrefix(c.names[0], "!") {
		return !slices.Contains(c.names, "!"+name)
	}
	return slices.Contains(c.names, name)
}

// wrongFiles: names say something, packages say what they are for, and files
// end before the reader does.
func wrongFiles(s *source) (wrong []string) {
	for _, pkg := range s.sorted() {
		if base := path.Base(pkg.dir); slices.Contains(badNames, base) {
			wrong = append(wrong, fmt.Sprintf("%s: %q says nothing; name the concept that lives there", pkg.dir, base))
		}
		doc := ""
		for _, f := range pkg.files {
			name, limit := path.Join(pkg.dir, f.name), maxLines
			if f.test() {
				limit = maxTestLines
			}
			if f.lines > limit && !f.generated {
				wrong = append(wrong, fmt.Sprintf("%s: has %d lines; want at most %d, one concept per file", name, f.lines, limit))
			}
			if own := strings.TrimSuffix(f.pkg, "_test"); slices.Contains(badNames, own) {
				wrong = append(wrong, fmt.Sprintf("%s: package %q says nothing; name the concept that lives there", name, own))
			}
			if f.name != "doc.go" {
				continue
			}
			doc = "Package " + f.pkg + " "
			if f.pkg == "main" {
				doc = "Command " + path.Base(pkg.dir) + " "
			}
			if !strings.HasPrefix(f.doc, doc) {
				wrong = append(wrong, fmt.Sprintf("%s: the package comment begins with %.30q; want %q and what the package is for", name, f.doc, doc))
			}
		}
		if doc == "" {
			wrong = append(wrong, fmt.Sprintf("%s: has no doc.go; write one with a package comment: purpose, map, what the caller owes, what it does not do", pkg.dir))
		}
	}
	return wrong
}
