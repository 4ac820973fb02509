package ring_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/internal/ring"
)

// anyMembers returns up to 15 members in up to 6 zones with weights up to 4.
func anyMembers(rng *rand.Rand) []ring.Member {
	zones := 1 + rng.IntN(6)
	members := make([]ring.Member, 1+rng.IntN(15))
	for i := range members {
		members[i] = ring.Member{
			Name:   fmt.Sprintf("m%d-%x", i, rng.Uint32()),
			Zone:   fmt.Sprint("zone ", rng.IntN(zones)),
			Weight: 1 + rng.IntN(4),
		}
	}
	return members
}

func TestOwnersAreDistinctAndSpreadOverZones(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		members, shards, rf := anyMembers(rng), 1+rng.IntN(300), 1+rng.IntN(5)
		p := place(t, members, shards, rf)
		if p.Shards() != shards {
			t.Fatalf("seed %d: %d shards, want %d", seed, p.Shards(), shards)
		}
		zone := make(map[string]string)
		all := make(map[string]bool)
		for _, m := range members {
			zone[m.Name] = m.Zone
			all[m.Zone] = true
		}
		for s := range shards {
			distinct, zones := make(map[string]bool), make(map[string]bool)
			for _, owner := range p.Owners(s) {
				distinct[owner] = true
				zones[zone[owner]] = true
			}
			if n := len(p.Owners(s)); n != min(rf, len(members)) || len(distinct) != n {
				t.Fatalf("seed %d: shard %d is owned by %q, want %d distinct members", seed, s, p.Owners(s), min(rf, len(members)))
			}
			if want := min(len(all), len(p.Owners(s))); len(zones) != want {
				t.Fatalf("seed %d: owners %q of shard %d are in %d zones, want %d", seed, p.Owners(s), s, len(zones), want)
			}
		}
	}
}

// If zones leave only one way, it is taken, whatever it does to the loads.
func TestZonesComeBeforeBalance(t *testing.T) {
	members := []ring.Member{{Name: "alone", Zone: "a", Weight: 1}}
	for i := range 9 {
		members = append(members, ring.Member{Name: fmt.Sprint("b", i), Zone: "b", Weight: 1})
	}
	for rf := 2; rf <= 3; rf++ {
		load := loads(place(t, members, 256, rf))
		if load["alone"] != 256 {
			t.Errorf("rf %d: the only member of a zone owns %d of 256 shards", rf, load["alone"])
		}
		delete(load, "alone")
		most := slices.Max(slices.Collect(maps.Values(load)))
		if mean := 256 * float64(rf-1) / 9; float64(most) > mostBusy*mean {
			t.Errorf("rf %d: busiest of the other zone owns %d shards, mean %.1f", rf, most, mean)
		}
	}
}

func TestZonesStayBalanced(t *testing.T) {
	for seed := range uint64(50) {
		if busy := busiest(place(t, equal(names(seed, 9), 3), 256, 3), 9); busy > mostBusy {
			t.Errorf("seed %d: 3 zones of 3: busiest holds %.3f times the mean", seed, busy)
		}
	}
}

func TestOrderOfMembersDoesNotMatter(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		members := anyMembers(rng)
		want := place(t, members, 64, 3)
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		passed := slices.Clone(members)
		if got := place(t, members, 64, 3); !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: other order, other placement", seed)
		}
		if !slices.Equal(members, passed) {
			t.Errorf("seed %d: the members passed were changed", seed)
		}
	}
}

func TestFewMembers(t *testing.T) {
	if got := place(t, nil, 4, 3).Owners(2); len(got) != 0 {
		t.Errorf("without members a shard is owned by %q", got)
	}
	two := equal([]string{"a", "b"}, 1)
	p := place(t, two, 16, 3)
	for s := range 16 {
		if got := slices.Sorted(slices.Values(p.Owners(s))); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("shard %d is owned by %q, want all members", s, got)
		}
	}
	if got := place(t, two[:1], 1, 1).Owners(0); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the only shard is owned by %q, want the only member", got)
	}
}

func TestOwned(t *testing.T) {
	p := place(t, equal(names(7, 5), 2), 64, 2)
	for name := range loads(p) {
		var want []int
		for s := range 64 {
			if slices.Contains(p.Owners(s), name) {
				want = append(want, s)
			}
		}
		if got := p.Owned(name); !slices.Equal(got, want) {
			t.Errorf("%s owns %v, want %v", name, got, want)
		}
	}
	if got := p.Owned("nobody"); len(got) != 0 {
		t.Errorf("a stranger owns %v", got)
	}
	for _, s := range []int{-1, 64} {
		if got := p.Owners(s); got != nil {
			t.Errorf("shard %d of 64 is owned by %q", s, got)
		}
	}
}

