package ring

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// MaxShards is the greatest number of shards of a cluster; the least is 1.
const MaxShards = 1 << 16

// Tag returns the part of key that decides where it is stored, so that keys
// with one tag share a shard: what stands between the first "{" and the next
// "}" after it. Without such a pair, or with nothing in it, the whole key is the
// tag; later braces are not considered. So "{a}{b}" has the tag "a", "{{a}}" has
// "{a", and "{}{a}", "}a{" and "{a" have themselves.
func Tag(key string) string {
	_, rest, opened := strings.Cut(key, "{")
	tag, _, closed := strings.Cut(rest, "}")
	if !opened || !closed || tag == "" {
		return key
	}
	return tag
}

// Position is a place on the ring, 0 .. 2^128-1.
type Position struct{ Hi, Lo uint64 }

// Locate returns the position of key: the first 16 bytes of SHA-256 of its
// tag, big-endian.
func Locate(key string) Position {
	return hash([]byte(Tag(key)))
}

func hash(b []byte) Position {
	sum := sha256.Sum256(b)
	return Position{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

// Shard returns which of shards equal arcs holds p: the whole part of
// p * shards / 2^128. It panics if shards is outside 1..MaxShards.
func (p Position) Shard(shards int) int {
	if shards < 1 || shards > MaxShards {
		panic(fmt.Sprintf("ring: %d shards, want 1 to %d", shards, MaxShards))
	}
	carry, _ := bits.Mul64(p.Lo, uint64(shards))
	shard, low := bits.Mul64(p.Hi, uint64(shards))
	_, over := bits.Add64(low, carry, 0)
	return int(shard + over)
}

// String returns p as 32 hexadecimal digits.
func (p Position) String() string { return fmt.Sprintf("%016x%016x", p.Hi, p.Lo) }

// Shard returns the shard, of shards many, that key belongs to. It panics if
// shards is outside 1..MaxShards.
func Shard(key string, shards int) int { return Locate(key).Shard(shards) }
