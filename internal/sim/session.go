package sim

import (
	"fmt"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// sessionShard is one client's session with one shard.
type sessionShard struct{ session, shard int }

// join returns the encoded vector of what either of two has seen. What cannot
// be decoded shows where the member answers: see checkSession.
func join(a, b []byte) []byte {
	sum := crdt.VersionVector{}
	for _, encoded := range [][]byte{a, b} {
		v, err := crdt.DecodeVector(encoded)
		if err != nil {
			continue
		}
		for actor, seq := range v {
			sum[actor] = max(sum[actor], seq)
		}
	}
	return sum.AppendTo(nil)
}

// checkSession checks that an answer shows what its session has seen, and says
// all that it shows.
func (m *member) checkSession(r *request, after []byte, level pb.Consistency, a *pb.Answer) {
	if a.GetError() != nil || r.hinted {
		return
	}
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.record.fields[r.shard] {
		if !asks(r.operations, f.id.Key) || f.id.Type == crdt.TypeOperation { // nobody reads records
			continue
		}
		heard := m.states[r.shard].at(f.at)
		if err := includes(heard, after); err != nil {
			w.failLocked("%s answers about %s: its session has seen more: %v", m.Name, f.id.Object, err)
		}
		if !reads(r.operations) && level != pb.Consistency_ONE || r.exact {
			continue // the copy has heard more since it was served, while it waited for others
		}
		if err := includes(decoded(a.GetVector()), heard.AppendTo(nil)); err != nil {
			w.failLocked("%s answers about %s with more than the session is told: %v", m.Name, f.id.Object, err)
		}
	}
}

func asks(operations []*pb.Operation, key string) bool {
	for _, op := range operations {
		if string(op.Key) == key {
			return true
		}
	}
	return false
}

func decoded(encoded []byte) crdt.VersionVector {
	v, err := crdt.DecodeVector(encoded)
	if err != nil {
		return nil
	}
	return v
}

// includes returns an error that names what is in an encoded vector and not in v.
func includes(v crdt.VersionVector, encoded []byte) error {
	for actor, seq := range decoded(encoded) {
		if v[actor] < seq {
			return fmt.Errorf("%d:%d of %s", actor, seq, vectorText(v))
		}
	}
	return nil
}
