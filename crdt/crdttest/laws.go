package crdttest

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolldb/atoll/crdt"
)

// Mergeable is a copy of something that merges, of type T itself.
type Mergeable[T any] interface {
	Merge(T)
	Apply(*crdt.Event) error
	MarshalBinary() ([]byte, error)
	UnmarshalBinary([]byte) error
}

// Kind is a type to put to the test.
type Kind[T Mergeable[T]] struct {
	// New returns an empty copy that writes under the actor.
	New func(crdt.Actor) T
	// Write does one random operation at a copy and returns its delta, nil if
	// it changed nothing.
	Write func(*rapid.T, T) (*crdt.Event, error)
	// Heard returns what all of a copy has heard; the suite does not change it.
	Heard func(T) crdt.VersionVector
	// Show returns the value of a copy as a program reads it.
	Show func(T) string
}

// Laws checks that a type obeys the laws: merge is commutative, associative and
// idempotent and never forgets, deltas come to the same as whole states, and
// encodings are canonical, none the beginning of another. Histories are random;
// a failure prints the shortest one that was found, and the seed.
func Laws[T Mergeable[T]](t *testing.T, k Kind[T]) {
	laws := []struct {
		name  string
		holds func(*laboratory[T])
	}{
		{"merge is commutative", (*laboratory[T]).commutative},
		{"merge is associative", (*laboratory[T]).associative},
		{"merge is idempotent", (*laboratory[T]).idempotent},
		{"merge only adds to what was heard", (*laboratory[T]).inflating},
		{"deltas in any causal order equal the merge of all", (*laboratory[T]).deltasEqualStates},
		{"a delta that is early or late changes nothing", (*laboratory[T]).deltasWait},
		{"what heard the same is the same", (*laboratory[T]).canonical},
		{"decoding brings back what was encoded", (*laboratory[T]).roundTrip},
		{"bytes that no copy encodes to are refused", (*laboratory[T]).strict},
		{"what was cut short is refused", (*laboratory[T]).whole},
	}
	for _, law := range laws {
		t.Run(law.name, rapid.MakeCheck(func(t *rapid.T) {
			l := &laboratory[T]{T: t, kind: k}
			l.grow()
			law.holds(l)
		}))
	}
}

// laboratory is a few copies after a random history.
type laboratory[T Mergeable[T]] struct {
	*rapid.T
	kind   Kind[T]
	copies []T
	deltas []*crdt.Event // in the order in which they were written
}

// grow lets the copies live a while.
func (l *laboratory[T]) grow() {
	n := rapid.IntRange(2, 4).Draw(l.T, "copies")
	for i := range n {
		l.copies = append(l.copies, l.kind.New(crdt.Actor(7*(i+1)%5+1)))
	}
	steps := rapid.IntRange(1, 20).Draw(l.T, "steps")
	for range steps {
		c := l.one("copy")
		switch rapid.SampledFrom([]string{"write", "deliver", "write", "deliver", "merge"}).Draw(l.T, "step") {
		case "write":
			delta, err := l.kind.Write(l.T, c)
			l.must(err)
			if delta != nil {
				l.deltas = append(l.deltas, delta)
			}
		case "deliver":
			if len(l.deltas) > 0 {
				if err := c.Apply(l.delta()); err != nil && !errors.Is(err, crdt.ErrNotReady) {
					l.Fatalf("a delta is refused: %v", err)
				}
			}
		case "merge":
			c.Merge(l.one("from"))
		}
	}
}

func (l *laboratory[T]) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *laboratory[T]) one(name string) T {
	return l.copies[rapid.IntRange(0, len(l.copies)-1).Draw(l.T, name)]
}

// delta returns one of the deltas as it comes over a wire.
func (l *laboratory[T]) delta() *crdt.Event {
	return l.sent(l.deltas[rapid.IntRange(0, len(l.deltas)-1).Draw(l.T, "delta")])
}

