package traffic

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write puts content into a file of that name and returns its path.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zip(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// open opens a log and closes it at the end of the test.
func open(t *testing.T, path string) *Log {
	t.Helper()
	log, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// readAll returns all hits and errors of a log in their order.
func readAll(log *Log) (hits []Hit, errs []error) {
	for hit, err := range log.Hits() {
		if err != nil {
			errs = append(errs, err)
		} else {
			hits = append(hits, hit)
		}
	}
	return hits, errs
}

func TestLogIsReadPlainAndGzipByContent(t *testing.T) {
	plain, err := os.ReadFile("testdata/access.log")
	if err != nil {
		t.Fatal(err)
	}
	half := bytes.IndexByte(plain, '\n') + 1
	crlf := bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n"))
	noEnd := bytes.TrimSuffix(plain, []byte("\n"))

	want, errs := readAll(open(t, "testdata/access.log"))
	if len(want) != 9 || errs != nil {
		t.Fatalf("got %d hits, errors %v; want 9 hits", len(want), errs)
	}
	for name, content := range map[string][]byte{
		"plain.log":      plain,
		"plain.gz":       plain,
		"crlf.log":       crlf,
		"no-end.log":     noEnd,
		"zipped.log":     zip(t, plain),
		"zipped.gz":      zip(t, plain),
		"two-members.gz": append(zip(t, plain[:half]), zip(t, plain[half:])...),
	} {
		t.Run(name, func(t *testing.T) {
			log := open(t, write(t, name, content))
			if _, total := log.Progress(); total != int64(len(content)) {
				t.Errorf("total %d at the start, want %d", total, len(content))
			}
			got, errs := readAll(log)
			if errs != nil {
				t.Fatal(errs)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			if read, total := log.Progress(); read != total {
				t.Errorf("progress %d of %d at the end", read, total)
			}
		})
	}
}

func TestProgressFollowsTheReading(t *testing.T) {
	var text bytes.Buffer
	for hit := range Generate(1, 5000) {
		text.WriteString(logLine(hit))
	}
	log := open(t, write(t, "a.log", text.Bytes()))
	var last int64
	steps := 0
	for _, err := range log.Hits() {
		if err != nil {
			t.Fatal(err)
		}
		read, total := log.Progress()
		if read < last || read > total {
			t.Fatalf("progress went from %d to %d of %d", last, read, total)
		}
		if read > last {
			steps++
		}
		last = read
	}
	if steps < 5 {
		t.Errorf("progress made %d steps over %d bytes; want it to follow", steps, text.Len())
	}
}

func TestEmptyLogHasNoHits(t *testing.T) {
	for _, content := range []string{"", "\n", "\r\n\r\n"} {
		if hits, errs := readAll(open(t, write(t, "a.log", []byte(content)))); hits != nil || errs != nil {
			t.Errorf("%q: got hits %v, errors %v", content, hits, errs)
		}
	}
}

func TestBadLinesAreNamedAndPassed(t *testing.T) {
	long := line("GET /" + strings.Repeat("a", 3*MaxLineBytes) + " HTTP/1.1")
	content := strings.Join([]string{
		line("GET /1 HTTP/1.1"), // line 1
		"",                      // 2
		"nonsense",              // 3
		line("GET /4 HTTP/1.1"), // 4
		long,                    // 5
		line("GET /6 HTTP/1.1"), // 6
		long,                    // 7, with no end
	}, "\n")
	path := write(t, "a.log", []byte(content))
	hits, errs := readAll(open(t, path))
	var paths []string
	for _, hit := range hits {
		paths = append(paths, hit.Path)
	}
	if want := []string{"/1", "/4", "/6"}; !slices.Equal(paths, want) {
		t.Errorf("got hits on %v, want %v", paths, want)
	}
	wants := []string{"a.log: line 3: ", "a.log: line 5: ", "a.log: line 7: "}
	if len(errs) != len(wants) {
		t.Fatalf("got errors %v, want one per line of 3, 5, 7", errs)
	}
	for i, want := range wants {
		if !errors.Is(errs[i], ErrSyntax) || !strings.Contains(errs[i].Error(), want) {
			t.Errorf("error %d: %v; want ErrSyntax and %q", i, errs[i], want)
		}
	}
}

func TestLongestLineOfALog(t *testing.T) {
	fill := func(n int) string {
		l := line("GET / HTTP/1.1")
		return l[:len(l)-1] + strings.Repeat("a", n-len(l)) + `"`
	}
	for _, ending := range []string{"", "\n", "\r\n"} {
		log := open(t, write(t, "a.log", []byte(fill(MaxLineBytes)+ending)))
		if hits, errs := readAll(log); len(hits) != 1 || errs != nil {
			t.Errorf("%d bytes and %q: %d hits, errors %v; want the hit", MaxLineBytes, ending, len(hits), errs)
		}
		log = open(t, write(t, "a.log", []byte(fill(MaxLineBytes+1)+ending)))
		if hits, errs := readAll(log); hits != nil || len(errs) != 1 || !errors.Is(errs[0], ErrSyntax) {
			t.Errorf("%d bytes and %q: %d hits, errors %v; want ErrSyntax", MaxLineBytes+1, ending, len(hits), errs)
		}
	}
}

func TestReadingGoesOnWhereItStopped(t *testing.T) {
	log := open(t, "testdata/access.log")
	for range log.Hits() {
		break
	}
	if rest, errs := readAll(log); len(rest) != 8 || errs != nil {
		t.Errorf("got %d hits, errors %v; want the other 8", len(rest), errs)
	}
	if rest, errs := readAll(log); rest != nil || errs != nil {
		t.Errorf("got %v, %v behind the end", rest, errs)
	}
}

func TestDamagedGzipEndsTheReading(t *testing.T) {
	var text bytes.Buffer
	for hit := range Generate(1, 1000) {
		text.WriteString(logLine(hit))
	}
	whole := zip(t, text.Bytes())
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	for name, content := range map[string][]byte{
		"cut.gz":      whole[:len(whole)/2],
		"flipped.gz":  flipped,
		"trailing.gz": append(bytes.Clone(whole), "tail"...),
	} {
		t.Run(name, func(t *testing.T) {
			log := open(t, write(t, name, content))
			hits, errs := readAll(log)
			if len(hits) == 0 || len(errs) != 1 {
				t.Fatalf("%d hits, errors %v; want some hits and one error", len(hits), errs)
			}
			if errors.Is(errs[0], ErrSyntax) || !strings.Contains(errs[0].Error(), "damaged or cut off after line ") {
				t.Errorf("error %v does not say that the gzip data is damaged", errs[0])
			}
			if hits, errs := readAll(log); hits != nil || len(errs) != 1 {
				t.Errorf("read again: %d hits, errors %v; want the error again", len(hits), errs)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "none.log"), "none.log"},
		{"directory", dir, "is a directory; want a log in combined format"},
		{"gzip header only", write(t, "a.gz", []byte{0x1f, 0x8b, 8}), "gzip data is damaged"},
	} {
		log, err := Open(test.path)
		if err == nil {
			log.Close()
			t.Errorf("%s: opened", test.name)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %q does not say %q", test.name, err, test.want)
		}
	}
	if _, err := Open(filepath.Join(dir, "none.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// failing is a file that breaks after its text.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func (failing) Close() error { return nil }

func TestReadErrorEndsTheReading(t *testing.T) {
	broken := &fs.PathError{Op: "read", Path: "a.log", Err: errors.New("bad disk")}
	text := line("GET /1 HTTP/1.1") + "\n" + line("GET /2 HTTP/1.1")
	log, err := newLog("a.log", failing{strings.NewReader(text), broken}, 0)
	if err != nil {
		t.Fatal(err)
	}
	hits, errs := readAll(log)
	// The second line may be a part of one: it does not count.
	if len(hits) != 1 || len(errs) != 1 || !errors.Is(errs[0], broken) || errors.Is(errs[0], ErrSyntax) {
		t.Errorf("got %d hits, errors %v; want one hit, then %v", len(hits), errs, broken)
	}
}
