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
	// published, spoken and writer are what was last committed, for other
	// goroutines; change is closed when they are replaced, nil while nobody waits.
	published atomic.Pointer[antientropy.State]
	spoken    atomic.Pointer[crdt.Heard]
	writer    atomic.Uint64 // the actor
	change    atomic.Pointer[chan struct{}]
	sought    atomic.Bool // peers are being asked for events
	// kept is what was heard when the log began to keep more than its limit, for an
	// owner that is away; nil if it does not.
	kept atomic.Pointer[crdt.VersionVector]
	// unsettled are increments of this actor to be taken back if another that the
	// counter has not heard yet stands.
	unsettled []crdt.FieldID
	// recorded is how many operations the copy remembers, -1 if it was not
	// counted yet; census is of who forgets, and not the loop's.
	recorded int
	census   *census
	health   health
	role     atomic.Int32  // what this copy is: see role
	serving  atomic.Bool   // requests are taken
	joined   atomic.Uint64 // bytes that were taken over of it
	hints    atomic.Uint64 // bytes of events written in place of owners, about
}

const stateVersion = 2

// encode returns the value of the shard's vector key.
func (s *shard) encode(actor crdt.Actor, heard *crdt.Heard, root merkle.Digest) []byte {
	b := []byte{stateVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(actor))
	b = root.AppendTo(b)
	return seal(vectorKey(s.index), heard.AppendTo(b))
}

// load reads the shard as it was last committed, and publishes it.
func (s *shard) load(snap store.Snapshot) error {
	actor, heard, root, err := readShard(snap, s.index)
	if err == nil {
		s.set(actor, heard, root)
	}
	return err
}

// readShard reads a shard's state as of a snapshot. A shard that is not on
// disk is empty and has no actor yet.
func readShard(snap store.Snapshot, index int) (crdt.Actor, *crdt.Heard, merkle.Digest, error) {
	fail := func(err error) (crdt.Actor, *crdt.Heard, merkle.Digest, error) {
		return 0, nil, merkle.Digest{}, err
	}
	value, err := snap.Get(vectorKey(index))
	if errors.Is(err, store.ErrNotFound) {
		return 0, crdt.NewHeard(nil), merkle.Digest{}, nil
	}
	if err != nil {
		return fail(err)
	}
	const fixed = 1 + 8 + merkle.DigestBytes
	value, sound := unseal(vectorKey(index), value)
	if !sound || len(value) < fixed || value[0] != stateVersion {
		return fail(fmt.Errorf("%w: state of shard %d", store.ErrCorrupt, index))
	}
	root, err := merkle.Decode(value[9:fixed])
	if err != nil {
		return fail(fmt.Errorf("%w: state of shard %d: %w", store.ErrCorrupt, index, err))
	}
	heard, err := crdt.DecodeHeard(value[fixed:])
	if err != nil {
		return fail(fmt.Errorf("%w: state of shard %d: %w", store.ErrCorrupt, index, err))
	}
	return crdt.Actor(binary.BigEndian.Uint64(value[1:])), heard, root, nil
}

// set takes over a committed state and publishes it.
func (s *shard) set(actor crdt.Actor, heard *crdt.Heard, root merkle.Digest) {
	s.actor, s.heard, s.root = actor, heard, root
	s.publish()
}

// loadHeard reads what the shard had heard at the moment of the snapshot.
func loadHeard(snap store.Snapshot, index int) (*crdt.Heard, error) {
	_, heard, _, err := readShard(snap, index)
	return heard, err
}