func (l *laboratory[T]) sent(e *crdt.Event) *crdt.Event {
	decoded, err := crdt.DecodeEvent(e.AppendTo(nil))
	l.must(err)
	return decoded
}

func (l *laboratory[T]) encode(c T) []byte {
	b, err := c.MarshalBinary()
	l.must(err)
	return b
}

// fresh returns an empty copy that never writes.
func (l *laboratory[T]) fresh() T { return l.kind.New(99) }

func (l *laboratory[T]) clone(c T) T {
	clone := l.fresh()
	l.must(clone.UnmarshalBinary(l.encode(c)))
	return clone
}

// merged returns the merge of copies, which it leaves as they are.
func (l *laboratory[T]) merged(first T, others ...T) T {
	sum := l.clone(first)
	for _, o := range others {
		sum.Merge(o)
	}
	return sum
}

func (l *laboratory[T]) same(a, b T, what string) {
	l.Helper()
	if x, y := l.encode(a), l.encode(b); !bytes.Equal(x, y) || l.kind.Show(a) != l.kind.Show(b) {
		l.Fatalf("%s\n%x shows %s\n%x shows %s", what, x, l.kind.Show(a), y, l.kind.Show(b))
	}
}

func (l *laboratory[T]) commutative() {
	a, b := l.one("a"), l.one("b")
	l.same(l.merged(a, b), l.merged(b, a), "a+b and b+a differ")
}

func (l *laboratory[T]) associative() {
	a, b, c := l.one("a"), l.one("b"), l.one("c")
	l.same(l.merged(l.merged(a, b), c), l.merged(a, l.merged(b, c)), "(a+b)+c and a+(b+c) differ")
}

func (l *laboratory[T]) idempotent() {
	a, b := l.one("a"), l.one("b")
	l.same(l.merged(a, a), a, "a+a and a differ")
	a = l.clone(a)
	before := l.clone(a)
	a.Merge(a)
	l.same(a, before, "a copy merged into itself changes")
	l.same(l.merged(a, b, b), l.merged(a, b), "a+b+b and a+b differ")
}

func (l *laboratory[T]) inflating() {
	a, b := l.one("a"), l.one("b")
	sum := l.merged(a, b)
	want := l.kind.Heard(a).Clone()
	for actor, seq := range l.kind.Heard(b) {
		want[actor] = max(want[actor], seq)
	}
	if got := l.kind.Heard(sum); got.String() != want.String() {
		l.Fatalf("a+b heard %s, want %s", got, want)
	}
	l.same(l.merged(sum, a), sum, "a+b+a and a+b differ")
}

func (l *laboratory[T]) deltasEqualStates() {
	states := l.fresh()
	for _, c := range l.copies {
		states.Merge(c)
	}
	deltas := l.fresh()
	waiting := rapid.Permutation(l.deltas).Draw(l.T, "order")
	for len(waiting) > 0 {
		var still []*crdt.Event
		for _, e := range waiting {
			switch err := deltas.Apply(l.sent(e)); {
			case errors.Is(err, crdt.ErrNotReady):
				still = append(still, e)
			case err != nil:
				l.Fatalf("a delta is refused: %v", err)
			}
		}
		if len(still) == len(waiting) {
			l.Fatalf("%d deltas are never ready", len(still))
		}
		waiting = still
	}
	l.same(deltas, states, "deltas and states come to different things")
}

func (l *laboratory[T]) deltasWait() {
	if len(l.deltas) == 0 {
		return
	}
	c, delta := l.one("copy"), l.delta()
	before := l.clone(c)
	late := delta.Dot.Seq <= l.kind.Heard(c)[delta.Dot.Actor]
	switch err := c.Apply(delta); {
	case late && err != nil:
		l.Fatalf("a delta that comes again is refused: %v", err)
	case late, errors.Is(err, crdt.ErrNotReady):
		l.same(c, before, "a delta that is early or late changes the copy")
	case err != nil:
		l.Fatalf("a delta is refused: %v", err)
	case !l.kind.Heard(c).Covers(delta.Dot):
		l.Fatalf("%s was applied and not heard", delta.Dot)
	}
}

