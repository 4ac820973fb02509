package replica

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

const (
	// vouchedFor is how long a comparison of a leaf with its digest holds for
	// those who ask about what is in it.
	vouchedFor = time.Minute
	// suspicionPause and divergencePause are how long after the last inspection
	// a shard is inspected again for a value that could not be read, and for a
	// peer that differs.
	suspicionPause  = time.Second
	divergencePause = 10 * time.Minute
	// maxHurt is how many leaves an answer may find damaged before it is given up.
	maxHurt = 64
)

// everyLeaf stands for a whole shard among its leaves.
const everyLeaf = -1

// damage is an ErrCorrupt that says which leaf of a shard is not what was
// written.
type damage struct {
	leaf int
	error
}

func (d *damage) Unwrap() error { return d.error }

// health is what is known of the damage of one shard. It is kept in memory
// only: a leaf is compared with its digest before anybody is told of it, so a
// restart forgets nothing that matters.
type health struct {
	mu sync.Mutex
	// damaged says what is wrong with leaves, and unmended why they still are.
	damaged, unmended map[int]error
	vouched           map[int]time.Time // when leaves were last found sound
	// lost says why it is not known what the shard has heard, and unfound why
	// no peer has made up for it yet.
	lost, unfound error
	// givenUp are damaged leaves, or everyLeaf, to be repaired at any price.
	givenUp map[int]bool

	suspected bool      // inspect it
	inspected time.Time // the last time
	ahead     bool      // the log may have events that are to be applied
}

// sound says that no damage is known, and that none was repaired that the log
// has still to make up for.
func (h *health) sound() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.damaged) == 0 && h.lost == nil && !h.ahead
}

// unreadable returns why it is not known what the shard has heard, nil if it is.
func (h *health) unreadable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// hidden returns the damaged leaves in order.
func (h *health) hidden() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.damaged))
}

// abandoned says whether a damaged leaf, or everyLeaf, is to be repaired at any
// price.
func (h *health) abandoned(leaf int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.givenUp[leaf]
}

// hurt takes in that a leaf is damaged.
func (r *Replica) hurt(s *shard, leaf int, err error) {
	h := &s.health
	h.mu.Lock()
	_, known := h.damaged[leaf]
	if !known {
		if h.damaged == nil {
			h.damaged, h.unmended = map[int]error{}, map[int]error{}
		}
		h.damaged[leaf] = err
		delete(h.vouched, leaf)
	}
	h.mu.Unlock()
	if !known {
		r.counters.damages.Add(1)
		r.log.Error("a leaf is damaged; peers take nothing of it until it is repaired", "shard", s.index, "leaf", leaf, "error", err)
		r.republish(s)
		r.keeper.wake()
	}
}

// cured takes in that a damaged leaf is sound.
func (r *Replica) cured(s *shard, leaf int) {
	h := &s.health
	h.mu.Lock()
	delete(h.damaged, leaf)
	delete(h.unmended, leaf)
	delete(h.givenUp, leaf)
	h.mu.Unlock()
	r.counters.repairs.Add(1)
	r.log.Info("a damaged leaf is repaired", "shard", s.index, "leaf", leaf)
	r.republish(s)
}

// setAhead says whether the log may have events that are to be applied.
func (r *Replica) setAhead(s *shard, ahead bool) {
	s.health.mu.Lock()
	changed := s.health.ahead != ahead
	s.health.ahead = ahead
	s.health.mu.Unlock()
	if changed {
		r.republish(s)
	}
}

// republish has the loop show again how the shard is. If it has no time, its
// next commit does.
func (r *Replica) republish(s *shard) {
	r.loop(s).offer(task{shard: s, done: ignore, alone: func(*loop) error { s.publish(); return nil }})
}

// suspect has a shard inspected soon, unless that was done a moment ago. Then
// the keeper is left alone: it may be its own repair that fails.
func (r *Replica) suspect(s *shard, pause time.Duration) {
	h := &s.health
	h.mu.Lock()
	suspected := r.options.Now().Sub(h.inspected) >= pause
	h.suspected = h.suspected || suspected
	h.mu.Unlock()
	if suspected {
		r.keeper.wake()
	}
}

