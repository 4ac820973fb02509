package sim

import "github.com/atolldb/atoll/crdt"

// A disk that is put back without a word, as a virtual machine is, has lost
// what it did since, and would do it anew under the same dots. The engine
// notices when a peer knows more of the copy than the copy does. It cannot
// notice before it has met one: so nothing is asked of the member until then,
// and it is put back only if all who are up know all that it forgets.

// revert crashes the member. It starts on its backup, as if nothing had been.
func (m *member) revert() {
	if m.backup != nil && m.replica != nil {
		m.crash(0)
		m.reverted = true
	}
}

// goBack puts the backup onto the disk of a member that is about to start.
func (m *member) goBack() {
	m.reverted = false
	held, ok := m.forgotten()
	if !ok {
		return
	}
	m.replace(m.backup)
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	m.held = held
	m.world.outcome.Stats.PutBack += min(1, len(held))
}

// forgotten returns the actors, by shard, of which the backup lacks events, and
// whether the others know all of these.
func (m *member) forgotten() (map[int]crdt.Actor, bool) {
	held := map[int]crdt.Actor{}
	for shard := range m.states {
		was, err := readState(m.backup, shard)
		if err != nil {
			m.world.fail("%s: %v", m.Name, err)
			return nil, false
		}
		last := m.world.record.last[was.actor]
		if was.actor == 0 || was.everywhere()[was.actor] == last {
			continue
		}
		held[shard] = was.actor
		if !m.world.othersKnow(m, shard, crdt.Dot{Actor: was.actor, Seq: last}) {
			return nil, false
		}
	}
	return held, true
}

// othersKnow says whether another member is up, and all that are have an event
// on disk.
func (w *world) othersKnow(m *member, shard int, d crdt.Dot) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	know := 0
	for _, o := range w.members {
		if o == m || o.replica == nil {
			continue
		}
		if !covers(o.states[shard].everywhere(), d) {
			return false
		}
		know++
	}
	return know > 0
}

// isWitness says whether a member may be the one that knows what another one has
// forgotten and not noticed yet.
func (w *world) isWitness(m *member) bool {
	for _, o := range w.members {
		if o != m && o.isHeld() {
			return true
		}
	}
	return false
}

// forgets says whether a step takes something from a member that it had.
func (s Step) forgets() bool {
	switch s.Kind {
	case Crash, Wipe, Restore, Revert, Rot, Invent, Swap:
		return true
	}
	return false
}

func (m *member) isHeld() bool {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	return len(m.held) > 0
}
