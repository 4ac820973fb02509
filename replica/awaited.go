package replica

import (
	"slices"
	"time"
)

// Owners change only when those who gain shards have taken them over, and these
// need enough of the owners for that; and a copy is removed only when every
// owner has all of it. So one member that is not there may hold up a change, until
// it is back or is taken out of the table. This says which one.

// complainEvery is the time between two lines of the log about the same.
const complainEvery = time.Minute

// sources returns the owners of which a copy that is taken over must hear a majority
// each: those of its region that there are, and these with those of the others. Of a
// region that changes its owners, too, it takes the old and the new ones: there may be
// who goes by these already, and does not know yet that this region changes.
func (l *layout) sources(region string, shard int) (near []string, all [][]string) {
	for _, byRegion := range l.electoratesBut(region, shard) {
		near = byRegion[region]
		owners := everyone([]map[string][]string{byRegion})
		slices.Sort(owners)
		if !slices.ContainsFunc(all, func(known []string) bool { return slices.Equal(known, owners) }) {
			all = append(all, owners)
		}
	}
	return near, all
}

// lacking returns the absent owners of a shard without whom a member of a region
// cannot take it over, some more than once.
func (l *layout) lacking(member, region string, shard int, states standings) (names []string) {
	near, all := l.sources(region, shard)
	for _, owners := range append(all, near) {
		q := without(owners, member, false)
		gone := states.absentOf(q.owners)
		if len(q.owners)-len(gone) < q.needed {
			names = append(names, gone...)
		}
	}
	return names
}

// awaited returns the absent members that the change of owners of a region waits
// for, in order: those who gain shards and have not said that they have them, and
// those without whom others cannot take theirs over.
func (l *layout) awaited(region string, states standings) (names []string) {
	in := l.regions[region]
	if in.aim == nil {
		return nil
	}
	for _, seat := range in.aimRing.GetSeats() {
		name := seat.GetName()
		switch {
		case in.isSettled(l, name):
		case states.absent(name):
			names = append(names, name)
		default:
			for _, shard := range in.aim.Gained(name, in.current) {
				names = append(names, l.lacking(name, region, shard, states)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// awaitedHere returns the absent members that copies of this one wait for, in
// order: to be taken over, or to be handed over.
func (r *Replica) awaitedHere() (names []string) {
	l, in := r.knownView(), r.ownRegion()
	if l == nil {
		return nil
	}
	states, _ := r.observer.opinion()
	for _, s := range r.shards[:r.options.Shards] {
		switch claim := in.claimOf(r.options.Member, s.index); {
		case s.is(joining) && claim != unrelated:
			names = append(names, l.lacking(r.options.Member, r.options.Region, s.index, states)...)
		case s.held() && claim == unrelated:
			names = append(names, states.absentOf(everyone(l.electorates(s.index)))...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// complain logs that this member is not where the table wants it: when something
// new is in the way, and now and then while it lasts.
func (r *Replica) complain(err error) {
	a, awaited := &r.arranger, r.awaitedHere()
	if slices.Equal(awaited, a.lacked) && time.Since(a.complained) < complainEvery {
		return
	}
	a.lacked, a.complained = awaited, time.Now()
	if len(awaited) == 0 {
		r.log.Warn("this member is not where the table of members wants it yet", "error", err)
		return
	}
	r.log.Warn("owners do not change until these members are back, or are taken out with crdtctl member remove NAME",
		"members", awaited, "error", err)
}
