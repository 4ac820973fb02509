package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/merkle"
)

// The oracle reads what the engine writes to disk, without the engine: the
// layout is drawn in the package comment of replica.

// sealBytes is the length of the checksum at the end of each value of a shard:
// the CRC-32C of key and value.
const sealBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.BigEndian.AppendUint32(bytes.Clone(value), sum)
}

// unseal returns the value that was sealed under a key.
func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealBytes
	if n < 0 || !bytes.Equal(seal(key, sealed[:n]), sealed) {
		return nil, fmt.Errorf("%x is not what its checksum says", sealed)
	}
	return bytes.Clone(sealed[:n]), nil
}

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

// derived is what follows from the entries of a shard, and is on disk as well.
type derived struct {
	leaves map[string]merkle.Digest // by the keys of their digests
	live   map[crdt.Object]uint64   // fields
}

func newDerived() *derived {
	return &derived{map[string]merkle.Digest{}, map[crdt.Object]uint64{}}
}

// leaf adds the digest of an entry to that of its leaf.
func (d *derived) leaf(shard int, at crdt.Position, digest merkle.Digest) {
	first := binary.BigEndian.Uint16([]byte(at))
	key := string(binary.BigEndian.AppendUint16(shardKey('m', shard), first>>6))
	d.leaves[key] = d.leaves[key].Add(digest)
}

// check compares the digests of leaves and the counts of fields on a disk with
// what they should be.
func (d *derived) check(snap store.Snapshot, shard int) error {
	check := func(key, sealed []byte) error {
		value, err := unseal(key, sealed)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		_, _, rest := splitKey(key)
		switch {
		case key[0] == 'm':
			if want := d.leaves[string(key)]; !bytes.Equal(value, want.AppendTo(nil)) {
				return fmt.Errorf("the digest at %q is %x, its entries come to %v", key, value, want)
			}
			delete(d.leaves, string(key))
		case len(rest) > 0:
			o := crdt.Object{Key: string(rest[:len(rest)-1]), Type: crdt.Type(rest[len(rest)-1])}
			if want := d.live[o]; !bytes.Equal(value, binary.AppendUvarint(nil, want)) {
				return fmt.Errorf("the header of %s is %x, it has %d fields", o, value, want)
			}
			delete(d.live, o)
		}
		return nil
	}
	for _, kind := range []byte("hm") {
		if err := snap.Scan(shardKey(kind, shard), shardKey(kind, shard+1), check); err != nil {
			return err
		}
	}
	if len(d.leaves) > 0 || len(d.live) > 0 {
		return fmt.Errorf("%d leaves have no digest, %d objects have no header", len(d.leaves), len(d.live))
	}
	return nil
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
