package crdt

import (
	"fmt"
	"math"
)

// GCounter only grows. It is a PNCounter that refuses to count down.
type GCounter struct{ counter PNCounter }

// NewGCounter returns a counter at 0 that writes under the given actor.
func NewGCounter(actor Actor) *GCounter { return &GCounter{*NewPNCounter(actor)} }

// Add adds k. It fails with ErrOverflow.
func (c *GCounter) Add(k uint64) (*Event, error) {
	if k > math.MaxInt64 {
		return nil, fmt.Errorf("%w: %d more does not fit into 63 bits", ErrOverflow, k)
	}
	return c.counter.Add(int64(k))
}

// Value returns the sum of all increments, held at the largest int64.
func (c *GCounter) Value() uint64 { return uint64(max(0, c.counter.Value())) }

// Apply brings a delta of another copy to this one. It refuses one that
// counts down or resets. See State.Apply.
func (c *GCounter) Apply(delta *Event) error {
	if delta == nil {
		return nil
	}
	have := c.counter.entries("")
	for _, change := range delta.Changes {
		if len(change.Removes) > 0 || !growing(have, change.Puts) {
			return fmt.Errorf("%w: event %s takes away from a counter that only grows", ErrInvalid, delta.Dot)
		}
	}
	return c.counter.Apply(delta)
}

// growing says whether nothing is taken away by these entries, nor was before.
func growing(have, next Entries) bool {
	for _, e := range next {
		p, _ := e.Payload.(Contribution)
		var before Contribution
		if i, found := have.Find(e.Dot); found {
			before, _ = have[i].Payload.(Contribution)
		}
		if p.Total < 0 || p.ResetN > 0 || p.N > before.N && p.Total < before.Total {
			return false
		}
	}
	return true
}

// Merge joins another copy into this one.
func (c *GCounter) Merge(o *GCounter) { c.counter.Merge(&o.counter) }

// Heard returns what this copy has heard; the caller owns it.
func (c *GCounter) Heard() VersionVector { return c.counter.Heard() }

// MarshalBinary returns the canonical encoding of the state, without the actor.
func (c *GCounter) MarshalBinary() ([]byte, error) { return c.counter.MarshalBinary() }

// UnmarshalBinary replaces the state. It refuses one from which was taken
// away. See Copy.UnmarshalBinary.
func (c *GCounter) UnmarshalBinary(b []byte) error {
	next := NewGCounter(c.counter.actor)
	if err := next.counter.UnmarshalBinary(b); err != nil {
		return err
	}
	if !growing(nil, next.counter.entries("")) {
		return fmt.Errorf("%w: a state with decrements in a counter that only grows", ErrInvalid)
	}
	*c = *next
	return nil
}
