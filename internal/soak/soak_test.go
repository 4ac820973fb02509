package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
)

// TestDraw: a seed says all, faults come in order, and those that exclude each
// other do not meet.
func TestDraw(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	one, two := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 0))
	seen := map[string]bool{}
	for range 500 {
		faults := draw(one, regions, 12*time.Second)
		if again := draw(two, regions, 12*time.Second); fmt.Sprint(again) != fmt.Sprint(faults) {
			t.Fatalf("%v and %v of one seed", faults, again)
		}
		if n := len(faults); n < 1 || n > mostFaults {
			t.Fatalf("%d faults", n)
		}
		if !slices.IsSortedFunc(faults, func(a, b fault) int { return int(a.begin - b.begin) }) {
			t.Fatalf("%v are out of order", faults)
		}
		over := map[string]time.Duration{}
		for _, f := range faults {
			seen[f.kind.name] = true
			key := f.kind.what + f.victim
			if f.begin < over[key] || f.end < f.begin+breath || f.end > f.begin+breath+f.kind.most {
				t.Fatalf("%v from %v to %v", f, f.begin, f.end)
			}
			over[key] = f.end
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("of all kinds there are only %v", seen)
	}
}

// TestSummary shows what people and programs get.
func TestSummary(t *testing.T) {
	s := summary{Seed: 7, Seconds: 61.4, Rounds: 3, Acknowledged: 1000, Faults: map[string]int{"kill -9": 2, "SIGSTOP": 1}}
	for _, ms := range []time.Duration{900, 100, 2500} {
		s.converged(ms * time.Millisecond)
	}
	var people, program bytes.Buffer
	if err := s.print(&people); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"seed                 7", "time                 1m1s in 3 rounds", "faults               3", "  kill -9            2",
		"agreed               3 times, not 0 times", "  after, p50         0.90 s", "  after, max         2.50 s", "lost                 0",
	} {
		if !strings.Contains(people.String(), "\n"+line+"\n") {
			t.Errorf("there is no line %q in\n%s", line, &people)
		}
	}
	if err := s.printJSON(&program); err != nil || !strings.Contains(program.String(), `"convergence_seconds":[0.1,0.9,2.5],"not_converged":0,"lost":0}`) {
		t.Errorf("%s, %v", &program, err)
	}
}

// TestShortRun is a run of one short round: nothing is lost. What is booked
// without having been written, and what changes later, is found missing.
func TestShortRun(t *testing.T) {
	program, err := cluster.Build(t.Context(), t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var out bytes.Buffer
	o := options{duration: 1, round: time.Second, seed: seed, clients: 6, program: program, dir: t.TempDir(), out: &out}
	s := newSoak(o)
	if err := s.lay(); err != nil {
		t.Fatal(err)
	}
	defer s.network.Close()
	defer s.cluster.Close()
	if err := s.live(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if s.summary.Rounds != 1 || s.summary.Acknowledged == 0 || s.summary.Lost != 0 || len(s.summary.Convergence) != 2 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%+v\n%s", s.summary, &out)
	}

	s.book.AddedElement("round-1/set-0", "ghost", book.Done, time.Now())
	if err := s.check(s.records); err == nil || s.summary.Lost != len(regions) || !strings.Contains(err.Error(), `lacks "ghost"`) {
		t.Errorf("what was never written: %v, lost %d", err, s.summary.Lost)
	}
	s.book, s.summary.Lost = book.New(), 0
	conn, err := s.cluster.Members[1].Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 8 {
		if _, err := conn.Delete(t.Context(), fmt.Sprint("round-1/set-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.settle(); err != nil {
		t.Fatal(err)
	}
	if err := s.check(s.records); err == nil || s.summary.Lost < len(regions) || !strings.Contains(err.Error(), "though nobody wrote to it") {
		t.Errorf("what was deleted behind the back: %v, lost %d", err, s.summary.Lost)
	}
}
