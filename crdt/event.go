package crdt

import (
	"fmt"
	"slices"
)

// Event is the net effect of the operations that one actor did at once: at
// most one put per field under the event's own dot, and no put and remove of
// one entry.
type Event struct {
	Dot Dot
	// Deps is what the writer had heard of the buckets that the event touches.
	// A copy waits until it heard the same: a remove may otherwise overtake
	// the add it removes. The predecessor of Dot is implied.
	Deps VersionVector
	// Time is the writer's clock in unix milliseconds, to measure lag with. It
	// decides nothing.
	Time    int64
	Changes []Change // in position order
	Clears  []Clear  // in order of the objects' positions
}

// Change is what an event does to one field.
type Change struct {
	Field   FieldID
	Puts    Entries // the event's own dot, or older ones of contributions
	Removes []Dot   // entries that the writer observed, in dot order
}

// Clear removes every entry of an object that UpTo covers, but contributions.
// It takes one record however large the object is.
type Clear struct {
	Object Object
	UpTo   VersionVector
}

// Validate checks the rules that a well-formed event obeys, whoever made it.
func (e *Event) Validate() error {
	if err := e.Dot.validate(); err != nil {
		return err
	}
	if e.Deps[e.Dot.Actor] > 0 {
		return fmt.Errorf("event %s: %w: deps name the writer, whose own events are implied", e.Dot, ErrInvalid)
	}
	last := Position("")
	for i := range e.Changes {
		c := &e.Changes[i]
		if err := c.validate(e); err != nil {
			return fmt.Errorf("event %s, %s: %w", e.Dot, c.Field.Object, err)
		}
		at := c.Field.Position()
		if at <= last {
			return fmt.Errorf("event %s: %w: changes out of order", e.Dot, ErrInvalid)
		}
		last = at
	}
	for i, c := range e.Clears {
		if err := c.Object.Validate(); err != nil {
			return fmt.Errorf("event %s: %w", e.Dot, err)
		}
		if i > 0 && compareObjects(e.Clears[i-1].Object, c.Object) >= 0 {
			return fmt.Errorf("event %s: %w: clears out of order", e.Dot, ErrInvalid)
		}
		for a, seq := range c.UpTo {
			if !e.saw(Dot{a, seq}) {
				return fmt.Errorf("event %s: %w: a clear reaches beyond what its writer saw", e.Dot, ErrInvalid)
			}
		}
	}
	return nil
}

// saw says whether the writer had heard the other event. Whoever applies this
// one has heard it then, too.
func (e *Event) saw(d Dot) bool {
	if d.Actor == e.Dot.Actor {
		return d.Seq < e.Dot.Seq
	}
	return e.Deps.Covers(d)
}

func (c *Change) validate(e *Event) error {
	if err := c.Field.Validate(); err != nil {
		return err
	}
	if len(c.Puts)+len(c.Removes) == 0 {
		return fmt.Errorf("%w: a change of nothing", ErrInvalid)
	}
	if err := c.Puts.validate(c.Field.Type); err != nil {
		return err
	}
	for _, put := range c.Puts {
		p, contribution := put.Payload.(Contribution)
		if !contribution && put.Dot != e.Dot {
			return fmt.Errorf("%w: a put of another event's entry %s", ErrInvalid, put.Dot)
		}
		if last := (Dot{put.Dot.Actor, p.N}); contribution && last != e.Dot && !e.saw(last) {
			return fmt.Errorf("%w: a put of the unseen contribution %s", ErrInvalid, last)
		}
	}
	for i, d := range c.Removes {
		if err := d.validate(); err != nil {
			return err
		}
		if i > 0 && c.Removes[i-1].Compare(d) >= 0 {
			return fmt.Errorf("%w: removes out of order", ErrInvalid)
		}
		if _, both := c.Puts.Find(d); both {
			return fmt.Errorf("%w: a put and a remove of the entry %s", ErrInvalid, d)
		}
		if !e.saw(d) {
			return fmt.Errorf("%w: a remove of the unseen entry %s", ErrInvalid, d)
		}
	}
	return nil
}

// validate checks dots, order, and that the payloads fit the type.
func (es Entries) validate(t Type) error {
	for i, e := range es {
		if err := e.Dot.validate(); err != nil {
			return err
		}
		if i > 0 && es[i-1].Dot.Compare(e.Dot) >= 0 {
			return fmt.Errorf("%w: entries out of order", ErrInvalid)
		}
		fits := false
		switch p := e.Payload.(type) {
		case Presence:
			fits = t == TypeSet
		case Sibling:
			fits = t == TypeRegister
			if len(p.Value) > MaxValueBytes {
				return fmt.Errorf("%w: the value has %d bytes; at most %d are allowed", ErrInvalid, len(p.Value), MaxValueBytes)
			}
		case Contribution:
			fits = t == TypeCounter
			if !p.possible(e.Dot) {
				return fmt.Errorf("%w: impossible contribution %+v of %s", ErrInvalid, p, e.Dot)
			}
			if err := p.validateCorrections(e.Dot); err != nil {
				return err
			}
		case Record:
			fits = t == TypeOperation
			if p.Into == 0 || p.Into > e.Dot.Seq {
				return fmt.Errorf("%w: impossible record %+v of %s", ErrInvalid, p, e.Dot)
			}
		}
		if !fits {
			return fmt.Errorf("%w: a %s cannot hold a %T", ErrInvalid, t, e.Payload)
		}
	}
	return nil
}

// within returns the changes of the event to fields in [lo, hi).
func (e *Event) within(lo, hi Position) []Change {
	if lo == "" && hi == End {
		return e.Changes
	}
	return slices.DeleteFunc(slices.Clone(e.Changes), func(c Change) bool {
		at := c.Field.Position()
		return at < lo || at >= hi
	})
}
