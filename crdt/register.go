package crdt

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/atolldb/atoll/internal/hlc"
)

// Sibling is one value of a register.
//
// Last-writer-wins by a timestamp alone loses concurrent writes silently and
// lets one wrong clock rule for ever. Here time only arbitrates between
// writes that did not see each other: a write replaces exactly what its writer
// had seen, whatever the clocks say, and concurrent values stay readable until
// somebody who saw them writes again.
type Sibling struct {
	// Time decides which of several siblings is shown: the largest, ties by
	// the larger dot. It exceeds that of every sibling the writer saw.
	Time  uint64
	Value []byte // never changed in place
}

// join keeps the larger of two payloads that should be the same: a sibling is
// written once.
func (s Sibling) join(p Payload) Payload {
	o, ok := p.(Sibling)
	if ok && (o.Time > s.Time || o.Time == s.Time && bytes.Compare(o.Value, s.Value) > 0) {
		return o
	}
	return s
}

// Winner returns the entry of a register that a plain read shows: the sibling
// of the largest time, ties broken by the larger dot; false if there is none.
func Winner(es Entries) (Entry, bool) {
	best, found := Entry{}, false
	var bestTime uint64
	for _, e := range es {
		s, ok := e.Payload.(Sibling)
		if ok && (!found || s.Time >= bestTime) { // es is in dot order
			best, bestTime, found = e, s.Time, true
		}
	}
	return best, found
}

// writeRegister replaces all that is there by one sibling. Its time is now,
// or just above the siblings seen if they are ahead of the writer's clock.
func writeRegister(es Entries, dot Dot, now uint64, value []byte) Entries {
	for _, e := range es {
		if s, ok := e.Payload.(Sibling); ok {
			now = uint64(hlc.Timestamp(now).After(hlc.Timestamp(s.Time)))
		}
	}
	return Entries{{dot, Sibling{Time: now, Value: value}}}
}

// Crowded says that the values of a register's siblings take more than
// MaxSiblingsBytes together.
func Crowded(es Entries) bool { return len(latest(es)) < len(es) }

// latest returns the siblings of a register less the earliest, if it is crowded.
// Who does so elsewhere, of other siblings, takes none away that is later than
// all others: the latest of all outlasts everybody's choice.
func latest(es Entries) Entries {
	n := 0
	for _, e := range es {
		s, _ := e.Payload.(Sibling)
		n += len(s.Value)
	}
	if n <= MaxSiblingsBytes {
		return es
	}
	kept := map[Dot]bool{}
	n = 0
	for _, e := range Ranked(es) {
		if n += len(e.Payload.(Sibling).Value); n > MaxSiblingsBytes {
			break
		}
		kept[e.Dot] = true
	}
	return es.without(func(e Entry) bool { return !kept[e.Dot] })
}

// Ranked returns the siblings of a register as entries, the winner first, the
// others from latest to earliest.
func Ranked(es Entries) Entries {
	ranked := make(Entries, 0, len(es))
	for _, e := range slices.Backward(es) {
		if _, ok := e.Payload.(Sibling); ok {
			ranked = append(ranked, e)
		}
	}
	slices.SortStableFunc(ranked, func(a, b Entry) int {
		return cmp.Compare(b.Payload.(Sibling).Time, a.Payload.(Sibling).Time)
	})
	return ranked
}
