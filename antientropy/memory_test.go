package antientropy

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
)

// memory is a copy of a shard in memory, as a Source and as one to pull into.
type memory struct {
	*crdt.State
	hasher *merkle.Hasher
	actor  crdt.Actor
}

func newMemory(actor crdt.Actor) *memory {
	return &memory{crdt.NewState(), merkle.NewHasher([32]byte{}), actor}
}

func (m *memory) Spans(lo, hi crdt.Position) []crdt.Span { return m.Heard().Over(lo, hi) }

func (m *memory) Digest(lo, hi crdt.Position) (merkle.Digest, error) {
	var sum merkle.Digest
	err := m.Visit(lo, hi, func(at crdt.Position, es crdt.Entries) error {
		sum = sum.Add(m.of(at, es))
		return nil
	})
	return sum, err
}

func (m *memory) of(at crdt.Position, es crdt.Entries) merkle.Digest {
	var sum merkle.Digest
	for _, e := range es {
		sum = sum.Add(m.hasher.Entry(string(at), e.AppendTo(nil)))
	}
	return sum
}

func (m *memory) Split(r Range, n int) ([]Range, error) {
	each := max(1, (r.Digest.Count+uint64(n)-1)/uint64(n))
	part := Range{Lo: r.Lo}
	var ranges []Range
	err := m.Visit(r.Lo, r.Hi, func(at crdt.Position, es crdt.Entries) error {
		if part.Digest.Count >= each {
			part.Hi = at
			ranges, part = append(ranges, part), Range{Lo: at}
		}
		part.Digest = part.Digest.Add(m.of(at, es))
		return nil
	})
	part.Hi = r.Hi
	return append(ranges, part), err
}

func (m *memory) Fields(lo, hi crdt.Position, visit func(f crdt.FieldEntries, bytes int) bool) error {
	stopped := false
	return m.Visit(lo, hi, func(at crdt.Position, es crdt.Entries) error {
		stopped = stopped || !visit(crdt.FieldEntries{At: at, Entries: es}, len(at)+len(es.AppendTo(nil)))
		return nil
	})
}

// write does some operations in one event and returns it.
func (m *memory) write(t testing.TB, f func(*crdt.Draft) error) *crdt.Event {
	t.Helper()
	d := m.Draft(m.actor)
	if err := f(d); err != nil {
		t.Fatal(err)
	}
	event, changed := d.Event(0)
	if !changed {
		return nil
	}
	if err := crdt.Apply(m.Heard(), m, event, "", crdt.End); err != nil {
		t.Fatal(err)
	}
	return event
}

// scribble writes something random.
func (m *memory) scribble(t testing.TB, random *rand.Rand, keys int) *crdt.Event {
	key, element := fmt.Sprint("k", random.IntN(keys)), fmt.Sprint(random.IntN(2*keys))
	return m.write(t, func(d *crdt.Draft) error {
		var err error
		switch random.IntN(8) {
		case 0:
			_, err = d.RemoveElement("set", element)
		case 1:
			_, err = d.RemoveElement(key, element)
		case 2:
			_, err = d.AddToCounter(key, 1)
		case 3:
			err = d.WriteRegister(key, 0, []byte(element))
		case 4:
			err = d.Delete(crdt.Object{Key: key, Type: crdt.Types[random.IntN(3)]})
		default:
			_, err = d.AddElement("set", element)
		}
		return err
	})
}

// state is what the copy says of itself.
func (m *memory) state() State {
	root, _ := m.Digest("", crdt.End)
	return State{m.Heard().Vector(), root, m.Heard().Whole()}
}

// join takes in a part as the engine does: against the state of now. It
// returns false if the part must be compared again.
func (m *memory) join(t testing.TB, p Part) (Range, bool) {
	t.Helper()
	own, _ := m.Digest(p.Lo, p.Hi)
	switch {
	case p.Complete:
		if err := crdt.JoinRange(m.Heard(), m, p.Lo, p.Hi, p.Fields, p.Heard); err != nil {
			t.Fatal(err)
		}
	case own == p.Digest:
		m.Heard().Join(p.Lo, p.Hi, p.Heard)
	default:
		return Range{p.Lo, p.Hi, own}, false
	}
	return Range{}, true
}

// traffic is what a walk took.
type traffic struct{ questions, parts, fields int }

// pull walks through the copy of a peer. Meanwhile is called after each
// question and ends the walk by returning false.
func (m *memory) pull(t testing.TB, peer Source, budget int, meanwhile func(question int) bool) (traffic, error) {
	t.Helper()
	var sum traffic
	root, _ := m.Digest("", crdt.End)
	w := NewWalk(root)
	for ask := w.Next(); ask != nil; ask = w.Next() {
		checkQuestion(t, ask)
		sum.questions++
		parts, err := Answer(peer, ask, budget)
		if err != nil {
			t.Fatal(err)
		}
		sum.parts += len(parts)
		joins, err := w.Receive(parts, m.Digest)
		if err != nil {
			return sum, err
		}
		if meanwhile != nil && !meanwhile(sum.questions) {
			return sum, nil
		}
		for _, p := range joins {
			sum.fields += len(p.Fields)
			if again, joined := m.join(t, p); !joined && !w.Again(again) {
				return sum, nil
			}
		}
	}
	return sum, nil
}

// checkQuestion checks what an answering side may rely on.
func checkQuestion(t testing.TB, ranges []Range) {
	t.Helper()
	if len(ranges) == 0 || len(ranges) > maxAsked {
		t.Fatalf("a question of %d ranges", len(ranges))
	}
	for i, r := range ranges {
		if r.Lo >= r.Hi || i > 0 && r.Lo < ranges[i-1].Hi {
			t.Fatalf("range %d of a question is [%x, %x), after one up to %x", i, r.Lo, r.Hi, ranges[max(0, i-1)].Hi)
		}
	}
}

// seeded returns a source of randomness, the seed of which is printed.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
