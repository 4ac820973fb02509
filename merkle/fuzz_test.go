package merkle_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/atolldb/atoll/merkle"
)

// FuzzDecode: a digest is 24 bytes, any of them, and adding undoes taking.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(merkle.Digest{Count: 1, High: 2, Low: 3}.AppendTo(nil), bytes.Repeat([]byte{0xff}, merkle.DigestBytes))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, err := merkle.Decode(a)
		if (err == nil) != (len(a) == merkle.DigestBytes) || err != nil && !errors.Is(err, merkle.ErrMalformed) {
			t.Fatalf("%d bytes: %v", len(a), err)
		}
		if err == nil && !bytes.Equal(x.AppendTo(nil), a) {
			t.Errorf("%x is taken for %x", a, x.AppendTo(nil))
		}
		y, err := merkle.Decode(b)
		if err == nil && (x.Add(y).Sub(y) != x || x.Sub(y).Add(y) != x || x.Add(y) != y.Add(x)) {
			t.Errorf("%v and %v do not add up", x, y)
		}
	})
}
