package crdt

import (
	"cmp"
	"fmt"
	"slices"
)

// Correction says that the owner of a contribution has taken something out of
// its running total again: an increment that was counted elsewhere, too.
//
// How can an owner take back what it added, while somebody resets the counter
// who has seen the increment and not yet heard that it was taken back? What the
// reset stands against the total then is too much. The correction stays beside
// the total: it says from which update of the owner to which the total was too
// much, and makes up for a reset that saw one of these. Once a reset has seen
// the last of them, no other can come that has not, as the largest counts.
type Correction struct {
	From   uint64 // seq of the update that added it
	At     uint64 // seq of the update that took it out
	Amount int64
}

// maxCorrections bounds how many corrections a contribution keeps. A reset that
// has seen an increment taken back as many corrections ago, but not that it was
// taken back, is off by it.
const maxCorrections = 64

func (k Correction) compare(o Correction) int {
	return cmp.Or(cmp.Compare(k.At, o.At), cmp.Compare(k.From, o.From))
}

// applies says that a reset of this N has seen what was added, and not that it
// was taken out.
func (k Correction) applies(resetN uint64) bool { return k.From <= resetN && resetN < k.At }

// unseen returns the corrections that a reset of this N has not seen.
func unseen(all []Correction, resetN uint64) []Correction {
	seen := func(k Correction) bool { return k.At <= resetN }
	if !slices.ContainsFunc(all, seen) {
		return all
	}
	if all = slices.DeleteFunc(slices.Clone(all), seen); len(all) == 0 {
		return nil
	}
	return all
}

// corrected takes an amount out of the total again that was added with the
// owner's update from, in its update at, which is later. It returns false if the
// total does not fit 64 bits then.
func (c Contribution) corrected(from, at uint64, amount int64) (Contribution, bool) {
	total, fits := subInt64(c.Total, amount)
	if c.ResetN >= from || !fits { // a reset has taken it, with all that was there
		return c, fits || c.ResetN >= from
	}
	k := Correction{from, at, amount}
	all := slices.Clone(c.Corrections)
	i, found := slices.BinarySearchFunc(all, k, Correction.compare)
	if found {
		if k.Amount, fits = addInt64(all[i].Amount, amount); !fits {
			return c, false
		}
		all[i] = k
	} else {
		all = slices.Insert(all, i, k)
	}
	if found && k.Amount == 0 {
		all = slices.Delete(all, i, i+1)
	}
	if len(all) > maxCorrections {
		all = all[len(all)-maxCorrections:]
	}
	c.N, c.Total, c.Corrections = at, total, all
	return c, true
}

// validateCorrections checks that they are of updates that were, in order, and
// that none is there which a reset has seen.
func (c Contribution) validateCorrections(dot Dot) error {
	if len(c.Corrections) > maxCorrections {
		return fmt.Errorf("%w: %d corrections; a contribution has at most %d", ErrInvalid, len(c.Corrections), maxCorrections)
	}
	for i, k := range c.Corrections {
		ordered := i == 0 || c.Corrections[i-1].compare(k) < 0
		if !ordered || k.From < dot.Seq || k.At <= k.From || k.At > c.N || k.At <= c.ResetN || k.Amount == 0 {
			return fmt.Errorf("%w: impossible corrections %+v of %s", ErrInvalid, c.Corrections, dot)
		}
	}
	return nil
}

func subInt64(a, b int64) (int64, bool) {
	difference := a - b
	return difference, (difference < a) == (b > 0)
}
