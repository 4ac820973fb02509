// Package backup is the format of backup files.
//
// A file is a magic, blocks, and nothing after the last. All numbers are
// big-endian.
//
//	magic    "ATOLLBAK" version(1)
//	block    kind(1) length(4) payload checksum(4)
//
// The checksum is the CRC-32C of the block's number in the file (8), kind,
// length and payload: a block that is missing, twice or elsewhere does not
// pass. Kinds:
//
//	H        first: the header, as JSON, see Header
//	S        a shard begins: shard(2)
//	P        pairs of the shard: keyLength(4) valueLength(4) key value, ...
//	E        last: pairs(8) bytes(8) sum(32)
//
// The sum is the SHA-256 of all that comes before the last block, and the name
// of the backup: an increment says by it which backup it follows. What the keys
// and values mean is the engine's (package replica).
//
//	Writer   writes a file
//	Read     reads one, and returns ErrDamaged for whatever is not as written
//
// The caller owes the files: a name that is there only when all was written.
package backup
