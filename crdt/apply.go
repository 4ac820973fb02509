package crdt

import (
	"errors"
	"fmt"
)

var (
	// ErrDuplicate says that an event was applied before; there is nothing to do.
	ErrDuplicate = errors.New("event already applied")
	// ErrNotReady says that an event must wait for others that it builds on.
	ErrNotReady = errors.New("event waits for others")
)

// Fields is where the entries of a copy live: a map in memory, a transaction
// on disk.
type Fields interface {
	// Field returns the entries at the position, none if it is absent. The
	// caller does not change them.
	Field(Position) (Entries, error)
	// SetField replaces the entries at the position; no entries remove it.
	SetField(Position, Entries) error
	// Visit calls f for every position in [lo, hi) that has entries, in
	// order. f may call Field and SetField for positions up to the one it is
	// given.
	Visit(lo, hi Position, f func(Position, Entries) error) error
}

// Ready returns nil if the event can be applied to a copy that heard h, or
// ErrDuplicate, or ErrNotReady. An event waits for its actor's previous one,
// and until every range that it touches has heard its dependencies.
func Ready(h *Heard, e *Event) error {
	v := h.Vector()
	switch have := v[e.Dot.Actor]; {
	case e.Dot.Seq <= have:
		return ErrDuplicate
	case e.Dot.Seq > have+1:
		return fmt.Errorf("%w: %s after %d", ErrNotReady, e.Dot, have)
	}
	if v.Dominates(e.Deps) {
		return nil
	}
	for _, c := range e.Changes {
		if !h.At(c.Field.Position()).Dominates(e.Deps) {
			return fmt.Errorf("%w: %s on %s", ErrNotReady, e.Dot, e.Deps)
		}
	}
	for _, c := range e.Clears {
		for _, span := range h.Over(c.Object.Range()) {
			if !span.Vector.Dominates(e.Deps) {
				return fmt.Errorf("%w: %s on %s", ErrNotReady, e.Dot, e.Deps)
			}
		}
	}
	return nil
}

// Apply brings the effect of an event that is Ready to the fields in [lo, hi)
// and writes down that they heard it. A copy that cannot change all at once
// goes through the whole order range by range, in as many atomic steps: the
// event counts as heard by a range from the step that changed it. The writer
// of an event need not ask whether it is Ready, but must bring it to the whole
// order before it drafts the next.
func Apply(h *Heard, fields Fields, e *Event, lo, hi Position) error {
	for _, c := range e.within(lo, hi) {
		at := c.Field.Position()
		es, err := fields.Field(at)
		if err != nil {
			return err
		}
		heard := h.At(at)
		for _, put := range c.Puts {
			es = es.put(put, heard)
		}
		for _, d := range c.Removes {
			es = es.without(func(e Entry) bool { return e.Dot == d })
		}
		if err := fields.SetField(at, es); err != nil {
			return err
		}
	}
	for _, c := range e.Clears {
		from, to := c.Object.Range()
		err := fields.Visit(max(lo, from), min(hi, to), func(at Position, es Entries) error {
			return fields.SetField(at, es.cleared(c.UpTo))
		})
		if err != nil {
			return err
		}
	}
	h.Observe(lo, hi, e.Dot)
	return nil
}

// FieldEntries is one field of a pulled range.
type FieldEntries struct {
	At      Position
	Entries Entries
}

// JoinRange merges the fields of [lo, hi) of another copy, all of them and in
// order, which had heard theirsHeard there when they were read. Fields and h
// change together or not at all.
func JoinRange(h *Heard, fields Fields, lo, hi Position, theirs []FieldEntries, theirsHeard VersionVector) error {
	set := func(at Position, mine, theirs Entries) error {
		joined := JoinEntries(mine, theirs, h.At(at), theirsHeard)
		if joined.equal(mine) {
			return nil
		}
		return fields.SetField(at, joined)
	}
	err := fields.Visit(lo, hi, func(at Position, mine Entries) error {
		for len(theirs) > 0 && theirs[0].At < at {
			if err := set(theirs[0].At, nil, theirs[0].Entries); err != nil {
				return err
			}
			theirs = theirs[1:]
		}
		var same Entries
		if len(theirs) > 0 && theirs[0].At == at {
			same, theirs = theirs[0].Entries, theirs[1:]
		}
		return set(at, mine, same)
	})
	if err != nil {
		return err
	}
	for _, f := range theirs {
		if err := set(f.At, nil, f.Entries); err != nil {
			return err
		}
	}
	h.Join(lo, hi, theirsHeard)
	return nil
}
