package demo

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/traffic"
)

// small is traffic that is over in a moment.
func small(out *strings.Builder) Options {
	return Options{Hits: smallHits, Seed: 7, Cut: "none", CutAt: 50, HealAt: 80, Clients: 16, Out: out, shards: smallShards}
}

func TestEveryRegionEndsExactWhicheverIsCut(t *testing.T) {
	for _, cut := range []struct {
		region  string
		at, end int
	}{{"none", 0, 0}, {"eu", 0, 100}, {"us", 50, 80}, {"ap", 10, 90}, {"ap", 100, 100}} {
		t.Run(cut.region, func(t *testing.T) {
			var out strings.Builder
			o := small(&out)
			o.Cut, o.CutAt, o.HealAt = cut.region, cut.at, cut.end
			if err := Run(t.Context(), o); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), "converged") {
				t.Errorf("no word of convergence:\n%s", out.String())
			}
			for _, word := range []string{"cut: ", "heal: "} {
				if said := strings.Contains(out.String(), word+cut.region); said != (cut.region != "none") {
					t.Errorf("%q is said: %v:\n%s", word, said, out.String())
				}
			}
		})
	}
}

// The demo's proof is worth something only if it fails when a region holds
// anything else than the input says.
func TestCheckSeesEveryKindOfMismatch(t *testing.T) {
	var out strings.Builder
	o, err := small(&out).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c, err := startCluster(t.Context(), t.TempDir(), o.shards)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	truth, err := o.truth()
	if err != nil {
		t.Fatal(err)
	}
	screen := newScreen(o, truth.Hits)
	if err := play(t.Context(), o, c, screen, truth.Hits); err != nil {
		t.Fatal(err)
	}
	if report, _, err := o.converge(t.Context(), c, screen); err != nil || !report.Converged() {
		t.Fatalf("not converged: %+v, %v", report, err)
	}
	wrongs := func(truth *input) int {
		r, err := check(t.Context(), c, truth)
		if err != nil {
			t.Fatal(err)
		}
		return len(r.wrong)
	}
	if n := wrongs(truth); n != 0 {
		t.Fatalf("%d mismatches where all is right", n)
	}
	one := traffic.Hit{Client: "192.0.2.250", Time: time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC), Method: "GET", Path: "/favicon.ico"}
	for name, lie := range map[string]func(*traffic.Totals){
		"a hit more":        func(t *traffic.Totals) { t.Hits++ },
		"a path's hit more": func(t *traffic.Totals) { t.Paths["/favicon.ico"]++ },
		"a later last-seen": func(t *traffic.Totals) {
			for visitor, at := range t.LastSeen {
				t.LastSeen[visitor] = at.Add(time.Second)
				return
			}
		},
		"a visitor more": func(t *traffic.Totals) { t.Add(one) },
		"a path less":    func(t *traffic.Totals) { delete(t.Paths, "/favicon.ico") },
		"a day less": func(t *traffic.Totals) {
			for day := range t.Days {
				delete(t.Days, day)
				return
			}
		},
	} {
		lied, err := o.truth()
		if err != nil {
			t.Fatal(err)
		}
		lie(lied.Totals)
		if n := wrongs(lied); n < len(regions) {
			t.Errorf("%s: %d mismatches, want one for each region at least", name, n)
		}
	}
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.log")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short.log.gz")
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(strings.Repeat(`192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1`+"\n", 9)))
	_ = w.Close()
	if err := os.WriteFile(short, packed.Bytes()[:packed.Len()-9], 0o600); err != nil {
		t.Fatal(err)
	}
	nonsense := filepath.Join(t.TempDir(), "nonsense.log")
	if err := os.WriteFile(nonsense, []byte("\n"+strings.Repeat("nonsense\n", 3)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no such region":    func(o *Options) { o.Cut = "mars" },
		"heal before cut":   func(o *Options) { o.CutAt, o.HealAt = 60, 40 },
		"beyond the end":    func(o *Options) { o.HealAt = 101 },
		"negative clients":  func(o *Options) { o.Clients = -1 },
		"no directory":      func(o *Options) { o.Dir = filepath.Join(empty, "dir") },
		"directory in use":  func(o *Options) { o.Dir = full },
		"a log of no hits":  func(o *Options) { o.Log = empty },
		"a log of no lines": func(o *Options) { o.Log = filepath.Join(full, "missing") },
		"a directory":       func(o *Options) { o.Log = full },
		"a log of nonsense": func(o *Options) { o.Log = nonsense },
		"a log cut short":   func(o *Options) { o.Log = short },
	} {
		var out strings.Builder
		o := small(&out)
		change(&o)
		err := Run(context.Background(), o)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line", name, err)
		}
		if !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v is not ErrOptions", name, err)
		}
	}
}

// Lines of a log that cannot be read are left out, and counted.
func TestLinesThatCannotBeReadAreSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	lines := "nonsense\n" + `192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1` + "\n\n" +
		strings.Repeat("x", traffic.MaxLineBytes+9) + "\n" + `192.0.2.2 - - [17/May/2015:10:05:04 +0000] "GET /b HTTP/1.1" 200 1` + "\nmore nonsense"
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, program strings.Builder
	o := small(&out)
	o.Log, o.JSON = path, &program
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, text := range []string{"2 hits", "skipped: 3 lines that cannot be read, such as", "line 1", "lines skipped, which cannot be read"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("it does not say %q:\n%s", text, &out)
		}
	}
	if !strings.Contains(program.String(), `"skipped_lines":3,"input":{"hits":2,"visitors":2,`) {
		t.Errorf("JSON: %s", &program)
	}
}

// full is a disk that is full after some lines.
type full struct{ lines int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.lines--; f.lines < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// A proof that nobody saw is none, and what is left of it is removed. Programs
// have theirs in JSON.
func TestNobodySees(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, lines := range []int{0, 2} {
		o := small(nil)
		o.Out = &full{lines}
		if err := Run(t.Context(), o); !errors.Is(err, errFull) {
			t.Errorf("after %d lines: %v", lines, err)
		}
	}
	var program strings.Builder
	o := small(nil)
	o.Out, o.JSON = &full{}, &program
	if err := Run(t.Context(), o); err != nil || !strings.Contains(program.String(), `"converged":true`) {
		t.Errorf("%v, %s", err, &program)
	}
	if left, err := os.ReadDir(os.TempDir()); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}
