package crdt

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// State is a whole copy in memory: live entries and what was heard. It obeys
// the same rules as a copy on disk, and may hold any number of objects.
type State struct {
	heard  *Heard
	fields map[Position]Entries
}

// NewState returns an empty copy that has heard nothing.
func NewState() *State { return &State{NewHeard(nil), map[Position]Entries{}} }

// Heard returns what the copy has heard. The caller must not change it, but
// by the functions Apply and JoinRange.
func (s *State) Heard() *Heard { return s.heard }

// Draft starts an event of the actor, who must write to this copy only. Hand
// the event to Apply, here first and then everywhere. (A copy with ranges ahead
// hands its own to the function Apply: it need not wait for itself.)
func (s *State) Draft(actor Actor) *Draft {
	return NewDraft(Dot{actor, s.heard.Vector()[actor] + 1}, s.heard, s)
}

// Apply brings an event to the copy. It returns nil too if the event was
// applied before, and ErrNotReady if others must come first: deliver these, or
// Merge a copy that has them. An event that is not valid changes nothing.
func (s *State) Apply(e *Event) error {
	if err := e.Validate(); err != nil {
		return err
	}
	switch err := Ready(s.heard, e); err {
	case nil:
		return Apply(s.heard, s, e, "", End)
	case ErrDuplicate:
		return nil
	default:
		return err
	}
}

// Merge joins all of another copy into this one: in any order, any number of
// times, whatever events either has applied.
func (s *State) Merge(o *State) {
	spans := o.heard.Over("", End)
	for i, span := range spans {
		hi := End
		if i+1 < len(spans) {
			hi = spans[i+1].Start
		}
		var theirs []FieldEntries
		for _, at := range o.positions(span.Start, hi) {
			theirs = append(theirs, FieldEntries{at, o.fields[at]})
		}
		// Fields in memory do not fail.
		_ = JoinRange(s.heard, s, span.Start, hi, theirs, span.Vector)
	}
}

// Equal says whether both copies hold the same and have heard the same.
func (s *State) Equal(o *State) bool {
	return slices.Equal(s.heard.AppendTo(nil), o.heard.AppendTo(nil)) &&
		maps.EqualFunc(s.fields, o.fields, Entries.equal)
}

// Clone returns a copy that shares nothing that changes.
func (s *State) Clone() *State { return &State{s.heard.Clone(), maps.Clone(s.fields)} }

// Field returns the entries at the position. It never fails.
func (s *State) Field(at Position) (Entries, error) { return s.fields[at], nil }

// SetField replaces the entries at the position. It is there for Apply and
// JoinRange; programs write through events.
func (s *State) SetField(at Position, es Entries) error {
	if len(es) == 0 {
		delete(s.fields, at)
	} else {
		s.fields[at] = es
	}
	return nil
}

// Visit calls f for every field in [lo, hi) in order.
func (s *State) Visit(lo, hi Position, f func(Position, Entries) error) error {
	for _, at := range s.positions(lo, hi) {
		if err := f(at, s.fields[at]); err != nil {
			return err
		}
	}
	return nil
}

func (s *State) positions(lo, hi Position) []Position {
	var in []Position
	for at := range s.fields {
		if lo <= at && at < hi {
			in = append(in, at)
		}
	}
	slices.Sort(in)
	return in
}

// MarshalBinary returns the canonical encoding: equal copies have equal bytes.
func (s *State) MarshalBinary() ([]byte, error) {
	b := appendString([]byte{stateVersion}, string(s.heard.AppendTo(nil)))
	b = binary.AppendUvarint(b, uint64(len(s.fields)))
	for _, at := range s.positions("", End) {
		b = appendString(b, string(at))
		b = appendString(b, string(s.fields[at].AppendTo(nil)))
	}
	return b, nil
}

// UnmarshalBinary replaces the copy by an encoded one, or leaves it as it was
// and returns what is wrong with the bytes. They must be whole: a state without
// some of its fields would say of these that they were removed.
func (s *State) UnmarshalBinary(b []byte) error {
	d := decoder{rest: b}
	if v := d.byte(); d.err == nil && v != stateVersion {
		return fmt.Errorf("%w: not a state of version %d", ErrInvalid, stateVersion)
	}
	spans := d.bytes(d.uvarint())
	fields := map[Position]Entries{}
	last := Position("")
	for n := d.count(minFieldBytes); n > 0 && d.err == nil; n-- {
		at := Position(d.string())
		encoded := d.bytes(d.uvarint())
		if d.err != nil {
			break
		}
		id, err := DecodePosition(at)
		if err != nil {
			return err
		}
		es, err := DecodeEntries(id.Type, encoded)
		if err != nil {
			return err
		}
		if at <= last || len(es) == 0 {
			d.fail("fields out of order")
		}
		last, fields[at] = at, es
	}
	if err := d.end("state"); err != nil {
		return err
	}
	heard, err := DecodeHeard(spans)
	if err != nil {
		return err
	}
	for at, es := range fields {
		if !es.HeardBy(heard.At(at)) {
			return fmt.Errorf("decoding state: %w: an entry of an event that was not heard", ErrInvalid)
		}
	}
	s.heard, s.fields = heard, fields
	return nil
}
