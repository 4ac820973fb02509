package merkle_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/atolldb/atoll/merkle"
)

// model is what a tree stands for: the entries of each leaf.
type model []map[string]merkle.Digest

func (m model) digest(lo, hi int) merkle.Digest {
	var sum merkle.Digest
	for _, leaf := range m[lo:hi] {
		for _, d := range leaf {
			sum = sum.Add(d)
		}
	}
	return sum
}

// fill makes a tree and its model by random comings and goings.
func fill(rng *rand.Rand, h *merkle.Hasher, leaves, changes int) (*merkle.Tree, model) {
	tree, m := merkle.NewTree(leaves), make(model, leaves)
	for range changes {
		i := rng.IntN(leaves)
		if m[i] == nil {
			m[i] = map[string]merkle.Digest{}
		}
		key := fmt.Sprint(rng.IntN(8))
		went := m[i][key]
		came := merkle.Digest{}
		if rng.IntN(3) > 0 {
			came = h.Entry(fmt.Sprint(i, key), []byte{byte(rng.IntN(4))})
			m[i][key] = came
		} else {
			delete(m[i], key)
		}
		tree.Update(i, went, came)
	}
	return tree, m
}

func TestTreeEqualsSumOfItsEntries(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := merkle.NewHasher([32]byte{1})
	for _, leaves := range []int{1, 2, 31, 32, 33, 1000, 1024, 1025} {
		tree, m := fill(rng, h, leaves, 3*leaves)
		if got, want := tree.Root(), m.digest(0, leaves); got != want {
			t.Fatalf("%d leaves: root %v, entries add up to %v", leaves, got, want)
		}
		for range 200 {
			lo := rng.IntN(leaves + 1)
			hi := lo + rng.IntN(leaves+1-lo)
			if got, want := tree.Range(lo, hi), m.digest(lo, hi); got != want {
				t.Fatalf("%d leaves: range %d to %d is %v, entries add up to %v", leaves, lo, hi, got, want)
			}
		}
	}
}

func TestDiffFindsExactlyTheLeavesThatDiffer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := merkle.NewHasher([32]byte{1})
	for _, leaves := range []int{1, 32, 33, 1024, 1025} {
		a, _ := fill(rand.New(rand.NewPCG(seed, 1)), h, leaves, leaves)
		b, _ := fill(rand.New(rand.NewPCG(seed, 1)), h, leaves, leaves)
		if got := merkle.Diff(a, b); len(got) != 0 {
			t.Fatalf("%d leaves: equal trees differ in %v", leaves, got)
		}
		rng := rand.New(rand.NewPCG(seed, 2))
		want := map[int]bool{}
		for range 5 {
			i := rng.IntN(leaves)
			want[i] = true
			b.Update(i, merkle.Digest{}, h.Entry("new", []byte{byte(len(want))}))
		}
		got := merkle.Diff(a, b)
		if len(got) != len(want) || !slices.IsSorted(got) {
			t.Fatalf("%d leaves: got %v, want %v", leaves, got, want)
		}
		for _, i := range got {
			if !want[i] {
				t.Fatalf("%d leaves: leaf %d does not differ", leaves, i)
			}
		}
	}
}

func TestEntryDigestDependsOnEverything(t *testing.T) {
	base := merkle.NewHasher([32]byte{1}).Entry("ab", []byte("c"))
	others := map[string]merkle.Digest{
		"position": merkle.NewHasher([32]byte{1}).Entry("aB", []byte("c")),
		"entry":    merkle.NewHasher([32]byte{1}).Entry("ab", []byte("d")),
		"border":   merkle.NewHasher([32]byte{1}).Entry("a", []byte("bc")),
		"key":      merkle.NewHasher([32]byte{2}).Entry("ab", []byte("c")),
	}
	for what, d := range others {
		if d == base {
			t.Errorf("another %s makes no other digest", what)
		}
	}
	h := merkle.NewHasher([32]byte{1})
	h.Entry("something", []byte("before"))
	if h.Entry("ab", []byte("c")) != base || h.Clone().Entry("ab", []byte("c")) != base {
		t.Error("a digest depends on what was hashed before")
	}
}

// The digest of a known entry never changes: it is on disk and on the wire.
func TestGoldenDigest(t *testing.T) {
	const want = "fe016ff8d51044a8a787fe9c6e7f0292/1"
	got := merkle.NewHasher([32]byte{1, 2, 3}).Entry("position", []byte("entry")).String()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDigestRoundTrip(t *testing.T) {
	d := merkle.NewHasher([32]byte{9}).Entry("x", []byte("y"))
	got, err := merkle.Decode(d.AppendTo(nil))
	if err != nil || got != d {
		t.Fatalf("got %v, %v; want %v", got, err, d)
	}
	if _, err := merkle.Decode(make([]byte, merkle.DigestBytes-1)); err == nil {
		t.Error("a short digest was accepted")
	}
}

func BenchmarkEntry(b *testing.B) {
	h := merkle.NewHasher([32]byte{1})
	entry := make([]byte, 40)
	for b.Loop() {
		h.Entry("a position of some forty bytes or thereabouts", entry)
	}
}
