package antientropy

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
)

// FuzzDecodeState: what is taken for a state says the same when it is encoded
// again.
func FuzzDecodeState(f *testing.F) {
	for _, s := range []State{
		{Vector: crdt.VersionVector{}},
		{Vector: crdt.VersionVector{1: 5, 9: 1 << 60}, Root: merkle.Digest{Count: 3, High: 1, Low: 2}, Whole: true},
	} {
		b, err := proto.Marshal(s.Message(7))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m pb.ShardState
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		s, err := DecodeState(&m)
		if err != nil {
			if !errors.Is(err, crdt.ErrInvalid) && !errors.Is(err, merkle.ErrMalformed) {
				t.Errorf("%v says neither of what is wrong", err)
			}
			return
		}
		again := s.Message(int(m.GetShard()))
		if !bytes.Equal(again.Vector, m.GetVector()) || !bytes.Equal(again.Root, m.GetRoot()) || again.Whole != m.GetWhole() {
			t.Errorf("%v is taken for %v", &m, again)
		}
	})
}

// FuzzWalk lets a peer answer a walk as the bytes say: the ranges asked for
// whole, cut anywhere, out of order or beyond their ends, with fields or
// without. Whatever it answers, the walk comes to an end, an answer that does
// not fit is refused and changes nothing, and at any moment what was joined and
// what is still to be compared are the whole order, once.
func FuzzWalk(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0x40, 1, 0x80, 0, 2, 0x20, 0, 3, 0x41, 0})
	f.Add([]byte{1, 0x40, 4, 1, 5, 0x80})
	f.Fuzz(func(t *testing.T, script []byte) {
		take := func() byte {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return b
		}
		w := NewWalk(merkle.Digest{Count: 1})
		var joined []Range
		for ask := w.Next(); ask != nil; ask = w.Next() {
			ended := len(script) == 0
			parts := scripted(slices.Clone(ask), take)
			before := append(slices.Clone(ask), w.frontier...)
			joins, err := w.Receive(parts, func(crdt.Position, crdt.Position) (merkle.Digest, error) {
				return merkle.Digest{Count: uint64(take() % 2)}, nil
			})
			if err != nil {
				if !errors.Is(err, ErrBadAnswer) {
					t.Errorf("%v is not ErrBadAnswer", err)
				}
				tiles(t, append(before, joined...))
				return
			}
			for _, p := range joins {
				joined = append(joined, p.Range)
			}
			if len(joins) > 0 && take()%8 == 7 { // it changed meanwhile
				joined = joined[:len(joined)-1]
				w.Again(joins[len(joins)-1].Range)
			}
			tiles(t, append(slices.Clone(w.frontier), joined...))
			if ended && w.questions > 10_000 {
				t.Fatalf("no end after %d questions", w.questions)
			}
		}
	})
}

// scripted makes an answer to the ranges asked for.
func scripted(asked []Range, take func() byte) (parts []Part) {
	for len(asked) > 0 {
		r, kind := asked[0], take()
		part := Part{Range: Range{r.Lo, r.Hi, merkle.Digest{Count: uint64(kind >> 7)}}, Complete: kind&0x40 != 0}
		cut := r.Lo + crdt.Position([]byte{take()})
		switch kind % 8 {
		case 1, 2, 3: // a piece from its start
			part.Hi = cut
		case 4: // a gap
			part.Lo = cut
		case 5: // beyond its end
			part.Hi += "\x01"
		case 6:
			return parts
		case 7:
			if part.Complete {
				part.Fields = []crdt.FieldEntries{{At: cut}}
			}
		}
		if parts = append(parts, part); part.Hi >= r.Hi {
			asked = asked[1:]
		} else {
			asked[0].Lo = part.Hi
		}
		if len(parts) > 200 {
			return parts
		}
	}
	return parts
}

// tiles checks that ranges are the whole order, without gaps and overlaps.
func tiles(t *testing.T, ranges []Range) {
	t.Helper()
	slices.SortFunc(ranges, func(a, b Range) int { return strings.Compare(string(a.Lo), string(b.Lo)) })
	at := crdt.Position("")
	for _, r := range ranges {
		if r.Lo == r.Hi {
			continue
		}
		if r.Lo != at || r.Hi < r.Lo {
			t.Fatalf("after %x comes [%x, %x)", at, r.Lo, r.Hi)
		}
		at = r.Hi
	}
	if at != crdt.End {
		t.Fatalf("nothing after %x", at)
	}
}
