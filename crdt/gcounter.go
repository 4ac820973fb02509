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
	for _, change := range delta.Changes {
		for _, put := range change.Puts {
			if p, ok := put.Payload.(Contribution); ok && (p.Total < 0 || p.ResetN > 0) {
				return fmt.Errorf("%w: event %s takes away from a counter that only grows", ErrInvalid, delta.Dot)
			}
		}
		if len(change.Removes) > 0 {
			return fmt.Errorf("%w: event %s takes away from a counter that only grows", ErrInvalid, delta.Dot)
		}
	}
	return c.counter.Apply(delta)
}

// Merge joins another copy into this one.
func (c *GCounter) Merge(o *GCounter) { c.counter.Merge(&o.counter) }

// Heard returns what this copy has heard; the caller owns it.
func (c *GCounter) Heard() VersionVector { return c.counter.Heard() }

// MarshalBinary returns the canonical encoding of the state, without the actor.
func (c *GCounter) MarshalBinary() ([]byte, error) { return c.counter.MarshalBinary() }

// UnmarshalBinary replaces the state. See Copy.UnmarshalBinary.
func (c *GCounter) UnmarshalBinary(b []byte) error { return c.counter.UnmarshalBinary(b) }
