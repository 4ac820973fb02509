package replica

import (
	"google.golang.org/protobuf/proto"

	pb "github.com/atolldb/atoll/proto"
)

// move is what this member gains by a change of owners.
type move struct {
	ring   *pb.Ring // that its region changes to
	gained []*shard
}

// follow takes note of a change of owners that begins. The last one is told of
// until another begins.
func (r *Replica) follow(in *regionLayout) {
	if last := r.arranger.move.Load(); in.aim == nil || last != nil && proto.Equal(last.ring, in.aimRing) {
		return
	}
	m := &move{ring: in.aimRing}
	for _, s := range r.shards[:r.options.Shards] {
		if in.claimOf(r.options.Member, s.index) == heir {
			m.gained = append(m.gained, s)
		}
	}
	r.arranger.move.Store(m)
}

// progress says how far this member has come with what it gains by the last
// change of owners, nil if there was none since the process started.
func (r *Replica) progress() *pb.Move {
	m := r.arranger.move.Load()
	if m == nil {
		return nil
	}
	p := &pb.Move{Ring: m.ring, Shards: uint32(len(m.gained))}
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	for _, s := range m.gained {
		entries := r.State(s.index).Root.Count
		most := entries
		if s.whole() {
			p.Taken++
		} else {
			for name := range r.peers.known {
				theirs, _ := r.peers.planner.Advertised(name, s.index)
				most = max(most, theirs.Root.Count)
			}
		}
		p.Bytes += s.joined.Load()
		p.Entries += entries
		p.AllEntries += most
	}
	return p
}
