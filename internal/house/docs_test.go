package house

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// page is a Markdown file, with what stands in code font apart.
type page struct {
	name, text string
	headings   []string // as links call them
	code       []string // spans, and lines of blocks
}

var (
	span   = regexp.MustCompile("`[^`]+`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	scheme = regexp.MustCompile(`^[a-z]+:`)
	// inRepository is a path of two names at least, such as docs/operating.md.
	inRepository = regexp.MustCompile(`^[a-z]+/[\w.*/-]+$`)
	flagName     = regexp.MustCompile(`--([a-z][a-z-]*)`)
	testName     = regexp.MustCompile(`^Test[A-Z]\w*$`)
)

func readPages(fsys fs.FS) (pages []page, err error) {
	return pages, fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".md" {
			if entry != nil && entry.IsDir() && hidden(name) {
				return fs.SkipDir
			}
			return err
		}
		text, err := fs.ReadFile(fsys, name)
		pages = append(pages, readPage(name, string(text)))
		return err
	})
}

func readPage(name, text string) page {
	p := page{name: name}
	fenced, prose := false, strings.Builder{}
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(line, "    "):
			p.code = append(p.code, strings.TrimSpace(line))
		case strings.HasPrefix(line, "#"):
			p.headings = append(p.headings, anchor(strings.TrimSpace(strings.TrimLeft(line, "#"))))
		default:
			prose.WriteString(line)
		}
	}
	for _, code := range span.FindAllString(prose.String(), -1) {
		p.code = append(p.code, strings.ReplaceAll(strings.Trim(code, "`"), "\n", " "))
	}
	p.text = span.ReplaceAllString(prose.String(), "")
	return p
}

// anchor returns how a link calls a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}, strings.ToLower(heading))
}

// wrongReferences returns what the pages refer to that is not there: files,
// headings, tests, and flags of the programs.
func wrongReferences(fsys fs.FS) ([]string, error) {
	pages, err := readPages(fsys)
	if err != nil {
		return nil, err
	}
	headings := map[string][]string{}
	for _, p := range pages {
		headings[p.name] = p.headings
	}
	programs, err := programText(fsys)
	if err != nil {
		return nil, err
	}
	tests, err := testText(fsys)
	if err != nil {
		return nil, err
	}
	var wrong []string
	for _, p := range pages {
		for _, found := range link.FindAllStringSubmatch(p.text, -1) {
			to, section, _ := strings.Cut(found[1], "#")
			if scheme.MatchString(to) {
				continue
			}
			target := p.name
			if to != "" {
				target = path.Join(path.Dir(p.name), to)
			}
			if _, err := fs.Stat(fsys, target); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: links to %s, which is not there", p.name, found[1]))
			} else if section != "" && !slices.Contains(headings[target], section) {
				wrong = append(wrong, fmt.Sprintf("%s: links to %s, and %s has no such heading", p.name, found[1], target))
			}
		}
		for _, code := range p.code {
			if first, _, _ := strings.Cut(code, "/"); inRepository.MatchString(code) && isDir(fsys, first) && !isThere(fsys, code) {
				wrong = append(wrong, fmt.Sprintf("%s: speaks of %s, which is not there", p.name, code))
			}
			if testName.MatchString(code) && !strings.Contains(tests, "func "+code+"(") {
				wrong = append(wrong, fmt.Sprintf("%s: speaks of %s, and no test is called so", p.name, code))
			}
			if strings.Contains(code, "docker") || strings.HasPrefix(code, "curl ") {
				continue // their flags are their own
			}
			for _, found := range flagName.FindAllStringSubmatch(code, -1) {
				if found[1] != "help" && !strings.Contains(programs, `"`+found[1]+`"`) {
					wrong = append(wrong, fmt.Sprintf("%s: %q: no program has a flag --%s", p.name, code, found[1]))
				}
			}
		}
	}
	return wrong, nil
}

func isDir(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.IsDir()
}

func isThere(fsys fs.FS, pattern string) bool {
	found, err := fs.Glob(fsys, strings.TrimSuffix(pattern, "/"))
	return err == nil && len(found) > 0
}

// programText returns the sources of the programs, in which the name of each flag
// stands as a string.
func programText(fsys fs.FS) (string, error) {
	var all strings.Builder
	for _, pattern := range []string{"cmd/*/*.go", "internal/soak/*.go"} {
		names, err := fs.Glob(fsys, pattern)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			text, err := fs.ReadFile(fsys, name)
			if err != nil {
				return "", err
			}
			if !strings.HasSuffix(name, "_test.go") {
				all.Write(text)
			}
		}
	}
	return all.String(), nil
}

// testText returns the sources of all tests.
func testText(fsys fs.FS) (string, error) {
	var all strings.Builder
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && hidden(name):
			return fs.SkipDir
		case !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		all.Write(text)
		return err
	})
	return all.String(), err
}

// TestDocs holds the documents against the repository. Whole command lines are
// checked in cmd/crdtctl.
func TestDocs(t *testing.T) {
	fsys := os.DirFS("../..")
	pages, err := readPages(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "docs/operating.md", "docs/merge-rules.md", "examples/geo/README.md"} {
		if !slices.ContainsFunc(pages, func(p page) bool { return p.name == name && len(p.code) > 0 }) {
			t.Errorf("%s was not read", name)
		}
	}
	wrong, err := wrongReferences(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestWrongReferences(t *testing.T) {
	fsys := fstest.MapFS{
		"README.md": {Data: []byte("# A house\n\n[a](docs/a.md#how-so) [b](docs/b.md) [c](docs/a.md#never) [d](https://example.org/x) [e](#a-house)\n" +
			"`docs/a.md`, `docs/c.md`, `either/or`, `ctl\n--good`, `docker --own`, `TestA`, `TestB`\n\n```sh\nctl --bad  # --good\n```\n\n    ctl --worse\n")},
		"docs/a.md":         {Data: []byte("## How so?\n\n[up](../README.md) [away](../gone.md)\n")},
		"cmd/ctl/a_test.go": {Data: []byte("package main\nfunc TestA(t *testing.T) {}\n")},
		"cmd/ctl/main.go":   {Data: []byte(`package main; var flags = []string{"good"}`)},
	}
	want := []string{
		"README.md: links to docs/b.md, which is not there",
		"README.md: links to docs/a.md#never, and docs/a.md has no such heading",
		`README.md: "ctl --bad  # --good": no program has a flag --bad`,
		`README.md: "ctl --worse": no program has a flag --worse`,
		"README.md: speaks of docs/c.md, which is not there",
		"README.md: speaks of TestB, and no test is called so",
		"docs/a.md: links to ../gone.md, which is not there",
	}
	got, err := wrongReferences(fsys)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
