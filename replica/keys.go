package replica

import (
	"encoding/binary"

	"github.com/atolldb/atoll/crdt"
)

const (
	// leafBits is how many first bits of a position name its Merkle leaf.
	leafBits = 10
	leaves   = 1 << leafBits

	shardPrefixBytes = 3
)

func shardKey(kind byte, shard int) []byte {
	return binary.BigEndian.AppendUint16([]byte{kind}, uint16(shard))
}

func vectorKey(shard int) []byte { return shardKey('v', shard) }

func entryKey(shard int, at crdt.Position) []byte {
	k := make([]byte, 0, shardPrefixBytes+len(at))
	k = binary.BigEndian.AppendUint16(append(k, 'e'), uint16(shard))
	return append(k, at...)
}

func headerKey(shard int, o crdt.Object) []byte {
	k := make([]byte, 0, shardPrefixBytes+len(o.Key)+1)
	k = binary.BigEndian.AppendUint16(append(k, 'h'), uint16(shard))
	return append(append(k, o.Key...), byte(o.Type))
}

func leafKey(shard, leaf int) []byte {
	return binary.BigEndian.AppendUint16(shardKey('m', shard), uint16(leaf))
}

func logKey(shard int, d crdt.Dot) []byte {
	k := binary.BigEndian.AppendUint64(shardKey('l', shard), uint64(d.Actor))
	return binary.BigEndian.AppendUint64(k, d.Seq)
}

// positionOf returns the position in an entry key.
func positionOf(entryKey []byte) crdt.Position {
	return crdt.Position(entryKey[shardPrefixBytes:])
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
