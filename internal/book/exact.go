package book

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Is there an order of all operations on a register, each at a moment between its
// call and its return, in which every read shows what was written last? As no value
// is written twice, all that deals with one value lies together in that order: its
// write, then its reads. Let zone be the time from the first return of these to
// their last call. If the return comes first, the register has the value in all of
// the zone, so no two such zones may overlap. If the call does, one moment in the
// zone will do, but not inside a zone of the other kind. That, and that nothing is
// read before it is written, is all it takes (Gibbons, Korach: Testing Shared
// Memories, 1997).

// look is a read of a register that is linearizable, as its writes are.
type look struct {
	value      string // "" if nothing was there
	began, end time.Time
}

// Looked books a linearizable read of a register to which all writes are
// linearizable, and that found a value, or "" for none.
func (b *Book) Looked(register, value string, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks[register] = append(b.looks[register], look{value, began, time.Now()})
}

// zone is when a register had a value: between the first return and the last call
// of what dealt with it, if those are in this order.
type zone struct {
	value            string
	returned, called time.Time
}

// checkLooks holds the linearizable reads of a register against its writes.
func (b *Book) checkLooks(name string) error {
	zones := map[string]*zone{}
	for _, l := range b.looks[name] {
		w := b.registers[name][l.value]
		switch {
		case l.value != "" && (w == nil || w.outcome == Refused):
			return fmt.Errorf("register %s was read as %q, which nobody wrote or was refused", name, l.value)
		case w != nil && l.end.Before(w.began):
			return fmt.Errorf("register %s was read as %q before that was written", name, l.value)
		}
		z := zones[l.value]
		if z == nil {
			z = &zone{l.value, l.end, l.began}
			zones[l.value] = z
		}
		z.add(l.began, l.end)
	}
	if z := zones[""]; z != nil {
		z.returned = time.Time{} // it was there before all
	}
	for value, w := range b.registers[name] {
		switch z := zones[value]; {
		case z != nil && w.outcome == Unknown: // it returned nobody knows when
			z.add(w.began, z.returned)
		case z != nil:
			z.add(w.began, w.end)
		case w.outcome == Done:
			zones[value] = &zone{value, w.end, w.began}
		}
	}
	return overlap(name, slices.Collect(maps.Values(zones)))
}

func (z *zone) add(called, returned time.Time) {
	if returned.Before(z.returned) {
		z.returned = returned
	}
	if called.After(z.called) {
		z.called = called
	}
}

// overlap finds two values that a register cannot have had one after the other.
func overlap(name string, zones []*zone) error {
	slices.SortFunc(zones, func(a, b *zone) int { return a.returned.Compare(b.returned) })
	for i, z := range zones {
		if !z.returned.Before(z.called) {
			continue
		}
		for j, other := range zones {
			both := other.returned.Before(other.called)
			if both && j > i && other.returned.Before(z.called) || !both && z.returned.Before(other.called) && other.returned.Before(z.called) {
				return fmt.Errorf("register %s had the value %q and, in the midst of that, %q: no single register does so", name, z.value, other.value)
			}
		}
	}
	return nil
}
