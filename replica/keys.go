package replica

import (
	"encoding/binary"
	"fmt"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
)

const (
	// leafBits is how many first bits of a position name its Merkle leaf.
	leafBits = 10
	leaves   = 1 << leafBits

	shardPrefixBytes = 3
)

// shardKey starts a key of a kind and shard, with room for more bytes.
func shardKey(kind byte, shard, more int) []byte {
	k := append(make([]byte, 0, shardPrefixBytes+more), kind)
	return binary.BigEndian.AppendUint16(k, uint16(shard))
}

// shardEnd is above all keys of a kind and shard.
func shardEnd(kind byte, shard int) []byte {
	if shard == 1<<16-1 {
		return []byte{kind + 1}
	}
	return shardKey(kind, shard+1, 0)
}

func vectorKey(shard int) []byte { return shardKey('v', shard, 0) }

func entryKey(shard int, at crdt.Position) []byte {
	return append(shardKey('e', shard, len(at)), at...)
}

func headerKey(shard int, o crdt.Object) []byte {
	return append(append(shardKey('h', shard, len(o.Key)+1), o.Key...), byte(o.Type))
}

func leafKey(shard, leaf int) []byte {
	return binary.BigEndian.AppendUint16(shardKey('m', shard, 2), uint16(leaf))
}

func logKey(shard int, d crdt.Dot) []byte {
	k := binary.BigEndian.AppendUint64(shardKey('l', shard, 16), uint64(d.Actor))
	return binary.BigEndian.AppendUint64(k, d.Seq)
}

// positionOf returns the position in an entry key.
func positionOf(entryKey []byte) crdt.Position {
	return crdt.Position(entryKey[shardPrefixBytes:])
}

// leafIn returns the leaf in the key of a digest.
func leafIn(leafKey []byte) (int, error) {
	if len(leafKey) == shardPrefixBytes+2 {
		if leaf := int(binary.BigEndian.Uint16(leafKey[shardPrefixBytes:])); leaf < leaves {
			return leaf, nil
		}
	}
	return 0, fmt.Errorf("%w: %x among the digests of leaves", store.ErrCorrupt, leafKey) // nothing here writes such a key
}

// leafOf returns the leaf of a position or of a bound, where a bound that was
// cut short reads as if filled up with zeros.
func leafOf(at crdt.Position) int {
	var first [2]byte
	copy(first[:], at)
	return int(binary.BigEndian.Uint16(first[:]) >> (16 - leafBits))
}

// leafStart returns the lowest position of a leaf; that of the leaf after the
// last is the end.
func leafStart(leaf int) crdt.Position {
	switch leaf {
	case 0:
		return ""
	case leaves:
		return crdt.End
	}
	return crdt.Position(binary.BigEndian.AppendUint16(nil, uint16(leaf<<(16-leafBits))))
}
