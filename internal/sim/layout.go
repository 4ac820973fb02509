package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// The oracle reads what the engine writes to disk, without the engine: the
// layout is drawn in the package comment of replica.

const sealBytes = 4 // a checksum, which the engine checks

// copyState is what one copy of a shard says of itself.
type copyState struct {
	actor crdt.Actor
	root  merkle.Digest
	spans []crdt.Span // in order, from the lowest position on
}

// at returns what was heard at a position.
func (s *copyState) at(p crdt.Position) crdt.VersionVector {
	heard := crdt.VersionVector{}
	for _, span := range s.spans {
		if span.Start > p {
			break
		}
		heard = span.Vector
	}
	return heard
}

// everywhere returns what was heard at every position.
func (s *copyState) everywhere() crdt.VersionVector {
	least := crdt.VersionVector{}
	if len(s.spans) == 0 {
		return least
	}
	for actor, seq := range s.spans[0].Vector {
		for _, span := range s.spans[1:] {
			seq = min(seq, span.Vector[actor])
		}
		if seq > 0 {
			least[actor] = seq
		}
	}
	return least
}

func decodeState(value []byte) (*copyState, error) {
	const head = 1 + 8 + merkle.DigestBytes
	if len(value) < head+sealBytes {
		return nil, errors.New("the state of a shard is cut off")
	}
	root, err := merkle.Decode(value[9:head])
	if err != nil {
		return nil, err
	}
	heard, err := crdt.DecodeHeard(value[head : len(value)-sealBytes])
	if err != nil {
		return nil, err
	}
	return &copyState{crdt.Actor(binary.BigEndian.Uint64(value[1:])), root, heard.Over("", crdt.End)}, nil
}

// key takes a key apart: its kind, its shard, and the rest.
func splitKey(key []byte) (kind byte, shard int, rest []byte) {
	if len(key) < 3 {
		return key[0], 0, nil
	}
	return key[0], int(binary.BigEndian.Uint16(key[1:])), key[3:]
}

func shardKey(kind byte, shard int) []byte {
	return binary.BigEndian.AppendUint16([]byte{kind}, uint16(shard))
}

// readState returns the state of a shard on a disk, an empty one if there is
// none.
func readState(snap store.Snapshot, shard int) (*copyState, error) {
	value, err := snap.Get(shardKey('v', shard))
	if errors.Is(err, store.ErrNotFound) {
		return &copyState{spans: []crdt.Span{{Vector: crdt.VersionVector{}}}}, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeState(value)
}

// decodeLogged returns the event in a value of the log, and its bytes.
func decodeLogged(value []byte) (*crdt.Event, []byte, error) {
	if len(value) < sealBytes {
		return nil, nil, fmt.Errorf("a log entry of %d bytes", len(value))
	}
	raw := bytes.Clone(value[:len(value)-sealBytes])
	event, err := crdt.DecodeEvent(raw)
	return event, raw, err
}
