package sim

import (
	"bytes"
	"time"

	"github.com/atolldb/atoll/internal/store"
)

// AddRot adds bit rot to a schedule: some stored entries change. What the copy
// holds is not checked from then on before the end; that of the others is all
// the time, for damage must not spread.
func AddRot(s Schedule) Schedule {
	c := chance(mix(s.Seed) + 1)
	var steps []Step
	for i, step := range s.Steps {
		steps = append(steps, step)
		if c.happens(20, uint64(i)) {
			steps = append(steps, Step{
				At: step.At + time.Millisecond, Kind: Rot, N: int(c.draw(uint64(i), 1) % 1_000_000),
				Member: int(c.draw(uint64(i), 2) % uint64(len(s.Members))),
			})
		}
	}
	s.Steps = steps
	return s
}

// rot flips a bit in an entry on the member's disk.
func (m *member) rot(which uint64) {
	var keys, values [][]byte
	snap := m.disk.Snapshot()
	defer snap.Close()
	err := snap.Scan([]byte{'e'}, []byte{'f'}, func(key, value []byte) error {
		keys, values = append(keys, bytes.Clone(key)), append(values, bytes.Clone(value))
		return nil
	})
	if err != nil || len(keys) == 0 {
		return
	}
	i := which % uint64(len(keys))
	bit := mix(which) % uint64(8*len(values[i]))
	values[i][bit/8] ^= 1 << (bit % 8)
	_, shard, _ := splitKey(keys[i])
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.rotten == nil {
		m.rotten = map[int]bool{}
	}
	m.rotten[shard] = true
	for _, e := range w.record.order {
		// What was only here may be forgotten.
		if e.shard == shard && !e.lost {
			e.lost = true
			w.losses++
		}
	}
	var b store.Batch
	b.Put(keys[i], values[i])
	if err := m.disk.Store.Commit(&b); err != nil {
		w.failLocked("rot: %v", err)
	}
}

// rotted says whether any member's disk has rotted.
func (w *world) rotted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if len(m.rotten) > 0 {
			return true
		}
	}
	return false
}

// anyRotten says whether a shard has rotted anywhere. world.mu is held.
func (m *member) anyRotten(shard int) bool {
	for _, o := range m.world.members {
		if o.rotten[shard] {
			return true
		}
	}
	return false
}
