package sim

import (
	"slices"

	pb "github.com/atolldb/atoll/proto"
)

// A read at quorum shows every write that was acknowledged at quorum before the
// read came, wherever: some owner was asked that had heard of it. A quorum
// forgets only if more of it lose what they had than it can bear; so writes
// are forgotten here when any fault takes something from a member.

// quorumKnows returns the acknowledged writes of a shard that a read which
// arrives now must show. A request at a lower level need show none.
func (w *world) quorumKnows(r *request, level pb.Consistency) []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.formed = w.formed || !w.schedule.Placed
	if level != pb.Consistency_QUORUM || !r.formed {
		return nil
	}
	return slices.Clone(w.agreed[r.shard])
}

// checkQuorum notes a write that a quorum has, or checks that a read shows
// those it must.
func (m *member) checkQuorum(r *request, level pb.Consistency, known []*request, a *pb.Answer) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if level != pb.Consistency_QUORUM || a.GetError() != nil || !r.formed {
		return
	}
	w.outcome.Stats.Quorums++
	if r.event != nil && !reads(r.operations) { // a read may have waited beside it
		w.agreed[r.shard] = append(w.agreed[r.shard], r)
	}
	if !reads(r.operations) {
		return
	}
	heard := decoded(a.GetVector())
	for _, write := range known {
		if slices.Contains(w.agreed[r.shard], write) && !covers(heard, write.event.Dot) && write.touches(r) {
			w.failLocked("%s answers a read at quorum without %s, which a quorum had", m.Name, brief(write.event.Dot))
		}
	}
}

// touches says whether a request is about an object that another one is about.
func (r *request) touches(o *request) bool {
	return slices.ContainsFunc(r.operations, func(op *pb.Operation) bool { return asks(o.operations, string(op.Key)) })
}

// unsettle forgets what quorums had. w.mu is held.
func (w *world) unsettle() {
	clear(w.agreed)
	w.age()
}
