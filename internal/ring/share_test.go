package ring

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestFairShares(t *testing.T) {
	for _, test := range []struct {
		name    string
		weights []int
		zones   []int
		rf      int
		want    []float64 // of 120 shards
	}{
		{"by weight", []int{1, 2, 3}, []int{0, 0, 0}, 1, []float64{20, 40, 60}},
		{"nobody owns a shard twice", []int{1, 1, 10}, []int{0, 0, 0}, 2, []float64{60, 60, 120}},
		{"as many as rf", []int{1, 5, 3}, []int{0, 0, 1}, 3, []float64{120, 120, 120}},
		{"as many zones as rf: each holds everything once", []int{1, 1, 1, 3}, []int{0, 0, 0, 1}, 2, []float64{40, 40, 40, 120}},
		{"a zone of one among many", []int{9, 1, 1, 1}, []int{0, 1, 2, 3}, 2, []float64{120, 40, 40, 40}},
		{"more zones than rf, equal", []int{1, 1, 1, 1}, []int{0, 1, 2, 3}, 2, []float64{60, 60, 60, 60}},
		{"fewer zones than rf: a small one holds everything still", []int{1, 1, 1, 1, 1}, []int{0, 1, 1, 1, 1}, 3, []float64{120, 60, 60, 60, 60}},
		{"fewer zones than rf: a big one at most rf-1 of each", []int{5, 5, 5, 1, 1}, []int{0, 0, 0, 1, 1}, 3, []float64{80, 80, 80, 60, 60}},
	} {
		members := make([]Member, len(test.weights))
		for i, w := range test.weights {
			members[i].Weight = w
		}
		got := fairShares(members, test.zones, slices.Max(test.zones)+1, 120, test.rf)
		for i, want := range test.want {
			if share := float64(got[i]) / unit; math.Abs(share-want) > 0.001 {
				t.Errorf("%s: share of member %d is %.3f, want %v", test.name, i, share, want)
			}
		}
	}
}

// No load exceeds the share by more than the headroom, even where few members
// of much weight make it tight and trades are needed.
func TestLoadsStayWithinHeadroom(t *testing.T) {
	trades := 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 4))
		zones := 1 + rng.IntN(4)
		members := make([]Member, 1+rng.IntN(9))
		for i := range members {
			members[i] = Member{fmt.Sprintf("m%d-%x", i, rng.Uint32()), fmt.Sprint(rng.IntN(zones)), 1 + rng.IntN(4)}
		}
		rf := min(1+rng.IntN(4), len(members))
		slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
		a := newAssignment(members, 128, rf)
		most := slices.Clone(a.room)
		a.serve(newClaims(members, 128))
		trades += a.missing
		a.complete()
		load := make([]int, len(members))
		for _, owners := range a.owners {
			for _, m := range owners {
				load[m]++
			}
		}
		for m := range load {
			if load[m] > most[m] || load[m] != most[m]-a.room[m] {
				t.Errorf("seed %d: member %d of %v owns %d shards, want at most %d (room %d)", seed, m, members, load[m], most[m], a.room[m])
			}
		}
	}
	if trades == 0 {
		t.Error("no trade was needed: the test tests nothing")
	}
}

func TestLog2(t *testing.T) {
	for x := uint64(1); x <= 2*MaxShards; x++ {
		want := math.Log2(float64(x)) * (1 << 32)
		if got := float64(log2(x)); math.Abs(got-want) > 2 {
			t.Fatalf("log2(%d) = %v, want %v", x, got, want)
		}
	}
	for shift := range 64 {
		if got, want := log2(1<<shift), uint64(shift)<<32; got != want {
			t.Errorf("log2(2^%d) = %d, want %d", shift, got, want)
		}
	}
}
