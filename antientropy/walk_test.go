package antientropy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
)

// filled returns two copies that hold the same n elements.
func filled(t *testing.T, n int) (mine, theirs *memory) {
	mine, theirs = newMemory(1), newMemory(2)
	if n == 0 {
		return mine, theirs
	}
	event := theirs.write(t, func(d *crdt.Draft) error {
		for i := range n {
			if _, err := d.AddElement("set", fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := mine.Apply(event); err != nil {
		t.Fatal(err)
	}
	return mine, theirs
}

// Walks in both directions make two copies equal, whatever each has done,
// while both go on writing, and although walks end anywhere.
func TestWalksConverge(t *testing.T) {
	random := seeded(t)
	for run := range 40 {
		a, b := newMemory(1), newMemory(2)
		keys := 1 + random.IntN(60)
		write := func(n int) {
			for range n {
				a.scribble(t, random, keys)
				b.scribble(t, random, keys)
			}
		}
		write(random.IntN(300))
		for range 6 {
			write(random.IntN(20))
			m, peer := a, b
			if random.IntN(2) == 0 {
				m, peer = b, a
			}
			end := random.IntN(8)
			_, err := m.pull(t, peer, 1+random.IntN(3000), func(question int) bool {
				m.scribble(t, random, keys) // between comparing and joining
				peer.scribble(t, random, keys)
				return question < end
			})
			if err != nil {
				t.Fatalf("run %d: %v", run, err)
			}
		}
		for _, pair := range [][2]*memory{{a, b}, {b, a}} {
			if _, err := pair[0].pull(t, pair[1], 1+random.IntN(3000), nil); err != nil {
				t.Fatalf("run %d: %v", run, err)
			}
		}
		if !Agree(a.state(), b.state()) || !a.Equal(b.State) {
			t.Fatalf("run %d: %+v and %+v", run, a.state(), b.state())
		}
	}
}

// What a walk takes follows the difference, not the size.
func TestWalkFollowsDifference(t *testing.T) {
	mine, theirs := filled(t, 5000)
	if sum, err := mine.pull(t, theirs, 1<<20, nil); err != nil || sum != (traffic{1, 1, 0}) {
		t.Errorf("of equal copies: %+v, %v", sum, err)
	}
	theirs.write(t, func(d *crdt.Draft) error {
		_, err := d.AddElement("set", "new")
		return err
	})
	sum, err := mine.pull(t, theirs, 1<<20, nil)
	if err != nil || sum.questions > 4 || sum.parts > 3*fanout || sum.fields > fewEntries {
		t.Errorf("of one difference in 5000: %+v, %v", sum, err)
	}
	if !Agree(mine.state(), theirs.state()) {
		t.Error("they differ")
	}
	empty := newMemory(3)
	if sum, err := empty.pull(t, theirs, 1<<12, nil); err != nil || sum.fields != 5001 {
		t.Errorf("into an empty copy: %+v, %v", sum, err)
	}
}

// A walk that ends half-way leaves what it joined, and another does the rest.
func TestWalkHalfWay(t *testing.T) {
	_, theirs := filled(t, 2000)
	mine := newMemory(1)
	if _, err := mine.pull(t, theirs, 1<<12, func(question int) bool { return question < 4 }); err != nil {
		t.Fatal(err)
	}
	if s := mine.state(); s.Whole || len(s.Vector) > 0 || s.Root.Count == 0 || s.Root.Count >= 2000 {
		t.Errorf("half-way it is %+v", s)
	}
	mine.write(t, func(d *crdt.Draft) error { return d.Delete(crdt.Object{Key: "set", Type: crdt.TypeSet}) })
	if n := mine.state().Root.Count; n != 0 {
		t.Errorf("after a delete %d entries are left", n)
	}
	sum, err := mine.pull(t, theirs, 1<<20, nil)
	if s := mine.state(); err != nil || !s.Whole || s.Root.Count == 0 || s.Root.Count >= 2000 {
		t.Errorf("after the second walk it is %+v, %+v, %v", s, sum, err)
	}
	if _, err := theirs.pull(t, mine, 1<<20, nil); err != nil || !Agree(mine.state(), theirs.state()) {
		t.Errorf("they differ: %+v, %+v, %v", mine.state(), theirs.state(), err)
	}
}

// Answers that do not fit the question are refused and change nothing: the
// right answer is still welcome.
func TestBadAnswers(t *testing.T) {
	mine, theirs := filled(t, 1000)
	theirs.write(t, func(d *crdt.Draft) error {
		_, err := d.AddElement("set", "new")
		return err
	})
	root, _ := mine.Digest("", crdt.End)
	w := NewWalk(root)
	parts, err := Answer(theirs, w.Next(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Receive(parts, mine.Digest); err != nil {
		t.Fatal(err)
	}
	ask := w.Next()
	good, err := Answer(theirs, ask, 1<<20)
	if err != nil || len(ask) == 0 || len(good) < 3 {
		t.Fatalf("%d ranges, %d parts, %v", len(ask), len(good), err)
	}
	change := func(f func(p []Part) []Part) []Part {
		parts := slices.Clone(good)
		for i := range parts {
			parts[i].Fields = slices.Clone(parts[i].Fields)
		}
		return f(parts)
	}
	field := func(at crdt.Position) []crdt.FieldEntries { return []crdt.FieldEntries{{At: at}} }
	for name, bad := range map[string][]Part{
		"a gap at the start":   change(func(p []Part) []Part { return p[1:] }),
		"a gap":                change(func(p []Part) []Part { return slices.Delete(p, 1, 2) }),
		"out of order":         change(func(p []Part) []Part { p[0], p[1] = p[1], p[0]; return p }),
		"twice":                change(func(p []Part) []Part { return append(p[:1], p...) }),
		"an empty part":        change(func(p []Part) []Part { p[0].Hi = p[0].Lo; return p }),
		"a part that is wrong": change(func(p []Part) []Part { p[0].Hi, p[0].Lo = p[0].Lo, p[0].Hi; return p }),
		"begins before":        change(func(p []Part) []Part { p[0].Lo = ""; return p }),
		"ends behind":          change(func(p []Part) []Part { p[len(p)-1].Hi = crdt.End; return p }),
		"too many":             change(func(p []Part) []Part { return append(p, Part{Range: Range{Lo: crdt.End, Hi: crdt.End + "x"}}) }),
		"a field before":       change(func(p []Part) []Part { p[1].Complete, p[1].Fields = true, field(p[0].Lo); return p }),
		"a field behind":       change(func(p []Part) []Part { p[1].Complete, p[1].Fields = true, field(p[1].Hi); return p }),
		"fields out of order": change(func(p []Part) []Part {
			p[1].Complete, p[1].Fields = true, append(field(p[1].Lo+"b"), field(p[1].Lo+"a")...)
			return p
		}),
		"a field twice": change(func(p []Part) []Part {
			p[1].Complete, p[1].Fields = true, append(field(p[1].Lo), field(p[1].Lo)...)
			return p
		}),
	} {
		if joins, err := w.Receive(bad, mine.Digest); !errors.Is(err, ErrBadAnswer) || joins != nil {
			t.Errorf("%s: %d joins, %v", name, len(joins), err)
		}
	}
	joins, err := w.Receive(good, mine.Digest)
	if err != nil || len(joins) == 0 {
		t.Errorf("the right answer after bad ones: %d joins, %v", len(joins), err)
	}
}

// An error of the own side ends the walk.
func TestReceiveError(t *testing.T) {
	w := NewWalk(merkle.Digest{})
	failure := errors.New("disk")
	parts := []Part{{Range: Range{Lo: w.Next()[0].Lo, Hi: crdt.End}}}
	if _, err := w.Receive(parts, func(_, _ crdt.Position) (merkle.Digest, error) { return merkle.Digest{}, failure }); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
}

// liar answers every question with something that fits and may mean nothing.
type liar struct {
	random      *rand.Rand
	least, most int     // how many pieces it cuts from the start of a range
	covers      float64 // how likely it is to go on after that
	honest      float64 // how likely a digest is the asker's own
	settles     float64 // how likely a part is complete
}

func (l liar) answer(ask []Range) []Part {
	var parts []Part
	for _, r := range ask {
		lo := r.Lo
		for n := l.least + l.random.IntN(l.most-l.least+1); n > 0; n-- {
			hi := l.after(lo)
			if hi >= r.Hi {
				hi = lo + "\x00" // between any two bounds there is another
			}
			if hi >= r.Hi {
				break
			}
			parts, lo = append(parts, l.part(lo, hi, r)), hi
		}
		if l.random.Float64() >= l.covers {
			return parts
		}
		parts = append(parts, l.part(lo, r.Hi, r))
	}
	return parts
}

// after returns a bound a little above another.
func (l liar) after(lo crdt.Position) crdt.Position {
	var b [8]byte
	copy(b[:], lo)
	return crdt.Position(binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(b[:])+1+l.random.Uint64N(1<<40)))
}

func (l liar) part(lo, hi crdt.Position, r Range) Part {
	p := Part{Range: Range{lo, hi, merkle.Digest{Count: l.random.Uint64(), Low: l.random.Uint64()}}}
	if l.random.Float64() < l.honest {
		p.Digest = r.Digest
	}
	p.Complete = l.random.Float64() < l.settles
	return p
}

// No peer can keep a walk going for ever, nor fill the memory.
func TestLyingPeers(t *testing.T) {
	random := seeded(t)
	liars := []liar{
		{random, 0, 0, 1, 0, 0},    // says the same again and again
		{random, 1, 1, 1, 0, 0},    // splits for ever
		{random, 50, 50, 1, 0, 0},  // splits into many
		{random, 1, 1, 0, 0, 1},    // takes tiny steps
		{random, 1, 1, 0, 0, 0},    // takes tiny steps that differ
		{random, 0, 0, 0, 0, 0},    // says nothing
		{random, 0, 1, 1, 1, 0},    // says that all is well
		{random, 0, 3, .5, .1, .1}, // some of it all
	}
	for range 20 {
		liars = append(liars, liar{random, 0, 1 + random.IntN(10), random.Float64(), random.Float64(), random.Float64()})
	}
	own := func(lo, hi crdt.Position) (merkle.Digest, error) {
		return merkle.Digest{Count: 7, High: uint64(len(lo)), Low: uint64(len(hi))}, nil
	}
	for _, l := range liars {
		w := NewWalk(merkle.Digest{Count: 7})
		questions, most := 0, 0
		var err error
		for ask := w.Next(); ask != nil && err == nil; ask = w.Next() {
			checkQuestion(t, ask)
			if questions++; questions > maxQuestions {
				t.Fatalf("%+v: still walking", l)
			}
			_, err = w.Receive(l.answer(ask), own)
			most = max(most, len(w.frontier))
		}
		if most > maxFrontier {
			t.Errorf("%+v: %d ranges ahead", l, most)
		}
		t.Logf("%d to %d pieces, covers %.2f, honest %.2f, settles %.2f: %d questions, at most %d ranges, %v",
			l.least, l.most, l.covers, l.honest, l.settles, questions, most, err)
	}
}

// A shard that changes under a walk all the time does not keep it going.
func TestAgainIsBounded(t *testing.T) {
	w := NewWalk(merkle.Digest{Count: 1})
	for n := 0; ; n++ {
		ask := w.Next()
		if _, err := w.Receive([]Part{{Range: ask[0]}}, func(_, _ crdt.Position) (merkle.Digest, error) { return ask[0].Digest, nil }); err != nil {
			t.Fatal(err)
		}
		if !w.Again(ask[0]) {
			if n != maxAgain {
				t.Errorf("after %d times", n)
			}
			return
		}
	}
}

// Ranges that are compared anew come in order.
func TestAgainKeepsOrder(t *testing.T) {
	random := seeded(t)
	w := NewWalk(merkle.Digest{})
	w.Next()
	var bounds []crdt.Position
	for i := range 200 {
		bounds = append(bounds, crdt.Position(fmt.Sprintf("%04d", i)))
	}
	for _, i := range random.Perm(len(bounds) - 1) {
		w.Again(Range{Lo: bounds[i], Hi: bounds[i+1]})
	}
	for n := 0; n < len(bounds)-1; {
		ask := w.Next()
		checkQuestion(t, ask)
		n += len(ask)
	}
}
