package crdt

import (
	"slices"
)

// Payload is what an entry carries: a small lattice of its own. There are
// four: Presence, Sibling, Contribution and Record.
type Payload interface {
	// join returns the least payload above both. Payloads of one entry are of
	// one kind; join of different kinds returns the receiver.
	join(Payload) Payload
	appendTo([]byte) []byte
}

// Presence is the payload of a set's element: nothing but being there.
type Presence struct{}

func (p Presence) join(Payload) Payload { return p }

// Entry is one dotted value of a field. The dot is that of the event that
// created it; with its field it identifies the entry for good. Payloads are
// values and never changed in place.
type Entry struct {
	Dot     Dot
	Payload Payload
}

// Entries are the live entries of one field, in dot order. Functions on them
// return new slices and leave their arguments as they were.
type Entries []Entry

// Find returns the index of the entry and whether it is there; if not, the
// index is where it would be.
func (es Entries) Find(d Dot) (int, bool) {
	return slices.BinarySearchFunc(es, d, func(e Entry, d Dot) int { return e.Dot.Compare(d) })
}

// with returns es with e inserted, or in place of the entry of the same dot.
func (es Entries) with(e Entry) Entries {
	i, ok := es.Find(e.Dot)
	if ok {
		out := slices.Clone(es)
		out[i] = e
		return out
	}
	out := make(Entries, 0, len(es)+1)
	return append(append(append(out, es[:i]...), e), es[i:]...)
}

// without returns es less the entries for which gone holds.
func (es Entries) without(gone func(Entry) bool) Entries {
	if !slices.ContainsFunc(es, gone) {
		return es
	}
	return slices.DeleteFunc(slices.Clone(es), gone)
}

// put applies a put to a field that has heard the given events: a present
// entry joins, an absent one that was heard of stays removed.
func (es Entries) put(e Entry, heard VersionVector) Entries {
	if i, ok := es.Find(e.Dot); ok {
		e.Payload = es[i].Payload.join(e.Payload)
		return es.with(e)
	}
	if heard.Covers(e.Dot) {
		return es
	}
	return es.with(e)
}

// cleared returns es less what a clear up to the vector takes. Counter
// contributions outlive clears: they end by being reset.
func (es Entries) cleared(upTo VersionVector) Entries {
	return es.without(func(e Entry) bool { return takenByClear(e, upTo) })
}

func takenByClear(e Entry, upTo VersionVector) bool {
	_, contribution := e.Payload.(Contribution)
	return !contribution && upTo.Covers(e.Dot)
}

// JoinEntries merges two copies of one field, each with what its bucket had
// heard when it was read: entries in both join, an entry in one only stays
// unless the other had heard of it and so must have seen it removed.
func JoinEntries(mine, theirs Entries, mineHeard, theirsHeard VersionVector) Entries {
	out := make(Entries, 0, max(len(mine), len(theirs)))
	for len(mine) > 0 || len(theirs) > 0 {
		order := -1
		switch {
		case len(mine) == 0:
			order = 1
		case len(theirs) > 0:
			order = mine[0].Dot.Compare(theirs[0].Dot)
		}
		switch {
		case order < 0:
			if !theirsHeard.Covers(mine[0].Dot) {
				out = append(out, mine[0])
			}
			mine = mine[1:]
		case order > 0:
			if !mineHeard.Covers(theirs[0].Dot) {
				out = append(out, theirs[0])
			}
			theirs = theirs[1:]
		default:
			out = append(out, Entry{mine[0].Dot, mine[0].Payload.join(theirs[0].Payload)})
			mine, theirs = mine[1:], theirs[1:]
		}
	}
	return out
}

// HeardBy says whether the entries, as they are, are the effect of events that
// v covers.
func (es Entries) HeardBy(v VersionVector) bool {
	return !slices.ContainsFunc(es, func(e Entry) bool {
		c, _ := e.Payload.(Contribution)
		return e.Dot.Seq > v[e.Dot.Actor] || c.N > v[e.Dot.Actor]
	})
}

// equal says whether both hold the same dots with the same payloads.
func (es Entries) equal(o Entries) bool {
	return slices.EqualFunc(es, o, func(a, b Entry) bool {
		return a.Dot == b.Dot && samePayload(a.Payload, b.Payload)
	})
}

func samePayload(a, b Payload) bool {
	switch x := a.(type) {
	case Sibling:
		y, both := b.(Sibling)
		return both && x.Time == y.Time && slices.Equal(x.Value, y.Value)
	case Contribution:
		y, both := b.(Contribution)
		return both && x.N == y.N && x.Total == y.Total && x.ResetN == y.ResetN && x.ResetTotal == y.ResetTotal &&
			slices.Equal(x.Corrections, y.Corrections)
	case Record:
		y, both := b.(Record)
		return both && x == y
	}
	_, both := b.(Presence)
	return both
}
