package crdt_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// ladder is Heard written out, the naive model: a vector for every position
// that the test knows.
type ladder []crdt.VersionVector

// places are the positions of a ladder. Ranges begin and end at them.
var places = []crdt.Position{"", "\x00", "a", "a\x00", "ab", "b", "\x80", "\xff\xff"}

// bound returns the position of a rung, or the end.
func bound(i int) crdt.Position {
	if i == len(places) {
		return crdt.End
	}
	return places[i]
}

func (l ladder) minimum() crdt.VersionVector {
	v := crdt.VersionVector{}
	for a, seq := range l[0] {
		for _, rung := range l {
			seq = min(seq, rung[a])
		}
		v[a] = seq
	}
	return v
}

func checkHeard(t *testing.T, h *crdt.Heard, l ladder) {
	t.Helper()
	whole := true
	for i, at := range places {
		if got := h.At(at); got.Compare(l[i]) != crdt.Equal {
			t.Fatalf("at %q %s was heard, want %s", at, got, l[i])
		}
		whole = whole && l[i].Compare(l[0]) == crdt.Equal
	}
	if h.Whole() != whole {
		t.Fatalf("whole: %t, want %t", h.Whole(), whole)
	}
	if got, want := h.Vector(), l.minimum(); got.Compare(want) != crdt.Equal {
		t.Fatalf("all ranges heard %s, want %s", got, want)
	}
	for lo := range places {
		for hi := lo + 1; hi <= len(places); hi++ {
			checkSpans(t, h.Over(bound(lo), bound(hi)), l, lo, hi)
		}
	}
}

// checkSpans wants one span for each run of equal rungs from lo to hi.
func checkSpans(t *testing.T, got []crdt.Span, l ladder, lo, hi int) {
	t.Helper()
	var want []crdt.Span
	for i := lo; i < hi; i++ {
		if i == lo || l[i].Compare(l[i-1]) != crdt.Equal {
			want = append(want, crdt.Span{Start: places[i], Vector: l[i]})
		}
	}
	same := func(a, b crdt.Span) bool { return a.Start == b.Start && a.Vector.Compare(b.Vector) == crdt.Equal }
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("spans of %q to %q are %v, want %v", bound(lo), bound(hi), got, want)
	}
}

func TestHeardIsAVectorPerPosition(t *testing.T) {
	rng := random(t)
	for range 300 {
		h := crdt.NewHeard(nil)
		l := make(ladder, len(places))
		for i := range l {
			l[i] = crdt.VersionVector{}
		}
		for range 12 {
			before, bytesBefore := h.Clone(), h.AppendTo(nil)
			change(rng, h, l)
			checkHeard(t, h, l)
			if !bytes.Equal(before.AppendTo(nil), bytesBefore) {
				t.Fatal("a clone changed with its original")
			}
			again, err := crdt.DecodeHeard(h.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			checkHeard(t, again, l)
			if !bytes.Equal(again.AppendTo(nil), h.AppendTo(nil)) {
				t.Fatal("decoded and encoded again differ")
			}
		}
	}
}

// change does the same to both.
func change(rng *rand.Rand, h *crdt.Heard, l ladder) {
	from, to := rng.IntN(len(places)+1), rng.IntN(len(places)+1)
	lo, hi := bound(from), bound(to)
	dot := crdt.Dot{Actor: crdt.Actor(1 + rng.IntN(2)), Seq: 1 + rng.Uint64N(3)}
	var does func(crdt.VersionVector)
	switch rng.IntN(5) {
	case 0:
		h.Forget(lo, hi)
		does = func(v crdt.VersionVector) { clear(v) }
	case 1, 2:
		h.Observe(lo, hi, dot)
		does = func(v crdt.VersionVector) { v.Observe(dot) }
	default:
		v := randomDots(rng).vector()
		h.Join(lo, hi, v)
		does = func(mine crdt.VersionVector) { mine.Join(v) }
		defer clear(v) // h must not have kept it
	}
	for i := from; i < to; i++ {
		does(l[i])
	}
}

func TestDecodeHeardRefuses(t *testing.T) {
	text := func(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }
	one, two := crdt.VersionVector{1: 1}, crdt.VersionVector{1: 2}
	for name, spans := range map[string][]crdt.Span{
		"no span":               {},
		"a first that is late":  {{Start: "a", Vector: one}},
		"a second that is not":  {{Start: "", Vector: one}, {Start: "", Vector: two}},
		"disorder":              {{Start: "", Vector: one}, {Start: "b", Vector: two}, {Start: "a", Vector: one}},
		"neighbours alike":      {{Start: "", Vector: one}, {Start: "a", Vector: one}},
		"neighbours both empty": {{Start: "", Vector: nil}, {Start: "a", Vector: nil}},
		"a span after the end":  {{Start: "", Vector: one}, {Start: crdt.End, Vector: two}},
	} {
		encoded := []byte{byte(len(spans))}
		for _, s := range spans {
			encoded = s.Vector.AppendTo(text(encoded, string(s.Start)))
		}
		h, err := crdt.DecodeHeard(encoded)
		refused(t, name, err)
		if h != nil {
			t.Errorf("%s: something is returned beside the error", name)
		}
	}
}
