package crdt

import (
	"fmt"
	"math"
	"math/bits"
)

// Contribution is what one actor has added to a counter.
//
// How can a counter be reset while others increment it, and lose neither the
// reset nor an increment that the reset did not see? The owner of a
// contribution keeps a running total; a reset writes down, beside it, the
// total it saw. The counter's value is what came after. Nobody ever takes an
// owner's total away, so a late increment adds to it unharmed.
type Contribution struct {
	N     uint64 // seq of the owner's last update of Total
	Total int64  // the owner's running total; written by the owner only
	// ResetN and ResetTotal are the largest (N, Total) that a reset has seen;
	// anyone writes them.
	ResetN     uint64
	ResetTotal int64
	// Corrections are what the owner has taken out of Total again, in the order
	// of At and From, but for those that the reset has seen. They go with N and
	// Total. The slice is never changed in place.
	Corrections []Correction
}

// Value is what the contribution adds to the counter: what its owner added
// since the last reset that saw it. It wraps around as int64 does if the two
// totals are further apart than that.
func (c Contribution) Value() int64 {
	if c.N < c.ResetN {
		return 0
	}
	value := c.Total - c.ResetTotal
	for _, k := range c.Corrections {
		if k.applies(c.ResetN) {
			value += k.Amount
		}
	}
	return value
}

// Dead says that a reset has seen all there is: the owner may remove the
// entry. Nobody else may, who cannot know that no increment is in flight.
func (c Contribution) Dead() bool { return c.N == c.ResetN }

// possible says whether the entry of the dot can come to this: its owner's
// updates begin with its event, and no reset saw more than there was.
func (c Contribution) possible(dot Dot) bool {
	if c.ResetN == 0 {
		return dot.Seq <= c.N && c.ResetTotal == 0
	}
	return dot.Seq <= c.ResetN && c.ResetN <= c.N
}

func (c Contribution) join(p Payload) Payload {
	o, ok := p.(Contribution)
	if !ok {
		return c
	}
	if o.N > c.N {
		c.N, c.Total, c.Corrections = o.N, o.Total, o.Corrections
	}
	if o.ResetN > c.ResetN {
		c.ResetN, c.ResetTotal = o.ResetN, o.ResetTotal
	}
	c.Corrections = unseen(c.Corrections, c.ResetN)
	return c
}

// CounterValue returns the value of a counter with these entries, held at the
// ends of int64 should concurrent increments have gone beyond.
func CounterValue(es Entries) int64 {
	var high, low uint64 // a 128-bit sum in two's complement
	add := func(k int64) {
		var carry uint64
		low, carry = bits.Add64(low, uint64(k), 0)
		high, _ = bits.Add64(high, uint64(k>>63), carry)
	}
	for _, e := range es {
		c, ok := e.Payload.(Contribution)
		if !ok || c.N < c.ResetN {
			continue
		}
		add(c.Total)
		var borrow uint64
		low, borrow = bits.Sub64(low, uint64(c.ResetTotal), 0)
		high, _ = bits.Sub64(high, uint64(c.ResetTotal>>63), borrow)
		for _, k := range c.Corrections {
			if k.applies(c.ResetN) {
				add(k.Amount)
			}
		}
	}
	switch sum := int64(low); {
	case int64(high) == sum>>63:
		return sum
	case int64(high) < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// addToCounter adds k to a contribution of the writer's own. It creates one if
// there is none, or none the running total of which fits k, as little as that
// may say of the counter: others, and resets, stand against it. It returns the
// dot of the contribution and the value of the counter after.
func addToCounter(es Entries, dot Dot, k int64) (_ Entries, into Dot, value int64, err error) {
	es = collectDead(es, dot.Actor)
	overflow := func() error { return fmt.Errorf("%w: %d more does not fit into 64 bits", ErrOverflow, k) }
	if _, fits := addInt64(CounterValue(es), k); !fits {
		return es, Dot{}, 0, overflow()
	}
	own, found := Entry{Dot: dot, Payload: Contribution{N: dot.Seq, Total: k}}, false
	for _, e := range es {
		c, ok := e.Payload.(Contribution)
		if !ok || e.Dot.Actor != dot.Actor {
			continue
		}
		if total, fits := addInt64(c.Total, k); fits {
			c.N, c.Total = dot.Seq, total
			own, found = Entry{e.Dot, c}, true
		} else if e.Dot == dot && !found {
			return es, Dot{}, 0, overflow() // a group has one new entry; the next one has another
		}
	}
	es = es.with(own)
	return es, own.Dot, CounterValue(es), nil
}

// resetCounter brings the counter to zero as far as the writer sees. The
// writer's own contribution ends at once, with whatever its current event has
// added to it; the others are left to their owners to remove.
func resetCounter(es Entries, writer Actor) Entries {
	out := make(Entries, 0, len(es))
	for _, e := range es {
		c, ok := e.Payload.(Contribution)
		if !ok || e.Dot.Actor == writer {
			continue
		}
		c.ResetN, c.ResetTotal, c.Corrections = c.N, c.Total, nil
		out = append(out, Entry{e.Dot, c})
	}
	return out
}

// collectDead removes the writer's own contributions that a reset has seen
// whole.
func collectDead(es Entries, actor Actor) Entries {
	return es.without(func(e Entry) bool {
		c, ok := e.Payload.(Contribution)
		return ok && e.Dot.Actor == actor && c.Dead()
	})
}

func addInt64(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}