func TestPlaceRefusesBadInput(t *testing.T) {
	good := func() []ring.Member { return equal([]string{"a", "b", "c"}, 1) }
	for _, test := range []struct {
		name   string
		spoil  func([]ring.Member) []ring.Member
		shards int
		rf     int
		says   string
	}{
		{"no shards", nil, 0, 1, "0 shards, want 1 to 65536"},
		{"too many shards", nil, 65537, 1, "65537 shards, want 1 to 65536"},
		{"no replicas", nil, 8, 0, "replication factor 0, want 1 to 16"},
		{"too many replicas", nil, 8, 17, "replication factor 17, want 1 to 16"},
		{"no name", func(m []ring.Member) []ring.Member { m[1].Name = ""; return m }, 8, 1, "a member has no name"},
		{"same name", func(m []ring.Member) []ring.Member { m[2].Name = "a"; return m }, 8, 1, `two members are named "a"`},
		{"no weight", func(m []ring.Member) []ring.Member { m[1].Weight = 0; return m }, 8, 1, `member "b" has weight 0, want 1 to 256`},
		{"negative weight", func(m []ring.Member) []ring.Member { m[1].Weight = -1; return m }, 8, 1, `member "b" has weight -1`},
		{"too much weight", func(m []ring.Member) []ring.Member { m[1].Weight = 257; return m }, 8, 1, `member "b" has weight 257`},
		{"too many members", func([]ring.Member) []ring.Member { return equal(names(0, 257), 1) }, 8, 1, "257 members in a region, want at most 256"},
	} {
		members := good()
		if test.spoil != nil {
			members = test.spoil(members)
		}
		p, err := ring.Place(members, test.shards, test.rf)
		if p != nil || !errors.Is(err, ring.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, %v; want ErrInvalid that says %q", test.name, p, err, test.says)
		}
	}
}

// Members of different versions must agree, so placement may not change by
// accident either.
func TestGoldenPlacement(t *testing.T) {
	members := []ring.Member{
		{Name: "eu-1", Zone: "a", Weight: 1},
		{Name: "eu-2", Zone: "a", Weight: 2},
		{Name: "eu-3", Zone: "b", Weight: 1},
		{Name: "eu-4", Zone: "c", Weight: 3},
	}
	p := place(t, members, 8, 2)
	var got []string
	for s := range 8 {
		got = append(got, strings.Join(p.Owners(s), " "))
	}
	want := []string{
		"eu-4 eu-1", "eu-3 eu-4", "eu-1 eu-4", "eu-2 eu-4", "eu-1 eu-4", "eu-4 eu-3", "eu-4 eu-3", "eu-2 eu-4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// naivePlace is Place for members of one weight in one zone: every claim is
// written down, and they are granted in order.
func naivePlace(t *testing.T, names []string, shards, rf int) [][]string {
	type claim struct {
		rank, shard int
		distance    uint64
		name        string
	}
	var claims []claim
	for _, name := range names {
		var own []claim
		for s := range shards {
			start := uint64(s) * (1 << 63 / uint64(shards) * 2) // shards is a power of two
			least := ^uint64(0)
			for i := range uint32(ring.VirtualNodes) {
				sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(name), i))
				least = min(least, binary.BigEndian.Uint64(sum[:])-start)
			}
			own = append(own, claim{shard: s, distance: least, name: name})
		}
		slices.SortFunc(own, func(a, b claim) int { return cmp.Compare(a.distance, b.distance) })
		for rank := range own {
			own[rank].rank = rank
		}
		claims = append(claims, own...)
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(a.rank-b.rank, cmp.Compare(a.distance, b.distance))
	})
	most := (115*shards*rf + 100*len(names) - 1) / (100 * len(names))
	load := make(map[string]int)
	owners := make([][]string, shards)
	for _, c := range claims {
		if len(owners[c.shard]) < rf && load[c.name] < most {
			owners[c.shard] = append(owners[c.shard], c.name)
			load[c.name]++
		}
	}
	for s := range owners {
		if len(owners[s]) < rf {
			t.Fatalf("the naive placement cannot complete shard %d", s)
		}
	}
	return owners
}

func TestPlaceAgreesWithNaivePlacement(t *testing.T) {
	for seed := range uint64(6) {
		const shards = 64
		rf := 1 + int(seed%3)
		names := names(seed, 7)
		want := naivePlace(t, names, shards, rf)
		got := place(t, equal(names, 1), shards, rf)
		for s := range shards {
			if !slices.Equal(got.Owners(s), want[s]) {
				t.Errorf("seed %d, rf %d: shard %d is owned by %q, want %q", seed, rf, s, got.Owners(s), want[s])
			}
		}
	}
}
