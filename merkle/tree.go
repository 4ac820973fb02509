package merkle

import "fmt"

// fanout is the number of children of an inner node.
const fanout = 32

// Tree holds the digests of a fixed number of leaves and of the nodes above
// them. Its root is the digest of all.
type Tree struct {
	levels [][]Digest // from the leaves up to a level of one, the root
}

// NewTree returns the tree of the given number of empty leaves, at least one.
func NewTree(leaves int) *Tree {
	t := &Tree{}
	for n := leaves; ; n = (n + fanout - 1) / fanout {
		t.levels = append(t.levels, make([]Digest, n))
		if n <= 1 {
			return t
		}
	}
}

// Leaves returns the number of leaves.
func (t *Tree) Leaves() int { return len(t.levels[0]) }

// Leaf returns the digest of a leaf.
func (t *Tree) Leaf(i int) Digest { return t.levels[0][i] }

// Root returns the digest of all leaves.
func (t *Tree) Root() Digest { return t.levels[len(t.levels)-1][0] }

// Update takes the digest of what went from a leaf and adds that of what came,
// in the leaf and in all nodes above it.
func (t *Tree) Update(leaf int, went, came Digest) {
	for _, level := range t.levels {
		level[leaf] = level[leaf].Sub(went).Add(came)
		leaf /= fanout
	}
}

// Range returns the digest of the leaves from lo up to but not including hi.
func (t *Tree) Range(lo, hi int) Digest {
	if lo < 0 || hi > t.Leaves() {
		panic(fmt.Sprintf("merkle: leaves %d to %d of %d", lo, hi, t.Leaves()))
	}
	var sum Digest
	for _, level := range t.levels {
		for ; lo < hi && lo%fanout != 0; lo++ {
			sum = sum.Add(level[lo])
		}
		for ; lo < hi && hi%fanout != 0; hi-- {
			sum = sum.Add(level[hi-1])
		}
		lo, hi = lo/fanout, hi/fanout
		if lo >= hi {
			break
		}
	}
	return sum
}

// Diff returns the leaves in which two trees of one size differ, in ascending
// order. It looks below a node only where the nodes differ.
func Diff(a, b *Tree) []int {
	if a.Leaves() != b.Leaves() {
		panic(fmt.Sprintf("merkle: trees of %d and %d leaves", a.Leaves(), b.Leaves()))
	}
	differ := []int{0}
	for depth := len(a.levels) - 1; ; depth-- {
		nodes := differ
		differ = nil
		for _, i := range nodes {
			if a.levels[depth][i] != b.levels[depth][i] {
				differ = append(differ, i)
			}
		}
		if depth == 0 {
			return differ
		}
		nodes, differ = differ, nil
		for _, i := range nodes {
			for child := i * fanout; child < min((i+1)*fanout, len(a.levels[depth-1])); child++ {
				differ = append(differ, child)
			}
		}
	}
}
