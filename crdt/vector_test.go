package crdt_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// random returns a source of randomness and prints its seed.
func random(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// dots is a vector written out: the naive model.
type dots map[crdt.Dot]bool

func (s dots) vector() crdt.VersionVector {
	v := crdt.VersionVector{}
	for d := range s {
		v[d.Actor] = max(v[d.Actor], d.Seq)
	}
	return v
}

func (s dots) within(o dots) bool {
	for d := range s {
		if !o[d] {
			return false
		}
	}
	return true
}

func randomDots(rng *rand.Rand) dots {
	s := dots{}
	for a := crdt.Actor(1); a <= 3; a++ {
		for seq := range rng.Uint64N(4) {
			s[crdt.Dot{Actor: a, Seq: seq + 1}] = true
		}
	}
	return s
}

func TestVectorIsASetOfDots(t *testing.T) {
	rng := random(t)
	for range 5000 {
		a, b := randomDots(rng), randomDots(rng)
		v, w := a.vector(), b.vector()
		union, common, missing := dots{}, dots{}, uint64(0)
		for d := range a {
			union[d] = true
			if b[d] {
				common[d] = true
			}
		}
		for d := range b {
			union[d] = true
			if !a[d] {
				missing++
			}
		}
		order := crdt.Concurrent
		switch below, above := a.within(b), b.within(a); {
		case below && above:
			order = crdt.Equal
		case below:
			order = crdt.Before
		case above:
			order = crdt.After
		}
		if got := v.Compare(w); got != order {
			t.Fatalf("%s compared with %s is %d, want %d", v, w, got, order)
		}
		if got := v.Dominates(w); got != b.within(a) {
			t.Fatalf("%s dominates %s: %t", v, w, got)
		}
		if got := v.Missing(w); got != missing {
			t.Fatalf("%s lacks %d of %s, want %d", v, got, w, missing)
		}
		if got, want := v.Meet(w), common.vector(); got.Compare(want) != crdt.Equal {
			t.Fatalf("%s meets %s in %s, want %s", v, w, got, want)
		}
		joined, observed := v.Clone(), v.Clone()
		joined.Join(w)
		for d := range b {
			observed.Observe(d)
		}
		for _, got := range []crdt.VersionVector{joined, observed} {
			if want := union.vector(); got.Compare(want) != crdt.Equal {
				t.Fatalf("%s joined with %s is %s, want %s", v, w, got, want)
			}
		}
		if v.String() != a.vector().String() {
			t.Fatal("joining a clone changed the original")
		}
		for d := range union {
			if got := v.Covers(d); got != a[d] {
				t.Fatalf("%s covers %s: %t", v, d, got)
			}
		}
	}
}

func TestEmptyVector(t *testing.T) {
	var none crdt.VersionVector
	zero := crdt.VersionVector{4: 0}
	switch {
	case none.Covers(crdt.Dot{Actor: 1, Seq: 1}):
		t.Error("the nil vector covers an event")
	case none.Clone() == nil:
		t.Error("the clone of the nil vector is nil")
	case none.Compare(zero) != crdt.Equal || zero.Compare(none) != crdt.Equal:
		t.Error("a component of 0 counts as something")
	case !slices.Equal(none.AppendTo(nil), zero.AppendTo(nil)):
		t.Error("a component of 0 is encoded")
	case none.String() != "{}":
		t.Errorf("the nil vector is %s", none)
	case none.Meet(zero) == nil:
		t.Error("what the nil vector meets is nil")
	}
}

func TestVectorText(t *testing.T) {
	v := crdt.VersionVector{0xbeef: 7, 2: 1}
	if got, want := v.String(), "{0000000000000002:1 000000000000beef:7}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
