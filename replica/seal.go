package replica

import (
	"encoding/binary"
	"hash/crc32"
)

// How is a flipped bit noticed before anything is built on it?
//
// Every value of a shard that says anything carries a checksum, which is compared
// wherever the value is read: all but the index of records, the keys of which are
// what it says. What the shard has heard, and its log, are covered by nothing
// else. Entries are covered by the digest of their leaf, too, which also tells
// one that is missing or of an earlier time; but nobody adds up a leaf to read
// or change one field of it. The checksum is of the key as well: what was
// written for another shard, position or dot does not pass.

const sealBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal returns a copy of a value with its checksum at the end.
func seal(key, value []byte) []byte {
	sealed := append(make([]byte, 0, len(value)+sealBytes), value...)
	return binary.BigEndian.AppendUint32(sealed, checksum(key, value))
}

// unseal returns the value that was sealed under the key, or false if this is
// not what was written.
func unseal(key, sealed []byte) ([]byte, bool) {
	n := len(sealed) - sealBytes
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != checksum(key, sealed[:n]) {
		return nil, false
	}
	return sealed[:n:n], true
}
