package sim

import (
	"maps"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
)

// What may be lost when a disk rots? What was in nothing but the leaf that rotted:
// no other copy has heard it there, and no log has it with all that it builds on.
// All else the engine owes: a leaf gives way to what a peer has of it only if its
// own log makes up for what that peer has not heard, and the log is replayed then.
// Other leaves forget nothing. Only a leaf that an operator gives up forgets what
// nothing makes up for.

// salvage returns what the disks can make up together of a shard, when everybody
// has pulled what others have in sound leaves and has replayed its log. w.mu is held.
func (w *world) salvage(shard int) *copyState {
	cuts, logged := map[crdt.Position]bool{"": true}, map[crdt.Dot]bool{}
	for _, m := range w.members {
		for _, span := range m.states[shard].spans {
			cuts[span.Start] = true
		}
		for leaf := range m.damaged {
			lo, hi := leaf.bounds()
			cuts[lo], cuts[hi] = true, true
		}
		maps.Copy(logged, m.logged(shard))
	}
	delete(cuts, crdt.End)
	all := &copyState{}
	for _, at := range slices.Sorted(maps.Keys(cuts)) {
		sum := crdt.VersionVector{}
		for _, m := range w.members {
			if m.damaged[leafOf(shard, at)] {
				continue
			}
			for actor, seq := range m.states[shard].at(at) {
				sum[actor] = max(sum[actor], seq)
			}
		}
		all.spans = append(all.spans, crdt.Span{Start: at, Vector: sum})
	}
	for replayed := true; replayed; {
		replayed = false
		for _, e := range w.record.order {
			if e.shard != shard || !logged[e.Dot] || !all.follows(e) {
				continue
			}
			for _, span := range all.spans {
				span.Vector[e.Dot.Actor] = max(span.Vector[e.Dot.Actor], e.Dot.Seq)
			}
			replayed = true
		}
	}
	return all
}

// follows says whether an event is the next of its actor that a copy has to hear,
// and can be applied to it.
func (s *copyState) follows(e *event) bool {
	if s.everywhere()[e.Dot.Actor] != e.Dot.Seq-1 {
		return false
	}
	return !slices.ContainsFunc(s.touched(e), func(p crdt.Position) bool {
		return !includesAll(s.at(p), e.Deps)
	})
}

func includesAll(v, o crdt.VersionVector) bool {
	for actor, seq := range o {
		if v[actor] < seq {
			return false
		}
	}
	return true
}

// touched returns positions in all spans in which an event changes something.
func (s *copyState) touched(e *event) (at []crdt.Position) {
	for _, c := range e.Changes {
		at = append(at, c.Field.Position())
	}
	for _, c := range e.Clears {
		lo, hi := c.Object.Range()
		at = append(at, lo)
		for _, span := range s.spans {
			if lo < span.Start && span.Start < hi {
				at = append(at, span.Start)
			}
		}
	}
	return at
}

// has says whether an event was heard wherever it changes something.
func (s *copyState) has(e *event) bool {
	return !slices.ContainsFunc(s.touched(e), func(p crdt.Position) bool { return !covers(s.at(p), e.Dot) })
}

// logged returns the events in the member's log of a shard.
func (m *member) logged(shard int) map[crdt.Dot]bool {
	snap := m.disk.Snapshot()
	defer snap.Close()
	return loggedIn(snap, shard)
}

func loggedIn(snap store.Snapshot, shard int) map[crdt.Dot]bool {
	dots := map[crdt.Dot]bool{}
	_ = snap.Scan(shardKey('l', shard), shardKey('l', shard+1), func(key, _ []byte) error {
		dots[dotIn(key)] = true
		return nil
	}) // a store in memory
	return dots
}

// checkForgotten checks what a copy has forgotten in a commit: it goes on without
// that until its log is replayed. w.mu is held.
func (m *member) checkForgotten(snap store.Snapshot, shard int, before, now *copyState) {
	var log map[crdt.Dot]bool
	for _, span := range slices.Concat(before.spans, now.spans) {
		has := now.at(span.Start)
		for actor, seq := range before.at(span.Start) {
			if has[actor] >= seq {
				continue
			}
			if log == nil {
				log = loggedIn(snap, shard)
				m.forget(shard, false)
			}
			if !m.struck[leafOf(shard, span.Start)] {
				m.world.failLocked("%s, shard %d: the range from %x never rotted, and has forgotten %d:%d", m.Name, shard, span.Start, actor, seq)
			}
			for n := has[actor] + 1; n <= seq && !m.world.resigned; n++ {
				if d := (crdt.Dot{Actor: actor, Seq: n}); !log[d] {
					m.world.failLocked("%s, shard %d: the range from %x has given way to that of a peer that had not heard %s, and the log does not make up for it",
						m.Name, shard, span.Start, brief(d))
				}
			}
		}
	}
}
