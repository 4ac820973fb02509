package crdt_test

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

func element(key, name string) crdt.FieldID {
	return crdt.FieldID{Object: crdt.Object{Key: key, Type: crdt.TypeSet}, Name: name}
}

func only(key string, t crdt.Type) crdt.FieldID {
	return crdt.FieldID{Object: crdt.Object{Key: key, Type: t}}
}

// TestPositionLayout draws a position from its description.
func TestPositionLayout(t *testing.T) {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return string(sum[16:24])
	}
	for _, c := range []struct {
		id   crdt.FieldID
		want string
	}{
		{element("cart", "apple"), hash("cart") + "\x00\x04cart\x02" + hash("apple") + "apple"},
		{only("likes", crdt.TypeCounter), hash("likes") + "\x00\x05likes\x01" + strings.Repeat("\x00", 8)},
	} {
		if got := c.id.Position(); got != crdt.Position(c.want) {
			t.Errorf("the position of %v is %x, want %x", c.id, got, c.want)
		}
	}
}

func randomField(rng *rand.Rand) crdt.FieldID {
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "\x00ab\xff"[rng.IntN(4)]
		}
		return string(b)
	}
	id := crdt.FieldID{Object: crdt.Object{Key: text(1 + rng.IntN(3)), Type: crdt.Types[rng.IntN(3)]}}
	if id.Type == crdt.TypeSet {
		id.Name = text(rng.IntN(3))
	}
	return id
}

func TestPositions(t *testing.T) {
	rng := random(t)
	hash := func(s string) uint64 {
		sum := sha256.Sum256([]byte(s))
		return binary.BigEndian.Uint64(sum[16:])
	}
	for range 5000 {
		a, b := randomField(rng), randomField(rng)
		p, q := a.Position(), b.Position()
		if (p == q) != (a == b) {
			t.Fatalf("%v and %v: one position, two fields", a, b)
		}
		if x, y := hash(a.Key), hash(b.Key); x != y && (x < y) != (p < q) {
			t.Fatalf("%v and %v are not in hash order", a, b)
		}
		lo, hi := a.Range()
		if inside := lo <= q && q < hi; inside != (a.Object == b.Object) {
			t.Fatalf("%v lies in the range of %s: %t", b, a.Object, inside)
		}
		if p <= "" || p >= crdt.End {
			t.Fatalf("%v lies outside of all", a)
		}
		if got, err := p.FieldID(); err != nil || got != a {
			t.Fatalf("%v is taken for %v: %v", a, got, err)
		}
		if got, err := crdt.DecodePosition(p); err != nil || got != a {
			t.Fatalf("%v is taken for %v: %v", a, got, err)
		}
	}
}

func TestLargestPosition(t *testing.T) {
	id := element(strings.Repeat("k", crdt.MaxKeyBytes), strings.Repeat("e", crdt.MaxElementBytes))
	if got, err := crdt.DecodePosition(id.Position()); err != nil || got != id {
		t.Errorf("the largest field does not come back: %v", err)
	}
}

func TestDecodePositionRefuses(t *testing.T) {
	good := string(element("key", "name").Position())
	flip := func(i int) string {
		b := []byte(good)
		b[i] ^= 0x40
		return string(b)
	}
	lo, hi := element("key", "name").Range()
	for name, p := range map[string]string{
		"nothing":           "",
		"a bound":           string(lo),
		"another bound":     string(hi),
		"the end":           string(crdt.End),
		"cut off":           good[:len(good)-1],
		"more":              good + "x",
		"another key hash":  flip(0),
		"another length":    flip(9),
		"another key":       flip(10),
		"another type":      flip(13),
		"another name hash": flip(14),
		"another name":      flip(22),
		"an unknown type":   good[:13] + "\x07" + good[14:],
		"a long key":        string(element(strings.Repeat("k", crdt.MaxKeyBytes+1), "").Position()),
		"a long name":       string(element("k", strings.Repeat("e", crdt.MaxElementBytes+1)).Position()),
		"an empty key":      string(element("", "e").Position()),
		"a counter's field": string(crdt.FieldID{Object: crdt.Object{Key: "k", Type: crdt.TypeCounter}, Name: "x"}.Position()),
		"far too much":      strings.Repeat("x", 1<<17),
	} {
		_, err := crdt.DecodePosition(crdt.Position(p))
		refused(t, name, err)
	}
}
