package replica

import (
	"errors"
	"maps"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
)

// maxTrimmed is how many events are dropped at once.
const maxTrimmed = 10_000

// readLog returns events that an asker who has heard have lacks, in an order in
// which it can apply them, as far as the log has them and the budget of bytes
// allows, and whether the budget ended it. It changes have.
func readLog(snap store.Snapshot, shard int, mine crdt.VersionVector, have *crdt.Heard, budget int) (events [][]byte, more bool, err error) {
	actors := mine.Actors()
	for progress := true; progress; {
		progress = false
		for _, actor := range actors {
			for seq := have.Vector()[actor] + 1; seq <= mine[actor]; seq++ {
				d := crdt.Dot{Actor: actor, Seq: seq}
				event, raw, err := readEvent(snap, shard, d)
				if err != nil {
					return nil, false, err
				}
				if event == nil || crdt.Ready(have, event) != nil {
					break
				}
				if budget -= len(raw); budget < 0 && len(events) > 0 {
					return events, true, nil
				}
				events = append(events, raw)
				have.Observe("", crdt.End, d)
				progress = true
			}
		}
	}
	return events, false, nil
}

// readEvent returns an event of the log, or nil if the log does not have it, or
// has it no more as it was written: the log is a cache.
func readEvent(snap store.Snapshot, shard int, d crdt.Dot) (*crdt.Event, []byte, error) {
	key := logKey(shard, d)
	sealed, err := snap.Get(key)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	raw, sound := unseal(key, sealed)
	if !sound {
		return nil, nil, nil
	}
	event, err := crdt.DecodeEvent(raw)
	return event, raw, err
}

// replay brings back to the waiting events what the log has beyond the
// shard's vector: a crash interrupted a change of several steps.
func (r *Replica) replay(s *shard, snap store.Snapshot) error {
	if s.heard.Whole() {
		return nil
	}
	next := crdt.VersionVector{}
	for _, span := range s.heard.Over("", crdt.End) {
		next.Join(span.Vector)
	}
	v := s.heard.Vector()
	for actor := range next {
		event, raw, err := readEvent(snap, s.index, crdt.Dot{Actor: actor, Seq: v[actor] + 1})
		if err != nil {
			return err
		}
		if event != nil {
			s.waiting.add(delivered{event, append([]byte(nil), raw...)})
		}
	}
	return nil
}

// trimLog drops the events that lie further back than the limit after the
// vector has jumped.
func (l *loop) trimLog(s *shard, before crdt.VersionVector) error {
	limit := l.replica.logLimit(s)
	snap := l.replica.store.Snapshot()
	defer snap.Close()
	l.batch.Reset()
	for actor, seq := range s.heard.Vector() {
		if seq <= before[actor] || seq <= limit {
			continue
		}
		// Before, the log held no more than this.
		held := min(before[actor], logStretch*uint64(l.replica.options.LogLimit))
		lo := logKey(s.index, crdt.Dot{Actor: actor, Seq: before[actor] - held})
		hi := logKey(s.index, crdt.Dot{Actor: actor, Seq: seq - limit + 1})
		err := snap.Scan(lo, hi, func(key, _ []byte) error {
			l.batch.Delete(slices.Clone(key))
			if len(l.batch.Writes()) < maxTrimmed {
				return nil
			}
			defer l.batch.Reset()
			return l.commit(&l.batch)
		})
		if err != nil {
			return unavailable(err)
		}
	}
	return unavailable(l.commit(&l.batch))
}

// logStretch is how many times its limit the log of a shard keeps for an owner
// that is away.
const logStretch = 8

// logLimit returns how many events of each actor the log of a shard is to keep.
func (r *Replica) logLimit(s *shard) uint64 {
	limit := uint64(r.options.LogLimit)
	if s.kept.Load() != nil {
		limit *= logStretch
	}
	return limit
}

// reviewLogs has logs keep more than their limit as long as an owner of the
// shard is suspect or down, so that it comes back by fetching. They go back to
// it once all owners are there, and lack nothing that it leaves behind.
func (r *Replica) reviewLogs() {
	states, _ := r.observer.opinion()
	missed := false
	for member := range states {
		missed = missed || states.away(member)
	}
	for _, s := range r.shards {
		keeps := s.kept.Load() != nil
		if !s.held() || !missed && !keeps {
			continue
		}
		owners, err := r.owners(s)
		if err != nil {
			continue // it is asked again
		}
		switch {
		case slices.ContainsFunc(owners, states.away):
			if !keeps {
				v := r.State(s.index).Vector
				s.kept.Store(&v)
			}
		case keeps && r.caughtUp(s, owners, states):
			r.loop(s).offer(task{shard: s, done: ignore, alone: func(l *loop) error { return l.shrinkLog(s) }})
		}
	}
}

// owners returns the members that own a shard: all of them, of the system shard.
func (r *Replica) owners(s *shard) ([]string, error) {
	if s.index == r.System() {
		return slices.Collect(maps.Keys(r.listed())), nil
	}
	sets, err := r.electorates(s.index)
	return everyone(sets), err
}

// everyone returns who is in any of some sets of owners, some more than once.
func everyone(sets []map[string][]string) (owners []string) {
	for _, set := range sets {
		for _, some := range set {
			owners = append(owners, some...)
		}
	}
	return owners
}

// caughtUp says whether those owners of a shard that have not left have said to
// have what the log keeps beyond its limit.
func (r *Replica) caughtUp(s *shard, owners []string, states standings) bool {
	mine := r.State(s.index).Vector
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	for _, owner := range owners {
		if owner == r.options.Member || states.gone(owner) {
			continue
		}
		theirs, said := r.peers.planner.Advertised(owner, s.index)
		for actor, seq := range mine {
			if !said || seq > theirs.Vector[actor]+uint64(r.options.LogLimit) {
				return false
			}
		}
	}
	return true
}

// shrinkLog drops what the log keeps beyond its limit.
func (l *loop) shrinkLog(s *shard) error {
	kept := s.kept.Swap(nil)
	if kept == nil {
		return nil
	}
	err := l.trimLog(s, *kept)
	if err != nil {
		s.kept.Store(kept) // it is tried again
	}
	return err
}

// findKept finds out whether the log had kept more than its limit before a
// restart: then it does so until the owners are met.
func (r *Replica) findKept(s *shard, snap store.Snapshot) error {
	limit := uint64(r.options.LogLimit)
	for actor, seq := range s.heard.Vector() {
		if seq <= limit {
			continue
		}
		_, err := snap.Get(logKey(s.index, crdt.Dot{Actor: actor, Seq: seq - limit}))
		switch {
		case err == nil || errors.Is(err, store.ErrCorrupt):
			s.kept.Store(&crdt.VersionVector{})
			return nil
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	return nil
}
