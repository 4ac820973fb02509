package replica

import (
	"context"
	"fmt"
	"slices"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
	pb "github.com/atolldb/atoll/proto"
)

// recover starts a shard anew of which it is not known what it has heard: once
// a whole peer is found that has all that the entries and the log here speak
// of, but for what the log has, everything but the log goes. What the shard
// had is then pulled as by a newcomer, and the log replayed.
func (r *Replica) recover(s *shard) error {
	snap := r.store.Snapshot()
	spoken, err := spokenOf(snap, s.index)
	snap.Close()
	if err != nil {
		return err
	}
	wipe := func() error {
		return r.submitAndWait(r.tasks, task{shard: s, alone: func(l *loop) error { return l.wipe(s) }})
	}
	if r.allLogged(s, crdt.VersionVector{}, spoken) == nil {
		return wipe() // the log alone makes up for it
	}
	err = r.askAround(func(ctx context.Context, member string) error {
		answer, err := r.ask(ctx, member, &pb.SyncRequest{What: &pb.SyncRequest_States{States: &pb.Empty{}}})
		if err != nil {
			return err
		}
		for _, encoded := range answer.GetStates().GetShards() {
			if int(encoded.GetShard()) != s.index {
				continue
			}
			theirs, err := antientropy.DecodeState(encoded)
			if err != nil {
				return err
			}
			if !theirs.Whole {
				return fmt.Errorf("%w: it is not whole there", errTooLittle)
			}
			if err := r.allLogged(s, theirs.Vector, spoken); err != nil {
				return err
			}
			return wipe()
		}
		return fmt.Errorf("%w: it has no shard %d", errTooLittle, s.index)
	})
	if err != nil && s.health.abandoned(everyLeaf) {
		return wipe()
	}
	return err
}

// allLogged returns errTooLittle unless the log has all events from after one
// vector up to another.
func (r *Replica) allLogged(s *shard, after, upTo crdt.VersionVector) error {
	snap := r.store.Snapshot()
	defer snap.Close()
	for actor, seq := range upTo {
		if err := r.logged(snap, s.index, actor, after[actor], seq); err != nil {
			return err
		}
	}
	return nil
}

// spokenOf returns the events that the entries and the log of a shard speak
// of: it has heard at least these.
func spokenOf(snap store.Snapshot, index int) (crdt.VersionVector, error) {
	spoken, err := logTops(snap, index)
	if err != nil {
		return nil, err
	}
	return spoken, scanAll(snap, shardKey('e', index, 0), shardEnd('e', index), func(key, value []byte, err error) error {
		_, es, _ := decodeField(key, value) // what cannot be read says nothing
		for _, e := range es {
			spoken.Observe(e.Dot)
			if c, ok := e.Payload.(crdt.Contribution); ok {
				spoken.Observe(crdt.Dot{Actor: e.Dot.Actor, Seq: max(c.N, c.ResetN)})
			}
		}
		return nil
	})
}

// wipe removes all of a shard but the log. What it has heard stays unreadable
// until the last batch, so that a crash in between starts it once more.
func (l *loop) wipe(s *shard) error {
	r := l.replica
	if err := l.clearKeys(s, "ehmo"); err != nil {
		return err
	}
	empty := crdt.NewHeard(nil)
	l.batch.Put(vectorKey(s.index), s.encode(0, empty, merkle.Digest{}))
	if err := l.commit(&l.batch, s); err != nil {
		return unavailable(err)
	}
	s.health.forget()
	s.health.mu.Lock()
	s.health.ahead = true
	s.health.mu.Unlock()
	s.waiting, s.recorded = waiting{}, -1
	s.set(0, empty, merkle.Digest{})
	r.counters.repairs.Add(1)
	r.log.Warn("a shard starts anew; what it had is pulled from peers", "shard", s.index)
	return nil
}

// clearKeys removes all keys of some kinds of a shard, in as many batches as it
// takes. The last of them is left for the caller to commit.
func (l *loop) clearKeys(s *shard, kinds string) error {
	l.batch.Reset()
	for _, kind := range []byte(kinds) {
		for more := true; more; {
			snap := l.replica.store.Snapshot()
			err := scanAll(snap, shardKey(kind, s.index, 0), shardEnd(kind, s.index), func(key, _ []byte, _ error) error {
				l.batch.Delete(slices.Clone(key))
				if len(l.batch.Writes()) >= maxTrimmed || l.batch.Bytes() >= maxGroupSize {
					return errStop
				}
				return nil
			})
			snap.Close()
			if more = err == errStop; err != nil && !more {
				return unavailable(err)
			}
			if !more {
				break
			}
			if err := l.commit(&l.batch, s); err != nil {
				return unavailable(err)
			}
			l.batch.Reset()
		}
	}
	return nil
}

// forget takes in that nothing is left that could be damaged.
func (h *health) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost, h.unfound, h.ahead = nil, nil, false
	clear(h.damaged)
	clear(h.unmended)
	clear(h.givenUp)
	clear(h.vouched)
}
