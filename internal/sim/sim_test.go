package sim

import (
	"cmp"
	"flag"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

var (
	oneSeed = flag.Uint64("seed", 0, "the seed that TestSeed plays")
	seeds   = flag.Uint64("seeds", 0, "how many seeds TestSeeds plays; 0: a few")
	deep    = flag.Bool("deep", false, "look for the breaks that take many seeds, too")
	rot     = flag.Uint64("rot", 3, "let entries on disk rot in one of so many seeds; 0: in none")
	placed  = flag.Uint64("placed", 4, "have members come and go in one of so many seeds; 0: in none")
	exact   = flag.Uint64("exact", 3, "have clients write and read linearizably in one of so many seeds; 0: in none")
	from    = flag.Uint64("from", 1, "the first of them")
)

// play runs a schedule in a bubble of virtual time.
func play(t *testing.T, s Schedule) (out *Outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, s.Seed) // the members' incarnations
		out = Run(s)
	})
	if out.Failure == "" {
		out.Failure = cmp.Or(inexact(out), miscounted(out))
	}
	return out
}

func generate(seed uint64) Schedule {
	s := Generate(seed)
	if *exact > 0 && mix(seed+1)%*exact == 0 {
		s = AddExact(s)
	}
	if *placed > 0 && mix(seed)%*placed == 0 {
		return AddPlacement(s)
	}
	if *rot > 0 && seed%*rot == 0 {
		s = AddRot(s)
	}
	return s
}

// TestSeeds plays random histories, every time the same ones.
func TestSeeds(t *testing.T) {
	n := *seeds
	if n == 0 {
		n = few
	}
	var sum Stats
	for seed := *from; seed < *from+n; seed++ {
		out := play(t, generate(seed))
		if out.Failure != "" {
			t.Fatalf("seed %d: %s\nto replay and cut it down: go test ./internal/sim -run 'TestSeed$' -v -seed %d -rot %d -placed %d -exact %d", seed, out.Failure, seed, *rot, *placed, *exact)
		}
		sum.Add(out.Stats)
	}
	t.Logf("seeds %d to %d\n%s", *from, *from+n-1, sum)
}

// TestSeed plays one seed and, if it fails, cuts its history down.
func TestSeed(t *testing.T) {
	if *oneSeed == 0 {
		t.Skip("takes -seed")
	}
	s := generate(*oneSeed)
	out := play(t, s)
	if out.Failure == "" {
		t.Logf("seed %d\n%s", *oneSeed, out.Stats)
		return
	}
	t.Errorf("seed %d: %s", *oneSeed, out.Failure)
	s = Shrink(s, shrinkWithin, func(s Schedule) bool { return play(t, s).Failure != "" })
	out = play(t, s)
	t.Errorf("cut down to %d steps: %s\n%s\nwhat happens:\n%s", len(s.Steps), out.Failure, s, strings.Join(out.Lines, "\n"))
}

// shrinkWithin is how many histories are tried to find a short one.
const shrinkWithin = 400

// One seed is one history, however the machine schedules goroutines: the same
// steps, commits and losses at the same moments.
func TestOneSeedOneHistory(t *testing.T) {
	for seed := uint64(1); seed <= repeated; seed++ {
		first, again := play(t, Generate(seed)), play(t, Generate(seed))
		for i, line := range first.Lines {
			if i >= len(again.Lines) || again.Lines[i] != line {
				t.Fatalf("seed %d, line %d of %d and %d:\n%s\nand then:\n%s", seed, i, len(first.Lines), len(again.Lines),
					line, strings.Join(again.Lines[min(i, len(again.Lines)):min(i+1, len(again.Lines))], ""))
			}
		}
		if first.Hash != again.Hash {
			t.Logf("seed %d: the same history, with other messages", seed)
		}
	}
}

// Two seeds are two histories.
func TestSeedsDiffer(t *testing.T) {
	if play(t, Generate(1)).Hash == play(t, Generate(2)).Hash {
		t.Error("seeds 1 and 2 are the same")
	}
}

// A history that fails is cut down to what makes it fail.
func TestShrink(t *testing.T) {
	s := Generate(7)
	has := func(s Schedule, k Kind) bool {
		for _, step := range s.Steps {
			if step.Kind == k {
				return true
			}
		}
		return false
	}
	s.Steps = append(s.Steps, Step{At: time.Hour, Kind: Crash}, Step{At: time.Hour, Kind: Start})
	short := Shrink(s, 1000, func(s Schedule) bool { return has(s, Crash) && has(s, Start) && has(s, Ask) })
	operations := 0
	for _, step := range short.Steps {
		operations += len(step.Operations)
	}
	if len(short.Steps) != 3 || operations != 1 {
		t.Errorf("left are %d operations in\n%v", operations, short)
	}
}
