package merkle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/bits"
	"slices"

	"github.com/minio/highwayhash"
)

// DigestBytes is the length of an encoded digest.
const DigestBytes = 24

// ErrMalformed says that bytes are not an encoded digest.
var ErrMalformed = errors.New("merkle: malformed digest")

// Digest stands for a set of entries: how many there are, and the sum of
// their hashes modulo 2^128. The zero value is the digest of nothing.
type Digest struct {
	Count     uint64
	High, Low uint64
}

// Add returns the digest of the union of two disjoint sets.
func (d Digest) Add(o Digest) Digest {
	low, carry := bits.Add64(d.Low, o.Low, 0)
	high, _ := bits.Add64(d.High, o.High, carry)
	return Digest{d.Count + o.Count, high, low}
}

// Sub returns the digest of d less a set o that is part of it.
func (d Digest) Sub(o Digest) Digest {
	low, borrow := bits.Sub64(d.Low, o.Low, 0)
	high, _ := bits.Sub64(d.High, o.High, borrow)
	return Digest{d.Count - o.Count, high, low}
}

// AppendTo appends count, high and low, big-endian.
func (d Digest) AppendTo(b []byte) []byte {
	b = slices.Grow(b, DigestBytes)
	b = binary.BigEndian.AppendUint64(b, d.Count)
	b = binary.BigEndian.AppendUint64(b, d.High)
	return binary.BigEndian.AppendUint64(b, d.Low)
}

// Decode returns an encoded digest, or ErrMalformed.
func Decode(b []byte) (Digest, error) {
	if len(b) != DigestBytes {
		return Digest{}, fmt.Errorf("%w: %d bytes, not %d", ErrMalformed, len(b), DigestBytes)
	}
	return Digest{
		Count: binary.BigEndian.Uint64(b),
		High:  binary.BigEndian.Uint64(b[8:]),
		Low:   binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// String returns the sum in hexadecimal and the count.
func (d Digest) String() string { return fmt.Sprintf("%016x%016x/%d", d.High, d.Low, d.Count) }

// Hasher hashes entries with the cluster's key. It is not safe for concurrent
// use; Clone one for each goroutine.
type Hasher struct {
	key  [32]byte
	hash hash.Hash
	sum  [highwayhash.Size128]byte
	buf  []byte
}

// NewHasher returns a hasher with the given secret key.
func NewHasher(key [32]byte) *Hasher {
	h, err := highwayhash.New128(key[:])
	if err != nil {
		panic(err) // only keys of other lengths are refused
	}
	return &Hasher{key: key, hash: h}
}

// Clone returns a hasher of the same key.
func (h *Hasher) Clone() *Hasher { return NewHasher(h.key) }

// Entry returns the digest of one entry: where it is and what it is, both in
// their canonical encoding.
func (h *Hasher) Entry(position string, entry []byte) Digest {
	h.buf = binary.BigEndian.AppendUint64(h.buf[:0], uint64(len(position)))
	h.buf = append(append(h.buf, position...), entry...)
	h.hash.Reset()
	_, _ = h.hash.Write(h.buf) // writing to a hash does not fail
	sum := h.hash.Sum(h.sum[:0])
	return Digest{1, binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
}
