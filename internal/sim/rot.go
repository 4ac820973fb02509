package sim

import (
	"bytes"
	"maps"
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
// holds in that leaf is not checked from then on until it is repaired; the other
// leaves and copies, what it forgets and what it serves are, for damage must not spread.
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
	_, shard, _ := splitKey(write.Key)
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.decayed == nil {
		m.decayed = map[string]bool{}
	}
	w.rots++
	var b store.Batch
	b.Put(write.Key, write.Value)
	if err := m.disk.Store.Commit(&b); err != nil {
		w.failLocked("rot: %v", err)
	}
	m.inspect(shard)
	m.rotten[shard], m.hurt[shard] = true, true
	m.forget(shard, false)
	w.lose(m) // what was only here may be forgotten
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

// gone says whether some of what an event did is not to be found in the end. Where
// a leaf has rotted, other leaves of the shard may have heard more than it for ever.
// w.mu is held.
func (w *world) gone(e *event) bool {
	state := w.owning(e.shard)[0].states[e.shard]
	if e.torn {
		return !state.has(e)
	}
	return !covers(state.everywhere(), e.Dot)
}

// inspect notes what is not what was heard on the member's disk, as it is now: a
// snapshot that was taken before may be from before the rot. world.mu is held.
func (m *member) inspect(shard int) {
	snap := m.disk.Snapshot()
	defer snap.Close()
	maps.DeleteFunc(m.damaged, func(leaf leafAt, _ bool) bool { return leaf.shard == shard })
	delete(m.rotten, shard)
	state, err := readState(snap, shard)
	if err != nil {
		m.world.failLocked("%s: %v", m.Name, err)
		return
	}
	found := m.world.record.inspect(snap, shard, state)
	maps.Copy(m.damaged, found.leaves)
	maps.Copy(m.struck, found.leaves)
	if found.first == nil {
		found.whole(snap, state)
	}
	if found.first != nil {
		m.rotten[shard], m.hurt[shard] = true, true
	}
}

// checkRotten takes in what is left of rot after a commit, and checks that no leaf
// has come to be wrong that was not. world.mu is held.
func (m *member) checkRotten(shard int) {
	before := maps.Clone(m.damaged)
	m.inspect(shard)
	for leaf := range m.damaged {
		if !before[leaf] {
			lo, _ := leaf.bounds()
			m.world.failLocked("%s, shard %d: the leaf at %x has not rotted, and is not what was heard any more", m.Name, shard, lo)
		}
	}
}

// hasRot says whether any member's disk has rotted so far.
func (w *world) hasRot() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rots > 0
}
