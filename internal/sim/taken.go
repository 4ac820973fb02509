package sim

import (
	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// before is what a field held on a copy when a request came that takes that away.
type before struct {
	field *field
	held  entries
}

// taken returns what a request is to take away at least. w.mu is held.
func (m *member) taken(r *request) (seen []before) {
	if r.hinted {
		return nil // it removes nothing
	}
	for _, f := range m.world.record.fields[r.shard] {
		if f.id.Type == crdt.TypeOperation {
			continue // records of operations outlive what they are about
		}
		for _, op := range r.operations {
			a := act{}
			if string(op.Key) == f.id.Key && a.read(f.id, op) && (!a.adds || f.id.Type == crdt.TypeRegister) {
				seen = append(seen, before{f, m.world.record.effect(f, m.states[r.shard].at(f.at))})
				break
			}
		}
	}
	return seen
}

// checkTaken checks that a write which was acknowledged has taken away what was there
// when it came.
func (m *member) checkTaken(r *request, a *pb.Answer) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.GetError() != nil || m.rotten[r.shard] || max(m.forgot[r.shard], m.emptied[r.shard]) > r.since {
		return
	}
	for _, seen := range r.before {
		now := m.states[r.shard].at(seen.field.at)
		if r.event != nil && !covers(now, r.event.Dot) {
			continue // a damaged leaf has given way since
		}
		left := w.record.effect(seen.field, now)
		for dot, was := range seen.held {
			p, isLeft := left[dot]
			if was.kind == 2 { // of a counter: it is reset up to the last update
				isLeft = isLeft && p.rn < was.n
			}
			if isLeft {
				w.failLocked("%s acknowledges what is to take away %s%v of %s, and there is %v", m.Name, brief(dot), was, seen.field.id.Object, p)
				return
			}
		}
		w.outcome.Stats.Taken++
	}
}
