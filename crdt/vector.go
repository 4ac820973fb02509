package crdt

import (
	"maps"
	"slices"
	"strings"
)

// VersionVector says which events were heard: of each actor all up to a seq,
// without gaps. An absent actor stands at 0. The nil map is the empty vector;
// reading it is fine, Observe and Join need a made one.
type VersionVector map[Actor]uint64

// Order is how two vectors stand to each other.
type Order int

// The four ways in which two vectors can stand to each other.
const (
	Equal Order = iota
	Before
	After
	Concurrent
)

// Covers says whether the event was heard.
func (v VersionVector) Covers(d Dot) bool { return d.Seq <= v[d.Actor] }

// Observe raises the actor's component to the dot's seq.
func (v VersionVector) Observe(d Dot) {
	if d.Seq > v[d.Actor] {
		v[d.Actor] = d.Seq
	}
}

// Join raises every component to the other's: the union of what both heard.
func (v VersionVector) Join(o VersionVector) {
	for a, seq := range o {
		if seq > v[a] {
			v[a] = seq
		}
	}
}

// Meet returns what both vectors heard.
func (v VersionVector) Meet(o VersionVector) VersionVector {
	m := make(VersionVector, min(len(v), len(o)))
	for a, seq := range v {
		if lower := min(seq, o[a]); lower > 0 {
			m[a] = lower
		}
	}
	return m
}

// Dominates says whether v heard everything that o heard.
func (v VersionVector) Dominates(o VersionVector) bool {
	for a, seq := range o {
		if seq > v[a] {
			return false
		}
	}
	return true
}

// Compare returns Before if o heard all that v did and more, After the other
// way round, Equal or Concurrent.
func (v VersionVector) Compare(o VersionVector) Order {
	over, under := v.Dominates(o), o.Dominates(v)
	switch {
	case over && under:
		return Equal
	case over:
		return After
	case under:
		return Before
	}
	return Concurrent
}

// Missing counts the events that o heard and v did not.
func (v VersionVector) Missing(o VersionVector) uint64 {
	var n uint64
	for a, seq := range o {
		if have := v[a]; seq > have {
			n += seq - have
		}
	}
	return n
}

// Clone returns a copy that shares nothing; it is never nil.
func (v VersionVector) Clone() VersionVector {
	if v == nil {
		return VersionVector{}
	}
	return maps.Clone(v)
}

// Actors returns the actors with a component above 0, in ascending order.
func (v VersionVector) Actors() []Actor {
	actors := make([]Actor, 0, len(v))
	for a, seq := range v {
		if seq > 0 {
			actors = append(actors, a)
		}
	}
	slices.Sort(actors)
	return actors
}

// String lists the dots in actor order.
func (v VersionVector) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, a := range v.Actors() {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(Dot{a, v[a]}.String())
	}
	b.WriteByte('}')
	return b.String()
}
