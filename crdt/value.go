package crdt

import "fmt"

// Copy is one copy of one object as a plain Go value: what GCounter,
// PNCounter, ORSet and LWWRegister have in common. Its changes come back as
// events, the deltas to send to the other copies.
//
// Copies are made by NewGCounter, NewPNCounter, NewORSet and NewLWWRegister,
// which say who writes to them; the zero value is none.
//
//	deltas may be lost, repeated and reordered on the way: Apply says
//	ErrNotReady where one is missing, and a Merge of any copy that has it heals
type Copy struct {
	state  *State
	actor  Actor
	object Object
}

// theKey is the key of the only object of a Copy.
const theKey = "value"

func newCopy(actor Actor, t Type) Copy {
	return Copy{NewState(), actor, Object{theKey, t}}
}

// Apply brings a delta of another copy of the object to this one; nil is no
// change. See State.Apply.
func (c *Copy) Apply(delta *Event) error {
	if delta == nil {
		return nil
	}
	for _, change := range delta.Changes {
		if err := c.owns(change.Field.Object); err != nil {
			return err
		}
	}
	for _, clear := range delta.Clears {
		if err := c.owns(clear.Object); err != nil {
			return err
		}
	}
	return c.state.Apply(delta)
}

func (c *Copy) owns(o Object) error {
	if o != c.object {
		return fmt.Errorf("%w: a change of %s for a copy of %s", ErrInvalid, o, c.object)
	}
	return nil
}

// Heard returns what this copy has heard; the caller owns it.
func (c *Copy) Heard() VersionVector { return c.state.heard.Vector().Clone() }

// MarshalBinary returns the canonical encoding of the state, without the actor.
func (c *Copy) MarshalBinary() ([]byte, error) { return c.state.MarshalBinary() }

// UnmarshalBinary replaces the state, and refuses with ErrInvalid what is not a
// whole one of the same type. A program that saves a copy and loads it
// again must be sure that no delta was sent after it was saved, or go on under
// a new actor.
func (c *Copy) UnmarshalBinary(b []byte) error {
	s := NewState()
	if err := s.UnmarshalBinary(b); err != nil {
		return err
	}
	lo, hi := c.object.Range()
	if len(s.positions(lo, hi)) != len(s.fields) {
		return fmt.Errorf("%w: not the state of a %s", ErrInvalid, c.object.Type)
	}
	c.state = s
	return nil
}

// write drafts an event and applies it. It returns nil if nothing changed.
func (c *Copy) write(f func(*Draft) error) (*Event, error) {
	d := c.state.Draft(c.actor)
	if err := f(d); err != nil {
		return nil, err
	}
	e, changed := d.Event(0)
	if !changed {
		return nil, nil
	}
	return e, c.state.Apply(e)
}

func (c *Copy) entries(name string) Entries {
	return c.state.fields[FieldID{c.object, name}.Position()]
}
