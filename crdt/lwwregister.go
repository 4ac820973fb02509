package crdt

import "slices"

// LWWRegister holds one value, the last written, and loses no concurrent one
// silently: Siblings shows what was written without having seen each other.
// See Sibling.
type LWWRegister struct{ Copy }

// NewLWWRegister returns an empty register that writes under the given actor.
func NewLWWRegister(actor Actor) *LWWRegister {
	return &LWWRegister{newCopy(actor, TypeRegister)}
}

// Set writes a value. Now is the writer's clock, in any unit that all writers
// share; it only arbitrates between concurrent values.
func (r *LWWRegister) Set(value []byte, now uint64) (*Event, error) {
	value = slices.Clone(value)
	return r.write(func(d *Draft) error { return d.WriteRegister(theKey, now, value) })
}

// Clear removes every value that this copy has seen.
func (r *LWWRegister) Clear() (*Event, error) {
	return r.write(func(d *Draft) error { return d.Delete(r.object) })
}

// Value returns the value of the latest write, or false if there is none. The
// caller must not change it.
func (r *LWWRegister) Value() ([]byte, bool) {
	e, ok := Winner(r.entries(""))
	if !ok {
		return nil, false
	}
	return e.Payload.(Sibling).Value, true
}

// Siblings returns all concurrent values, the winner first, the others from
// latest to earliest. The caller must not change them.
func (r *LWWRegister) Siblings() []Sibling {
	ranked := Ranked(r.entries(""))
	siblings := make([]Sibling, len(ranked))
	for i, e := range ranked {
		siblings[i] = e.Payload.(Sibling)
	}
	return siblings
}

// Merge joins another copy into this one.
func (r *LWWRegister) Merge(o *LWWRegister) { r.state.Merge(o.state) }
