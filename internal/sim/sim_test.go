package sim

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/atolldb/atoll/internal/bubble"
)

var (
	oneSeed = flag.String("seed", "", "the `seed` that TestSeed plays")
	seeds   = flag.Uint64("seeds", 0, "how many seeds TestSeeds plays; 0: a few")
	deep    = flag.Bool("deep", false, "look for the breaks that take many seeds, too")
	rot     = flag.Uint64("rot", 3, "let entries on disk rot in one of so many seeds; 0: in none")
	placed  = flag.Uint64("placed", 4, "have members come and go in one of so many seeds; 0: in none")
	exact   = flag.Uint64("exact", 3, "have clients write and read linearizably in one of so many seeds; 0: in none")
	from    = flag.Uint64("from", 1, "the first of them")
)

// TestMain has a crash show the labels of goroutines, and so how it is replayed.
func TestMain(m *testing.M) {
	if err := os.Setenv("GODEBUG", strings.TrimPrefix(os.Getenv("GODEBUG")+",tracebacklabels=1", ",")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// play runs a schedule in a bubble of virtual time.
func play(t *testing.T, s Schedule) (out *Outcome) {
	t.Helper()
	pprof.Do(t.Context(), pprof.Labels(Replay, replay(s.Seed)), func(ctx context.Context) {
		bubble.Test(t, func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, s.Seed) // the members' incarnations
			out = Run(ctx, s)
		})
	})
	if out.Failure == "" {
		out.Failure = cmp.Or(inexact(out), miscounted(out))
	}
	return out
}

// replay is the command that replays a seed. A goroutine that panics shows it.
func replay(seed uint64) string {
	return fmt.Sprintf("go test ./internal/sim -run 'TestSeed$' -v -seed %d -rot %d -placed %d -exact %d", seed, *rot, *placed, *exact)
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
	for i := range n {
		seed := *from + i
		out := play(t, generate(seed))
		if out.Failure != "" {
			t.Fatalf("seed %d: %s\nto replay and cut it down: %s", seed, out.Failure, replay(seed))
		}
		sum.Add(out.Stats)
	}
	t.Logf("seeds %d to %d\n%s", *from, *from+n-1, sum)
}

// TestSeed plays one seed and, if it fails, cuts its history down.
func TestSeed(t *testing.T) {
	if *oneSeed == "" {
		t.Skip("takes -seed")
	}
	seed, err := strconv.ParseUint(*oneSeed, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s := generate(seed)
	out := play(t, s)
	if out.Failure == "" {
		t.Logf("seed %d\n%s", seed, out.Stats)
		return
	}
	t.Errorf("seed %d: %s", seed, out.Failure)
	s = Shrink(s, shrinkWithin, func(s Schedule) bool { return play(t, s).Failure != "" })
	out = play(t, s)
	t.Errorf("cut down to %d steps: %s\n%s\nwhat happens:\n%s", len(s.Steps), out.Failure, s, strings.Join(out.Lines, "\n"))
}

// Every seed can be replayed, the first and the last, too.
func TestEverySeedIsReplayed(t *testing.T) {
	for _, seed := range []uint64{0, math.MaxUint64} {
		fields := strings.Fields(replay(seed))
		out, err := exec.CommandContext(t.Context(), os.Args[0], testFlags(fields)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("seed %d\n", seed)) {
			t.Errorf("%v: %v\n%s", fields, err, out)
		}
	}
}

// testFlags returns the flags of a command that runs tests as the binary takes them.
func testFlags(command []string) []string {
	flags := []string{}
	for _, word := range command[3:] { // go test ./internal/sim
		if word == "-run" || word == "-v" {
			word = "-test." + word[1:]
		}
		flags = append(flags, strings.Trim(word, "'"))
	}
	return flags
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
