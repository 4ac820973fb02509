package sim

import (
	"maps"
	"slices"

	pb "github.com/atolldb/atoll/proto"
)

// A read shows every write that was acknowledged before the read came, if the
// owners that had heard of the write must have one in common with those that are
// asked for the read: R + W > N, in all or in a region. Owners that lost what they
// had after the write came count no more; and a read may show more than it must.

// owners is how many owners there are, by region.
type owners map[string]int

func (o owners) sum() (n int) {
	for _, some := range o {
		n += some
	}
	return n
}

// take returns how many owners a level takes at least, by region and in all, for a
// request that is served in a region.
func (o owners) take(level pb.Consistency, region string) (each owners, all int) {
	each = owners{}
	switch level {
	case pb.Consistency_ONE:
		each[region] = 1
	case pb.Consistency_LOCAL_QUORUM:
		each[region] = o[region]/2 + 1
	case pb.Consistency_EACH_QUORUM:
		for name, n := range o {
			each[name] = n/2 + 1
		}
	case pb.Consistency_QUORUM, pb.Consistency_LINEARIZABLE:
		return each, o.sum()/2 + 1
	case pb.Consistency_ALL:
		each = maps.Clone(o)
	}
	return each, each.sum()
}

// meet says whether a write, which some owners have lost, and a read have an owner
// in common, whichever take part.
func (o owners) meet(write, read *request, lost owners) bool {
	wrote, wroteAll := o.take(write.level, write.member.Region)
	reads, readsAll := o.take(read.level, read.member.Region)
	for region, n := range o {
		if wrote[region]-lost[region]+reads[region] > n {
			return true
		}
	}
	return wroteAll-lost.sum()+readsAll > o.sum()
}

// meetPlaced says the same where owners change, which takes care of majorities:
// whoever is to be an owner hears what a majority of them has heard, and so does
// an owner that has lost its disk, unless there was nobody else.
func meetPlaced(write, read *request, lost, n owners) bool {
	bears := func(n, lost int) bool { return lost == 0 || lost == 1 && n > 1 }
	majority := func(r *request, region string) bool {
		return r.level == pb.Consistency_LOCAL_QUORUM && r.member.Region == region ||
			r.level == pb.Consistency_EACH_QUORUM || r.level == pb.Consistency_ALL
	}
	for region := range n {
		if majority(write, region) && majority(read, region) && bears(n[region], lost[region]) {
			return true
		}
	}
	ofAll := func(r *request) bool { return r.level > pb.Consistency_LOCAL_QUORUM }
	return ofAll(write) && ofAll(read) && bears(n.sum(), lost.sum())
}

// acknowledged returns the writes of a shard so far.
func (w *world) acknowledged(r *request) []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.agreed[r.shard])
}

// checkQuorum notes an acknowledged write, or checks that a read shows those it must.
func (m *member) checkQuorum(r *request, known []*request, a *pb.Answer) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	present := m.owners()
	if a.GetError() != nil || !r.formed || r.hinted || w.split {
		return
	}
	if r.level != pb.Consistency_ONE {
		w.outcome.Stats.Levels[r.level]++
	}
	if !reads(r.operations) {
		if r.event != nil { // a read may have waited beside it
			r.owners = present
			w.agreed[r.shard] = append(w.agreed[r.shard], r)
		}
		return
	}
	heard := decoded(a.GetVector())
	for _, write := range known {
		if !write.touches(r) || !w.mustShow(r, write, present) {
			continue
		}
		w.outcome.Stats.Shown++
		if !covers(heard, write.event.Dot) {
			w.failLocked("%s answers a read at %v without %s, which was acknowledged at %v by %s before",
				m.Name, r.level, brief(write.event.Dot), write.level, write.member.Name)
		}
	}
}

// mustShow says whether a read that is answered now must show a write. w.mu is held.
func (w *world) mustShow(read, write *request, present owners) bool {
	lost, fewest := owners{}, write.owners
	for _, m := range w.members {
		switch {
		case w.schedule.Placed && m.forgot[read.shard] > write.since:
			return false // it counts although it has forgotten
		case max(m.forgot[read.shard], m.emptied[read.shard]) > write.since, m.hurt[read.shard]:
			lost[m.Region]++
			fewest = fewest.both(m.left[read.shard])
		}
	}
	if w.schedule.Placed {
		return meetPlaced(write, read, lost, fewest)
	}
	return present.meet(write, read, lost)
}

// both returns how many there are at least, by one and by the other.
func (o owners) both(p owners) owners {
	least := owners{}
	for region, n := range o {
		least[region] = min(n, p[region])
	}
	return least
}

// owners returns how many owners of a shard there are at least, as the member has it.
// w.mu is held.
func (m *member) owners() owners {
	w, n := m.world, owners{}
	if !w.schedule.Placed {
		for region, names := range w.owners() {
			n[region] = len(names)
		}
		return n
	}
	rings, err := m.replica.Rings()
	if err != nil {
		return n // nothing is known to be borne
	}
	least := func(ring *pb.Ring) int {
		n := min(int(ring.GetOwners()), len(ring.GetSeats()))
		for _, seat := range ring.GetSeats() {
			if slices.ContainsFunc(w.members, func(o *member) bool { return o.dead && o.Name == seat.GetName() }) {
				n-- // it may be one of them
			}
		}
		return n
	}
	for _, r := range rings.GetRegions() {
		n[r.GetRegion()] = least(r.GetLayout().GetCurrent())
		if next := r.GetLayout().GetNext(); next != nil {
			n[r.GetRegion()] = min(n[r.GetRegion()], least(next))
		}
	}
	return n
}

// touches says whether a request is about an object that another one is about.
func (r *request) touches(o *request) bool {
	return slices.ContainsFunc(r.operations, func(op *pb.Operation) bool { return asks(o.operations, string(op.Key)) })
}

// forget notes that a member has lost something of a shard, or all of it. w.mu is
// held.
func (m *member) forget(shard int, all bool) {
	w := m.world
	w.faults++
	if all {
		m.emptied[shard], m.left[shard] = w.faults, w.fewest()
	} else {
		m.forgot[shard] = w.faults
	}
	if shard == exactShard && !(all && w.bears(m)) {
		w.age()
	}
}

// fewest returns how many owners there are at least, as any member has it. w.mu is
// held.
func (w *world) fewest() owners {
	var least owners
	for _, m := range w.members {
		switch {
		case m.replica == nil:
		case least == nil:
			least = m.owners()
		default:
			least = least.both(m.owners())
		}
	}
	return least
}
