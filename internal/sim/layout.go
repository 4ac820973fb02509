package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"

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

// wrongLeaves compares the digests of leaves on a disk with what they should be.
func (d *derived) wrongLeaves(snap store.Snapshot, shard int) map[leafAt]error {
	wrong, left := map[leafAt]error{}, maps.Clone(d.leaves)
	err := snap.Scan(shardKey('m', shard), shardKey('m', shard+1), func(key, sealed []byte) error {
		value, err := unseal(key, sealed)
		if want := left[string(key)]; err == nil && !bytes.Equal(value, want.AppendTo(nil)) {
			err = fmt.Errorf("the digest is %x, its entries come to %v", value, want)
		}
		if err != nil {
			wrong[leafIn(key)] = fmt.Errorf("%q: %w", key, err)
		}
		delete(left, string(key))
		return nil
	})
	for key := range left {
		wrong[leafIn([]byte(key))] = fmt.Errorf("%q: there is no digest: %v", key, err)
	}
	return wrong
}

// checkHeaders compares the counts of fields on a disk with what they should be.
func (d *derived) checkHeaders(snap store.Snapshot, shard int) error {
	left := maps.Clone(d.live)
	err := snap.Scan(shardKey('h', shard), shardKey('h', shard+1), func(key, sealed []byte) error {
		value, err := unseal(key, sealed)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		_, _, rest := splitKey(key)
		o := crdt.Object{Key: string(rest[:len(rest)-1]), Type: crdt.Type(rest[len(rest)-1])}
		if want := left[o]; !bytes.Equal(value, binary.AppendUvarint(nil, want)) {
			return fmt.Errorf("the header of %s is %x, it has %d fields", o, value, want)
		}
		delete(left, o)
		return nil
	})
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d objects have no header", len(left))
	}
	return err
}

// leafAt is a leaf of a shard.
type leafAt struct {
	shard int
	bits  [2]byte // the first ten of its positions
}

// leafOf returns the leaf of a position, or of a bound, which may be cut short.
func leafOf(shard int, p crdt.Position) leafAt {
	leaf := leafAt{shard: shard}
	copy(leaf.bits[:], p)
	leaf.bits[1] &= 0xc0
	return leaf
}

// leafIn returns the leaf in the key of a digest.
func leafIn(key []byte) leafAt {
	_, shard, number := splitKey(key)
	leaf := leafAt{shard: shard}
	binary.BigEndian.PutUint16(leaf.bits[:], binary.BigEndian.Uint16(number)<<6)
	return leaf
}

// bounds returns the lowest position of a leaf and that of the next one.
func (l leafAt) bounds() (lo, hi crdt.Position) {
	first := binary.BigEndian.Uint16(l.bits[:])
	if lo = crdt.Position(l.bits[:]); first == 0 {
		lo = ""
	}
	if first+1<<6 == 0 {
		return lo, crdt.End
	}
	return lo, crdt.Position(binary.BigEndian.AppendUint16(nil, first+1<<6))
}

// dotIn returns the dot in the key of a log's event.
func dotIn(key []byte) crdt.Dot {
	_, _, rest := splitKey(key)
	return crdt.Dot{Actor: crdt.Actor(binary.BigEndian.Uint64(rest)), Seq: binary.BigEndian.Uint64(rest[8:])}
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