// noted returns an error as it is. If it says that something on disk cannot be
// what was written, the leaf is damaged; does it not say which, the shard is
// inspected soon.
func (r *Replica) noted(s *shard, err error) error {
	var d *damage
	switch {
	case errors.As(err, &d):
		r.hurt(s, d.leaf, d)
	case errors.Is(err, store.ErrCorrupt):
		r.suspect(s, suspicionPause)
	}
	return err
}

// vouch compares what is in a leaf with its digest, if that was not done a
// moment ago. It fails with a damage.
func (r *Replica) vouch(snap store.Snapshot, s *shard, leaf int) error {
	h := &s.health
	h.mu.Lock()
	last, vouched := h.vouched[leaf]
	h.mu.Unlock()
	now := r.options.Now()
	if vouched && now.Sub(last) < vouchedFor {
		return nil
	}
	in, _, err := r.inspect(snap, s.index, leaf, leaf+1, math.MaxInt, untiring)
	if err != nil {
		return err
	}
	if found := in.damaged[leaf]; found != nil {
		return &damage{leaf, found}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.vouched == nil {
		h.vouched = map[int]time.Time{}
	}
	h.vouched[leaf] = now
	return nil
}

// loadShard reads a shard as it was last committed. If what it has heard cannot
// be read, the shard is lost until a peer makes up for it.
func (r *Replica) loadShard(s *shard, snap store.Snapshot) error {
	err := s.load(snap)
	if err == nil && s.actor == 0 && s.root == (merkle.Digest{}) && s.heard.Whole() && len(s.heard.Vector()) == 0 {
		var n uint64
		n, err = countFields(snap, s.index, "", crdt.End, 1)
		if n > 0 {
			err = fmt.Errorf("%w: what shard %d has heard is gone", store.ErrCorrupt, s.index)
		}
	}
	switch {
	case errors.Is(err, store.ErrCorrupt):
		r.lose(s, err)
		return nil
	case err != nil:
		return err
	}
	if err := s.findUnsettled(snap); err != nil {
		return err
	}
	return r.replay(s, snap)
}

// lose takes in that it is not known what a shard has heard.
func (r *Replica) lose(s *shard, err error) {
	s.health.mu.Lock()
	known := s.health.lost != nil
	s.health.lost = fmt.Errorf("%w: reads go on; nothing is written or told to peers until one is met that has all that this copy may have heard", err)
	s.health.mu.Unlock()
	s.set(0, crdt.NewHeard(nil), merkle.Digest{})
	if !known {
		r.counters.damages.Add(1)
		r.log.Error("a shard is damaged", "shard", s.index, "error", err)
	}
	r.keeper.wake()
}

// verify inspects a whole shard, leaf by leaf, and returns the first damage.
// What it finds is repaired by the keeper.
func (r *Replica) verify(s *shard) error {
	return r.examine(s, untiring, func(int) {})
}

func untiring(int) error { return nil }

// chunkBytes is about how much is inspected in one snapshot.
const chunkBytes = 4 << 20

// examine inspects a shard at the pace of rest, telling after each leaf how far
// it has come, and returns the first damage or why it could not go on.
func (r *Replica) examine(s *shard, rest func(bytes int) error, came func(leaf int)) error {
	if err := s.health.unreadable(); err != nil {
		return err
	}
	var damage error
	chunk := func(leaf int) (next int, err error) {
		snap := r.store.Snapshot()
		defer snap.Close()
		in, next, err := r.inspect(snap, s.index, leaf, leaves, chunkBytes, rest)
		if err != nil {
			return next, err
		}
		for _, leaf := range slices.Sorted(maps.Keys(in.damaged)) {
			r.hurt(s, leaf, in.damaged[leaf])
			if damage == nil {
				damage = in.damaged[leaf]
			}
		}
		return next, r.recountAll(s, in.recount)
	}
	for leaf := 0; leaf < leaves; came(leaf) {
		var err error
		if leaf, err = chunk(leaf); err != nil {
			return err
		}
	}
	snap := r.store.Snapshot()
	empty, err := orphans(snap, s.index, -1, rest)
	snap.Close()
	if err == nil {
		err = r.recountAll(s, empty)
	}
	if err == nil {
		err = damage
	}
	return err
}