func (l *laboratory[T]) canonical() {
	all := append([]T{l.merged(l.one("a"), l.one("b")), l.merged(l.one("c"), l.one("d"))}, l.copies...)
	for i, a := range all {
		for _, b := range all[:i] {
			if l.kind.Heard(a).String() == l.kind.Heard(b).String() {
				l.same(a, b, "two copies heard the same and differ")
			}
		}
	}
}

func (l *laboratory[T]) roundTrip() {
	a := l.one("a")
	l.same(l.clone(a), a, "decoded and encoded differ")
	for _, e := range l.deltas {
		if x, y := e.AppendTo(nil), l.sent(e).AppendTo(nil); !bytes.Equal(x, y) {
			l.Fatalf("an event decoded and encoded again differs\n%x\n%x", x, y)
		}
	}
}

// strict damages bytes: a decoder must refuse them, unless by chance they are
// what something else encodes to.
func (l *laboratory[T]) strict() {
	a, b := l.one("a"), l.one("b")
	damaged := l.damage(l.encode(a))
	victim := l.clone(b)
	if err := victim.UnmarshalBinary(damaged); err == nil {
		if again := l.encode(victim); !bytes.Equal(again, damaged) {
			l.Fatalf("%x is taken for %x", damaged, again)
		}
	} else {
		if !errors.Is(err, crdt.ErrInvalid) {
			l.Fatalf("the error is not ErrInvalid: %v", err)
		}
		l.same(victim, b, "a failed decoding changes the copy")
	}
	if len(l.deltas) == 0 {
		return
	}
	damaged = l.damage(l.delta().AppendTo(nil))
	if e, err := crdt.DecodeEvent(damaged); err == nil && !bytes.Equal(e.AppendTo(nil), damaged) {
		l.Fatalf("event %x is taken for %x", damaged, e.AppendTo(nil))
	}
}

// whole cuts encodings short at every byte. A state without its last fields
// would say of them that they were removed, and take them from whoever merges it.
func (l *laboratory[T]) whole() {
	a, b := l.one("a"), l.one("b")
	encoded, victim := l.encode(a), l.clone(b)
	for n := range encoded {
		if err := victim.UnmarshalBinary(encoded[:n]); !errors.Is(err, crdt.ErrInvalid) {
			l.Fatalf("the first %d of %x: the error is %v, want ErrInvalid", n, encoded, err)
		}
	}
	l.same(victim, b, "a failed decoding changes the copy")
	if len(l.deltas) == 0 {
		return
	}
	encoded = l.delta().AppendTo(nil)
	for n := range encoded {
		if _, err := crdt.DecodeEvent(encoded[:n]); !errors.Is(err, crdt.ErrInvalid) {
			l.Fatalf("the first %d of event %x: the error is %v, want ErrInvalid", n, encoded, err)
		}
	}
}

// damage changes, removes, inserts or repeats a few bytes.
func (l *laboratory[T]) damage(b []byte) []byte {
	b = bytes.Clone(b)
	for range rapid.IntRange(1, 3).Draw(l.T, "damages") {
		if len(b) == 0 {
			return b
		}
		at := rapid.IntRange(0, len(b)-1).Draw(l.T, "at")
		end := min(len(b), at+rapid.IntRange(1, 24).Draw(l.T, "length"))
		switch rapid.SampledFrom([]string{"change", "remove", "insert", "repeat"}).Draw(l.T, "damage") {
		case "change":
			b[at] = rapid.Byte().Draw(l.T, "byte")
		case "remove":
			b = append(b[:at:at], b[end:]...)
		case "insert":
			b = append(append(b[:at:at], rapid.Byte().Draw(l.T, "byte")), b[at:]...)
		case "repeat":
			b = append(append(b[:end:end], b[at:end]...), b[end:]...)
		}
	}
	return b
}
