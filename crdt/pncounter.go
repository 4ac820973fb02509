package crdt

// PNCounter counts up and down, and can be reset: increments that the reset
// did not see survive it exactly. See Contribution.
type PNCounter struct{ Copy }

// NewPNCounter returns a counter at 0 that writes under the given actor.
func NewPNCounter(actor Actor) *PNCounter { return &PNCounter{newCopy(actor, TypeCounter)} }

// Add adds k, which may be negative. It fails with ErrOverflow.
func (c *PNCounter) Add(k int64) (*Event, error) {
	return c.write(func(d *Draft) error {
		_, err := d.AddToCounter(theKey, k)
		return err
	})
}

// Reset takes away every increment that this copy has seen. The delta is nil
// if there is nothing to take.
func (c *PNCounter) Reset() (*Event, error) {
	return c.write(func(d *Draft) error { return d.ResetCounter(theKey) })
}

// Value returns the sum of the increments that no reset has seen, held at the
// ends of int64.
func (c *PNCounter) Value() int64 { return CounterValue(c.entries("")) }

// Merge joins another copy into this one.
func (c *PNCounter) Merge(o *PNCounter) { c.state.Merge(o.state) }
