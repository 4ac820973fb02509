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
}

// Value is what the contribution adds to the counter: what its owner added
// since the last reset that saw it. It wraps around as int64 does if the two
// totals are further apart than that.
func (c Contribution) Value() int64 {
	if c.N < c.ResetN {
		return 0
	}
	return c.Total - c.ResetTotal
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
		c.N, c.Total = o.N, o.Total
	}
	if o.ResetN > c.ResetN {
		c.ResetN, c.ResetTotal = o.ResetN, o.ResetTotal
	}
	return c
}

// CounterValue returns the value of a counter with these entries, held at the
// ends of int64 should concurrent increments have gone beyond.
func CounterValue(es Entries) int64 {
	var high, low uint64 // a 128-bit sum in two's complement
	for _, e := range es {
		c, ok := e.Payload.(Contribution)
		if !ok || c.N < c.ResetN {
			continue
		}
		var carry uint64
		low, carry = bits.Add64(low, uint64(c.Total), 0)
		high, _ = bits.Add64(high, uint64(c.Total>>63), carry)
		low, carry = bits.Sub64(low, uint64(c.ResetTotal), 0)
		high, _ = bits.Sub64(high, uint64(c.ResetTotal>>63), carry)
	}
	switch sum := int64(low); {
	case int64(high) == sum>>63:
		return sum
	case int64(high) < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// addToCounter adds k to the writer's own contribution, which it creates if
// there is none, or none alive: the old running total need not fit k. The
// value it returns is the counter's after.
func addToCounter(es Entries, dot Dot, k int64) (Entries, int64, error) {
	es = collectDead(es, dot.Actor)
	own := Entry{Dot: dot, Payload: Contribution{}}
	for _, e := range es {
		if e.Dot.Actor == dot.Actor {
			own = e
		}
	}
	c, _ := own.Payload.(Contribution)
	total, ok := addInt64(c.Total, k)
	if _, fits := addInt64(CounterValue(es), k); !ok || !fits {
		return es, 0, fmt.Errorf("%w: %d more does not fit into 64 bits", ErrOverflow, k)
	}
	c.N, c.Total = dot.Seq, total
	own.Payload = c
	es = es.with(own)
	return es, CounterValue(es), nil
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
		c.ResetN, c.ResetTotal = c.N, c.Total
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
