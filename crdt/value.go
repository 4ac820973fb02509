package crdt

// Copy is one copy of one object as a plain Go value: what GCounter,
// PNCounter, ORSet and LWWRegister have in common. Its changes come back as
// events, the deltas to send to the other copies.
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

// Apply brings a delta of another copy to this one. See State.Apply.
func (c *Copy) Apply(delta *Event) error { return c.state.Apply(delta) }

// Heard returns what this copy has heard; the caller owns it.
func (c *Copy) Heard() VersionVector { return c.state.heard.Vector().Clone() }

// MarshalBinary returns the canonical encoding of the state, without the actor.
func (c *Copy) MarshalBinary() ([]byte, error) { return c.state.MarshalBinary() }

// UnmarshalBinary replaces the state. A program that saves a copy and loads it
// again must be sure that no delta was sent after it was saved, or go on under
// a new actor.
func (c *Copy) UnmarshalBinary(b []byte) error {
	s := NewState()
	if err := s.UnmarshalBinary(b); err != nil {
		return err
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
