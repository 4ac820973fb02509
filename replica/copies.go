package replica

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// role is what a member's copy of a shard is. It is on disk, so that nobody
// takes what is half there for the whole.
type role int32

const (
	noCopy   role = iota
	joining       // it is being taken over: it counts for nobody
	complete      // it has all that the owners had when it was taken over
	hinted        // it holds what was written here in place of owners
	dropping      // it is being removed
	founded       // it serves a region that this member founds: if others did, it is taken over
)

func roleKey(shard int) []byte { return shardKey('s', shard, 0) }

// loadRole reads what the copy of a shard is.
func (r *Replica) loadRole(s *shard, snap store.Snapshot) error {
	if s.index == r.System() || !r.placed() {
		s.role.Store(int32(complete))
		s.serving.Store(true)
		return nil
	}
	value, err := snap.Get(roleKey(s.index))
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.role.Store(int32(noCopy))
		return nil
	case err != nil:
		return err
	}
	value, sound := unseal(roleKey(s.index), value)
	if !sound || len(value) != 1 || value[0] > byte(founded) {
		// It is taken over anew, on top of what is there.
		r.log.Error("it is not known what a copy is; it is taken over again", "shard", s.index)
		value = []byte{byte(joining)}
	}
	s.role.Store(int32(value[0]))
	return nil
}

func (s *shard) is(roles ...role) bool {
	for _, is := range roles {
		if role(s.role.Load()) == is {
			return true
		}
	}
	return false
}

// held says whether there is a copy that may be spoken of.
func (s *shard) held() bool { return !s.is(noCopy, dropping) }

// whole says whether a copy has all it is to have, as far as is known here.
func (s *shard) whole() bool { return s.is(complete, founded) }

// stands says whether a copy stands for that of an owner. What this member has founded is not
// where it shows that the region was there before: it is taken over.
func (r *Replica) stands(s *shard) bool {
	if !s.is(founded) {
		return s.whole()
	}
	l, err := r.view()
	if err != nil {
		return false
	}
	in := l.regions[r.options.Region]
	return in == nil || !in.isThere()
}

// declare writes down what copies of shards are from now on.
func (r *Replica) declare(is role, shards ...*shard) error {
	b := declaration(is, shards...)
	if len(shards) == 0 {
		return nil
	}
	if err := r.store.Commit(&b); err != nil {
		return unavailable(err)
	}
	for _, s := range shards {
		s.role.Store(int32(is))
	}
	return nil
}

// declaration is what declares it.
func declaration(is role, shards ...*shard) (b store.Batch) {
	for _, s := range shards {
		b.Put(roleKey(s.index), seal(roleKey(s.index), []byte{byte(is)}))
	}
	return b
}

// errAhead says that a copy that was to be removed has taken a write meanwhile.
var errAhead = errors.New("the copy has taken a write")

// drop removes a copy that has written no more than what a vector says, which
// every owner has heard. What it has heard of others since, they have. A crash in
// between leaves it to be removed.
func (r *Replica) drop(s *shard, upTo crdt.VersionVector) error {
	return r.submitAndWait(r.tasks, task{shard: s, alone: func(l *loop) error {
		if own := (crdt.Dot{Actor: s.actor, Seq: everything(s.heard)[s.actor]}); own.Seq > 0 && !upTo.Covers(own) {
			return fmt.Errorf("%w, shard %d", errAhead, s.index)
		}
		if err := l.doubtful(); err != nil {
			return unavailable(err)
		}
		if err := r.declare(dropping, s); err != nil {
			l.recall(s, err) // before it takes another write
			return err
		}
		return l.remove(s)
	}})
}

// remove removes all that is stored of a shard.
func (l *loop) remove(s *shard) error {
	if err := l.clearKeys(s, "ehmlvo"); err != nil {
		return err
	}
	l.batch.Delete(roleKey(s.index))
	if err := l.commit(&l.batch, s); err != nil {
		return unavailable(err)
	}
	s.health.forget()
	s.waiting, s.recorded = waiting{}, -1
	s.kept.Store(nil)
	s.role.Store(int32(noCopy))
	s.set(0, crdt.NewHeard(nil), merkle.Digest{})
	return nil
}
