package crdt

import "slices"

// ORSet is an observed-remove set, in which adding wins: a removal takes away
// the additions that its writer had seen, and no other. It leaves nothing
// behind. Elements are strings of any bytes, up to MaxElementBytes.
type ORSet struct{ Copy }

// NewORSet returns an empty set that writes under the given actor.
func NewORSet(actor Actor) *ORSet { return &ORSet{newCopy(actor, TypeSet)} }

// Add puts elements into the set.
func (s *ORSet) Add(elements ...string) (*Event, error) {
	return s.write(func(d *Draft) error {
		for _, e := range elements {
			if _, err := d.AddElement(theKey, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Remove takes elements out, as far as this copy has seen them added. The
// delta is nil if none was there.
func (s *ORSet) Remove(elements ...string) (*Event, error) {
	return s.write(func(d *Draft) error {
		for _, e := range elements {
			if _, err := d.RemoveElement(theKey, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Clear takes out every element that this copy has seen. The delta is nil if
// the set is empty.
func (s *ORSet) Clear() (*Event, error) {
	if s.Len() == 0 {
		return nil, nil
	}
	return s.write(func(d *Draft) error { return d.Delete(s.object) })
}

// Has says whether the element is in the set.
func (s *ORSet) Has(element string) bool { return len(s.entries(element)) > 0 }

// Len returns the number of elements.
func (s *ORSet) Len() int { return len(s.state.fields) }

// Elements returns the elements in ascending order.
func (s *ORSet) Elements() []string {
	elements := make([]string, 0, s.Len())
	for at := range s.state.fields {
		if id, err := at.FieldID(); err == nil {
			elements = append(elements, id.Name)
		}
	}
	slices.Sort(elements)
	return elements
}

// Merge joins another copy into this one.
func (s *ORSet) Merge(o *ORSet) { s.state.Merge(o.state) }
