package ring_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/atolldb/atoll/internal/ring"
)

// The promises of the issue, for ten members and an eleventh.
const (
	mostBusy  = 1.25 // load of the busiest member, in multiples of the mean
	mostMoved = 1.3  // assignments that change, in multiples of the fair share of who joins
)

// names returns n distinct names drawn from the seed, in one of the styles that
// operators use.
func names(seed uint64, n int) []string {
	rng := rand.New(rand.NewPCG(seed, 1))
	style := []func(i int) string{
		func(int) string { return fmt.Sprintf("m-%08x", rng.Uint32()) },
		func(i int) string { return fmt.Sprintf("eu%d-%d", seed, i) },
		func(i int) string { return fmt.Sprintf("crdtd-%d.crdtd.prod%d.svc.cluster.local", i, seed) },
		func(i int) string { return fmt.Sprintf("10.%d.%d.%d", seed/256, seed%256, 10+i) },
	}[seed%4]
	out := make([]string, n)
	for i := range out {
		out[i] = style(i)
	}
	rng.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// equal returns members of weight 1, in zones many zones by turns.
func equal(names []string, zones int) []ring.Member {
	var members []ring.Member
	for i, n := range names {
		members = append(members, ring.Member{Name: n, Zone: fmt.Sprint(i % zones), Weight: 1})
	}
	return members
}

func place(t testing.TB, members []ring.Member, shards, rf int) *ring.Placement {
	t.Helper()
	p, err := ring.Place(members, shards, rf)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// loads returns how many shards each member owns.
func loads(p *ring.Placement) map[string]int {
	n := make(map[string]int)
	for s := range p.Shards() {
		for _, owner := range p.Owners(s) {
			n[owner]++
		}
	}
	return n
}

// busiest returns the greatest load in multiples of the mean over n members.
func busiest(p *ring.Placement, n int) float64 {
	greatest, sum := 0, 0
	for _, load := range loads(p) {
		greatest = max(greatest, load)
		sum += load
	}
	return float64(greatest) * float64(n) / float64(sum)
}

// moved returns how many shards got an owner that did not have them.
func moved(from, to *ring.Placement) int {
	n := 0
	for s := range to.Shards() {
		for _, owner := range to.Owners(s) {
			if !slices.Contains(from.Owners(s), owner) {
				n++
			}
		}
	}
	return n
}

func report(x []float64) string {
	slices.Sort(x)
	return fmt.Sprintf("p50 %.3f, p99 %.3f, max %.3f", x[len(x)/2], x[len(x)*99/100], x[len(x)-1])
}

// Shards are equal arcs, so a load in shards is a load in keys, too.
func TestBalanceAndMovement(t *testing.T) {
	for _, test := range []struct {
		shards, rf, zones, sets int
		beyond                  int // sets that may exceed mostMoved
	}{
		// Here the eleventh's fair share is 23.3 shards, and mostMoved is reached
		// with 7 more. About one set in a hundred exceeds that; see the package
		// comment. The bound on the load has no exceptions.
		{shards: 256, rf: 1, zones: 1, sets: 200, beyond: 4},
		{shards: 256, rf: 2, zones: 1, sets: 200},
		{shards: 256, rf: 3, zones: 1, sets: 200},
		{shards: 256, rf: 3, zones: 11, sets: 50},
		{shards: 1024, rf: 1, zones: 1, sets: 30},
		{shards: 1024, rf: 2, zones: 1, sets: 30},
		{shards: 1024, rf: 3, zones: 1, sets: 30},
		{shards: 4096, rf: 1, zones: 1, sets: 6},
		{shards: 4096, rf: 3, zones: 1, sets: 6},
	} {
		t.Run(fmt.Sprintf("shards=%d,rf=%d,zones=%d", test.shards, test.rf, test.zones), func(t *testing.T) {
			t.Parallel()
			var load, move []float64
			beyond := 0
			test.sets /= fewer
			for seed := range uint64(test.sets) {
				members := equal(names(seed, 11), test.zones)
				ten := place(t, members[:10], test.shards, test.rf)
				eleven := place(t, members, test.shards, test.rf)
				load = append(load, max(busiest(ten, 10), busiest(eleven, 11)))
				if busy := load[seed]; busy > mostBusy {
					t.Errorf("seed %d: busiest member holds %.3f times the mean", seed, busy)
				}
				fair := float64(test.shards*test.rf) / 11
				move = append(move, float64(moved(ten, eleven))/fair)
				if move[seed] > mostMoved {
					t.Logf("seed %d: the eleventh member moves %.3f times its fair share", seed, move[seed])
					beyond++
				}
			}
			if beyond > test.beyond {
				t.Errorf("%d of %d sets of names move more than %v times the fair share, want at most %d", beyond, test.sets, mostMoved, test.beyond)
			}
			t.Logf("%d sets of names: busiest %s; moved %s", test.sets, report(load), report(move))
			if worst := move[len(move)-1]; worst > 1.5 {
				t.Errorf("worst movement is %.3f times the fair share", worst)
			}
		})
	}
}

// A fourth member that joins a region of three moves hardly more than its fair
// share, whatever the names.
func TestFourthMemberMovesItsShare(t *testing.T) {
	first := rand.Uint64N(1 << 32)
	t.Logf("seed %d", first)
	for _, shards := range []int{256, 1024} {
		for rf := 1; rf <= 3; rf++ {
			var move []float64
			for seed := first; seed < first+100/fewer; seed++ {
				members := equal(names(seed, 4), 1)
				n := moved(place(t, members[:3], shards, rf), place(t, members, shards, rf))
				move = append(move, float64(n)/(float64(shards*rf)/4))
				if last := move[len(move)-1]; last > mostMoved {
					t.Errorf("%d shards, rf %d, seed %d: the fourth member moves %.3f times its fair share", shards, rf, seed, last)
				}
			}
			t.Logf("%d shards, rf %d: moved %s", shards, rf, report(move))
		}
	}
}

// Whoever leaves, what moves is hardly more than what it had.
func TestRemovalMovesLittleElse(t *testing.T) {
	const shards, rf = 1024, 3
	for seed := range uint64(4) {
		members := equal(names(seed, 11), 1)
		before := place(t, members, shards, rf)
		for i, gone := range members {
			after := place(t, slices.Delete(slices.Clone(members), i, i+1), shards, rf)
			orphans := len(before.Owned(gone.Name))
			n := moved(before, after)
			if n < orphans {
				t.Fatalf("seed %d: %s had %d shards, but only %d moved", seed, gone.Name, orphans, n)
			}
			if most := orphans + shards*rf/11/10; n > most {
				t.Errorf("seed %d: %s had %d shards, and %d moved, want at most %d", seed, gone.Name, orphans, n, most)
			}
		}
	}
}

func TestLoadsFollowTheWeights(t *testing.T) {
	for _, test := range []struct{ shards, rf int }{{256, 3}, {1024, 1}, {1024, 2}, {1024, 3}} {
		for seed := range uint64(10) {
			members := equal(names(seed, 10), 1)
			sum := 0
			for i := range members {
				members[i].Weight = 1 + i%4
				sum += members[i].Weight
			}
			load := loads(place(t, members, test.shards, test.rf))
			for _, m := range members {
				fair := float64(test.shards*test.rf*m.Weight) / float64(sum)
				if ratio := float64(load[m.Name]) / fair; ratio < 0.7 || ratio > mostBusy {
					t.Errorf("%d shards, rf %d, seed %d: weight %d holds %.3f times its share of %.1f",
						test.shards, test.rf, seed, m.Weight, ratio, fair)
				}
			}
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	members := equal(names(2, 30), 3)
	for b.Loop() {
		if _, err := ring.Place(members, 1024, 3); err != nil {
			b.Fatal(err)
		}
	}
}
