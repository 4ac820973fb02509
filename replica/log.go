package replica

import (
	"errors"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
)

// maxTrimmed is how many events are dropped at once.
const maxTrimmed = 10_000

// readLog returns events that the asker lacks, in an order in which it can
// apply them, as far as the log has them and the budget of bytes allows, and
// whether the budget ended it.
func readLog(snap store.Snapshot, shard int, mine, asker crdt.VersionVector, budget int) (events [][]byte, more bool, err error) {
	have := asker.Clone()
	actors := mine.Actors()
	for progress := true; progress; {
		progress = false
		for _, actor := range actors {
			for have[actor] < mine[actor] {
				d := crdt.Dot{Actor: actor, Seq: have[actor] + 1}
				event, raw, err := readEvent(snap, shard, d)
				if err != nil {
					return nil, false, err
				}
				if event == nil || !have.Dominates(event.Deps) {
					break
				}
				if budget -= len(raw); budget < 0 && len(events) > 0 {
					return events, true, nil
				}
				events = append(events, raw)
				have.Observe(d)
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
	limit := uint64(l.replica.options.LogLimit)
	snap := l.replica.store.Snapshot()
	defer snap.Close()
	l.batch.Reset()
	for actor, seq := range s.heard.Vector() {
		if seq <= before[actor] || seq <= limit {
			continue
		}
		lo := logKey(s.index, crdt.Dot{Actor: actor})
		hi := logKey(s.index, crdt.Dot{Actor: actor, Seq: seq - limit + 1})
		err := snap.Scan(lo, hi, func(key, _ []byte) error {
			l.batch.Delete(slices.Clone(key))
			if len(l.batch.Writes()) < maxTrimmed {
				return nil
			}
			defer l.batch.Reset()
			return l.replica.store.Commit(&l.batch)
		})
		if err != nil {
			return unavailable(err)
		}
	}
	return unavailable(l.replica.store.Commit(&l.batch))
}
