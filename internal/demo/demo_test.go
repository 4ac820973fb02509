package demo

import (
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
	return Options{Hits: 300, Seed: 7, Cut: "none", CutAt: 50, HealAt: 80, Clients: 16, Out: out}
}

func TestEveryRegionEndsExactWhicheverIsCut(t *testing.T) {
	for _, cut := range []struct {
		region  string
		at, end int
	}{{"none", 0, 0}, {"eu", 0, 100}, {"us", 50, 80}, {"ap", 100, 100}} {
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
	c, err := startCluster(t.Context(), t.TempDir())
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
	wrongs := func(truth *traffic.Totals) int {
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
	} {
		lied, err := o.truth()
		if err != nil {
			t.Fatal(err)
		}
		lie(lied)
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
	for name, change := range map[string]func(*Options){
		"no such region":    func(o *Options) { o.Cut = "mars" },
		"heal before cut":   func(o *Options) { o.CutAt, o.HealAt = 60, 40 },
		"beyond the end":    func(o *Options) { o.HealAt = 101 },
		"negative clients":  func(o *Options) { o.Clients = -1 },
		"directory in use":  func(o *Options) { o.Dir = full },
		"a log of no hits":  func(o *Options) { o.Log = empty },
		"a log of no lines": func(o *Options) { o.Log = filepath.Join(full, "missing") },
	} {
		var out strings.Builder
		o := small(&out)
		change(&o)
		err := Run(context.Background(), o)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line", name, err)
		}
		if name != "a log of no lines" && !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v is not ErrOptions", name, err)
		}
	}
}
