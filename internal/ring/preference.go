package ring

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// preference is one shard in a member's order: the distance to the shard's
// start in units of 2^-48 of the ring, then 16 bits of shard; compared as an
// integer.
type preference uint64

func (p preference) shard() int { return int(p & (MaxShards - 1)) }

// preferences returns all shards in the order in which m wants them.
func preferences(m Member, shards int) []preference {
	stands := make([]uint64, VirtualNodes*m.Weight)
	label := append([]byte(m.Name), 0, 0, 0, 0)
	for i := range stands {
		binary.BigEndian.PutUint32(label[len(m.Name):], uint32(i))
		stands[i] = hash(label).Hi // 64 bits are precise enough here
	}
	slices.Sort(stands)

	wants := make([]preference, shards)
	next := 0 // first stand at or after start
	for s := range wants {
		start, _ := bits.Div64(uint64(s), 0, uint64(shards))
		for next < len(stands) && stands[next] < start {
			next++
		}
		distance := stands[next%len(stands)] - start // modulo the ring
		wants[s] = preference(distance&^(MaxShards-1) | uint64(s))
	}
	slices.Sort(wants)
	return wants
}

// paces returns when a member of weight 1 claims its k-th preference, for all k;
// a member of weight w does so w times as early. If the stands of w members were
// one member's, that one would be w times as near to every shard in the sense
// of exponential variates; so times are -log(1 - (k + 1/2) / shards), in units
// of 2^-32, to base 2. Integers, so that all machines agree.
func paces(shards int) []uint64 {
	whole := log2(uint64(2 * shards))
	at := make([]uint64, shards)
	for k := range at {
		at[k] = whole - log2(uint64(2*(shards-k)-1))
	}
	return at
}

// log2 returns the logarithm of x > 0 to base 2, in units of 2^-32, by squaring:
// each squaring of a number in [1, 2) yields one more binary digit.
func log2(x uint64) uint64 {
	whole := bits.Len64(x) - 1
	result := uint64(whole)
	x <<= 63 - whole // now 1 <= x / 2^63 < 2
	for range 32 {
		square, _ := bits.Mul64(x, x) // in units of 2^-62, < 4
		digit := square >> 63
		result = result<<1 | digit
		x = square << (1 - digit)
	}
	return result
}
