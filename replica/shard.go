package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/atolldb/atoll/antientropy"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// shard is this member's copy of one shard: what is kept in memory of it. Its
// loop alone reads and writes the fields; everybody else sees published.
type shard struct {
	index int
	// actor is under which the copy writes; on disk before its first event.
	actor crdt.Actor
	// heard and root describe the last committed batch. They are replaced,
	// never changed.
	heard *crdt.Heard
	root  merkle.Digest
	// waiting holds events that came before those they build on.
	waiting waiting
	// published and writer are what was last committed, for other goroutines.
	published atomic.Pointer[antientropy.State]
	writer    atomic.Uint64 // the actor
	// damaged says that entries and digests on disk were found to differ.
	damaged atomic.Bool
}

const stateVersion = 2

// encode returns the value of the shard's vector key.
func (s *shard) encode(actor crdt.Actor, heard *crdt.Heard, root merkle.Digest) []byte {
	b := []byte{stateVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(actor))
	b = root.AppendTo(b)
	return seal(vectorKey(s.index), heard.AppendTo(b))
}

// load reads the shard as it was last committed. A shard that is not on disk
// is empty and has no actor yet.
func (s *shard) load(snap store.Snapshot) error {
	value, err := snap.Get(vectorKey(s.index))
	if errors.Is(err, store.ErrNotFound) {
		s.set(0, crdt.NewHeard(nil), merkle.Digest{})
		return nil
	}
	if err != nil {
		return err
	}
	const fixed = 1 + 8 + merkle.DigestBytes
	value, sound := unseal(vectorKey(s.index), value)
	if !sound || len(value) < fixed || value[0] != stateVersion {
		return fmt.Errorf("%w: state of shard %d", store.ErrCorrupt, s.index)
	}
	root, err := merkle.Decode(value[9:fixed])
	if err != nil {
		return fmt.Errorf("%w: state of shard %d: %w", store.ErrCorrupt, s.index, err)
	}
	heard, err := crdt.DecodeHeard(value[fixed:])
	if err != nil {
		return fmt.Errorf("%w: state of shard %d: %w", store.ErrCorrupt, s.index, err)
	}
	s.set(crdt.Actor(binary.BigEndian.Uint64(value[1:])), heard, root)
	return nil
}

// set takes over a committed state and publishes it.
func (s *shard) set(actor crdt.Actor, heard *crdt.Heard, root merkle.Digest) {
	s.actor, s.heard, s.root = actor, heard, root
	s.writer.Store(uint64(actor))
	s.published.Store(&antientropy.State{Vector: heard.Vector(), Root: root, Whole: heard.Whole()})
}

// loadHeard reads what the shard had heard at the moment of the snapshot.
func loadHeard(snap store.Snapshot, index int) (*crdt.Heard, error) {
	var s shard
	s.index = index
	err := s.load(snap)
	return s.heard, err
}
