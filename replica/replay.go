package replica

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
)

// replayAhead applies what the log has beyond what the shard has heard: what a
// leaf has forgotten, and no peer had heard. It returns false if events are
// left that must wait for others.
func (r *Replica) replayAhead(s *shard) (done bool, err error) {
	for {
		before := r.State(s.index).Vector
		events, done, err := r.logAhead(s)
		if err != nil || len(events) == 0 {
			return done, err
		}
		if err := r.deliverAll(r.tasks, s.index, events); err != nil {
			return false, err
		}
		if r.State(s.index).Vector.Compare(before) == crdt.Equal {
			return false, nil
		}
	}
}

// logAhead returns events of the log that the shard has not heard everywhere,
// those that can be applied first, and whether there are none at all.
func (r *Replica) logAhead(s *shard) (events [][]byte, none bool, err error) {
	snap := r.store.Snapshot()
	defer snap.Close()
	heard, err := loadHeard(snap, s.index)
	if err != nil {
		return nil, false, err
	}
	v := heard.Vector()
	if ahead, err := isAhead(snap, s.index, v); err != nil || !ahead {
		return nil, err == nil, err
	}
	tops, err := logTops(snap, s.index)
	if err != nil {
		return nil, false, err
	}
	events, _, err = readLog(snap, s.index, tops, heard, answerBytes)
	for i, raw := range events {
		events[i] = slices.Clone(raw)
	}
	return events, false, err
}

// isAhead says whether the log has events beyond a vector. It looks at two keys
// for each actor.
func isAhead(snap store.Snapshot, index int, v crdt.VersionVector) (bool, error) {
	lo, end := shardKey('l', index, 0), shardEnd('l', index)
	first := func(lo, hi []byte) (key []byte, err error) {
		err = scanAll(snap, lo, hi, func(found, _ []byte, _ error) error {
			key = slices.Clone(found)
			return errStop
		})
		if err == errStop {
			err = nil
		}
		return key, err
	}
	for {
		key, err := first(lo, end)
		if len(key) != shardPrefixBytes+16 || err != nil {
			return false, err
		}
		actor := crdt.Actor(binary.BigEndian.Uint64(key[shardPrefixBytes:]))
		lo = append(logKey(index, crdt.Dot{Actor: actor, Seq: math.MaxUint64}), 0)
		ahead, err := first(logKey(index, crdt.Dot{Actor: actor, Seq: v[actor] + 1}), lo)
		if ahead != nil || err != nil {
			return ahead != nil, err
		}
	}
}

// logTops returns the last event that the log has of each actor.
func logTops(snap store.Snapshot, index int) (crdt.VersionVector, error) {
	tops := crdt.VersionVector{}
	err := scanAll(snap, shardKey('l', index, 0), shardEnd('l', index), func(key, _ []byte, _ error) error {
		if at := key[shardPrefixBytes:]; len(at) == 16 {
			tops.Observe(crdt.Dot{Actor: crdt.Actor(binary.BigEndian.Uint64(at)), Seq: binary.BigEndian.Uint64(at[8:])})
		}
		return nil
	})
	return tops, err
}
