package sim

import (
	"bytes"
	"slices"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
)

// What a flipped bit does is noticed wherever the value is read, by its checksum:
// it may happen at any time. An entry that changes together with its checksum
// shows where its leaf is compared with the digest, or at once if it is of an
// event that was never heard. A member that runs compares a leaf once a minute at
// most, so it happens to members that are stopped. What a client does before the
// comparison may be built on it, and be lost; so entries are swapped for others
// only when no client asks any more.

// AddRot adds bit rot to a schedule: some of what is stored changes. What the copy
// holds is not checked from then on before the end; that of the others is all
// the time, for damage must not spread.
func AddRot(s Schedule) Schedule {
	c := chance(mix(s.Seed) + 1)
	var steps []Step
	var last time.Duration
	for i, step := range s.Steps {
		last = step.At
		steps = append(steps, step)
		if c.happens(20, uint64(i)) {
			kind := Rot
			if c.happens(250, uint64(i), 3) {
				kind = Invent
			}
			steps = append(steps, Step{
				At: step.At + time.Millisecond, Kind: kind, N: int(c.draw(uint64(i), 1) % 1_000_000),
				Member: int(c.draw(uint64(i), 2) % uint64(len(s.Members))),
			})
		}
	}
	n := uint64(len(s.Steps))
	s.Steps = append(steps, Step{
		At: last + 2*clientPatience, Kind: Swap, N: int(c.draw(n, 1) % 1_000_000), Member: int(c.draw(n, 2) % uint64(len(s.Members))),
	})
	return s
}

// rot flips a bit in an entry, a header or a digest on the member's disk.
func (m *member) rot(which uint64) {
	writes := m.stored("ehm")
	if len(writes) == 0 {
		return
	}
	write := writes[which%uint64(len(writes))]
	flip(write.Value, mix(which))
	m.decay(write)
}

func flip(b []byte, bit uint64) {
	bit %= uint64(8 * len(b))
	b[bit/8] ^= 1 << (bit % 8)
}

// forge flips a bit in an entry on the member's disk so that it says something
// else that would do, and sets its checksum right.
func (m *member) forge(which uint64, would func(shard int, at crdt.Position, es crdt.Entries) bool) {
	writes := m.stored("e")
	if len(writes) == 0 {
		return
	}
	write := writes[which%uint64(len(writes))]
	_, shard, rest := splitKey(write.Key)
	at := crdt.Position(rest)
	id, err := at.FieldID()
	value, broken := unseal(write.Key, write.Value)
	if err != nil || broken != nil {
		return
	}
	for bit := range uint64(8 * len(value)) {
		forged := bytes.Clone(value)
		flip(forged, mix(which)+bit)
		if es, err := crdt.DecodeEntries(id.Type, forged); err == nil && would(shard, at, es) {
			m.decay(store.Write{Key: write.Key, Value: seal(write.Key, forged)})
			return
		}
	}
}

// unheard says whether entries are of events that the member has not heard there.
func (m *member) unheard(shard int, at crdt.Position, es crdt.Entries) bool {
	m.world.mu.Lock()
	heard := m.states[shard].at(at)
	m.world.mu.Unlock()
	return slices.ContainsFunc(es, func(e crdt.Entry) bool {
		p := payloadOf(e.Payload)
		return heard[e.Dot.Actor] < max(e.Dot.Seq, p.n, p.rn)
	})
}

// stored returns what is on the member's disk of some kinds.
func (m *member) stored(kinds string) (writes []store.Write) {
	snap := m.disk.Snapshot()
	defer snap.Close()
	for _, kind := range []byte(kinds) {
		err := snap.Scan([]byte{kind}, []byte{kind + 1}, func(key, value []byte) error {
			writes = append(writes, store.Write{Key: bytes.Clone(key), Value: bytes.Clone(value)})
			return nil
		})
		if err != nil {
			m.world.fail("rot: %v", err)
		}
	}
	return writes
}

// decay changes what is on the member's disk behind the back of its engine.
func (m *member) decay(write store.Write) {
	kind, shard, rest := splitKey(write.Key)
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.rotten == nil {
		m.rotten, m.hurt = map[int]bool{}, map[int]bool{}
	}
	if m.decayed == nil {
		m.decayed = map[string]bool{}
	}
	m.rotten[shard], m.hurt[shard] = true, true
	w.rots++
	m.forget(shard, false)
	if kind == 'e' {
		w.rotted[leafOf(shard, crdt.Position(rest))] = true
	}
	w.lose(m) // what was only here may be forgotten
	var b store.Batch
	b.Put(write.Key, write.Value)
	if err := m.disk.Store.Commit(&b); err != nil {
		w.failLocked("rot: %v", err)
	}
	m.decayed[string(write.Key)] = isDecayed(write)
}

// isDecayed says whether a value is an entry which is not what its checksum says.
func isDecayed(write store.Write) bool {
	_, err := unseal(write.Key, write.Value)
	return write.Key[0] == 'e' && err != nil
}

// findDecayed takes in what is on a disk that the member starts on. world.mu is held.
func (m *member) findDecayed(content store.Snapshot) {
	m.decayed = map[string]bool{}
	if content == nil {
		return
	}
	err := content.Scan([]byte{'e'}, []byte{'f'}, func(key, value []byte) error {
		if isDecayed(store.Write{Key: key, Value: value}) {
			m.decayed[string(key)] = true
		}
		return nil
	})
	if err != nil {
		m.world.failLocked("rot: %v", err)
	}
}

// checkBuilt checks that an event in a commit that begins, which was drafted or
// applied at this moment, changes no field that is not what had been written.
// world.mu is held.
func (m *member) checkBuilt(shard int, e *crdt.Event) {
	for _, c := range e.Changes {
		if m.decayed[string(append(shardKey('e', shard), c.Field.Position()...))] {
			m.world.failLocked("%s builds %s on what the disk has made of %s %.40q", m.Name, brief(e.Dot), c.Field.Object, c.Field.Name)
		}
	}
}

// leafAt is a leaf of a shard.
type leafAt struct {
	shard int
	bits  [2]byte // the first ten of its positions
}

func leafOf(shard int, p crdt.Position) leafAt {
	return leafAt{shard, [2]byte{p[0], p[1] & 0xc0}}
}

// gone says whether some of what an event did is not to be found in the end.
// Where a leaf has rotted that may be: other leaves of the shard have heard more
// than it for ever, and what was written to a shard with rot in it may have
// been there only. w.mu is held.
func (w *world) gone(e *event) bool {
	state := w.owning(e.shard)[0].states[e.shard]
	if w.rots == 0 || covers(state.everywhere(), e.Dot) {
		return !covers(state.everywhere(), e.Dot)
	}
	missing := func(p crdt.Position) bool {
		return !covers(state.at(p), e.Dot) && !(e.onRot && w.rotted[leafOf(e.shard, p)])
	}
	return slices.ContainsFunc(e.Changes, func(c crdt.Change) bool { return missing(c.Field.Position()) }) ||
		slices.ContainsFunc(e.Clears, func(c crdt.Clear) bool {
			lo, _ := c.Object.Range()
			return missing(lo)
		})
}

// soundNow says whether what is on the member's disk is what was heard. A snapshot
// that was taken before now may be from before the rot. world.mu is held.
func (m *member) soundNow(shard int) bool {
	snap := m.disk.Snapshot()
	defer snap.Close()
	state, err := readState(snap, shard)
	return err == nil && m.world.record.check(snap, shard, state) == nil
}

// hasRot says whether any member's disk has rotted so far.
func (w *world) hasRot() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rots > 0
}
