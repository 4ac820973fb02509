package ring_test

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/atolldb/atoll/internal/ring"
)

func TestTag(t *testing.T) {
	for key, want := range map[string]string{
		"":                 "",
		"user:42":          "user:42",
		"{user:42}:cart":   "user:42",
		"likes:{user:42}":  "user:42",
		"{a}{b}":           "a",
		"{ }":              " ",
		"{}":               "{}",
		"{}{a}":            "{}{a}",
		"x{}y":             "x{}y",
		"{a":               "{a",
		"a}":               "a}",
		"}a{":              "}a{",
		"}{a}":             "a",
		"{{a}}":            "{a",
		"{":                "{",
		"{\xff\x00}":       "\xff\x00",
		"{a}\xff{b}{c}{d}": "a",
	} {
		if got := ring.Tag(key); got != want {
			t.Errorf("Tag(%q) = %q, want %q", key, got, want)
		}
	}
}

// naiveTag finds the tag by looking at every byte.
func naiveTag(key string) string {
	open := -1
	for i := range len(key) {
		switch {
		case open < 0 && key[i] == '{':
			open = i
		case open >= 0 && key[i] == '}':
			if i == open+1 {
				return key
			}
			return key[open+1 : i]
		}
	}
	return key
}

func FuzzTag(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		var key strings.Builder
		for range rng.IntN(9) {
			key.WriteByte("{}{}ab\xc3"[rng.IntN(7)])
		}
		f.Add(key.String())
	}
	f.Fuzz(func(t *testing.T, key string) {
		tag := ring.Tag(key)
		if want := naiveTag(key); tag != want {
			t.Fatalf("Tag(%q) = %q, want %q", key, tag, want)
		}
		if key != "" && tag == "" {
			t.Fatalf("Tag(%q) is empty", key)
		}
		// Whatever surrounds it, a tag brings keys together.
		if !strings.Contains(tag, "}") && tag != "" {
			if a, b := ring.Locate("{"+tag+"}:a"), ring.Locate("b:{"+tag+"}"); a != b {
				t.Fatalf("keys with tag %q are at %v and %v", tag, a, b)
			}
		}
	})
}

// Where keys are must never change: data on disk is filed under it. The values
// were computed by another program, in another language.
func TestGoldenKeys(t *testing.T) {
	for _, test := range []struct {
		key             string
		position        string
		of3, of256      int
		of1000, of65536 int
	}{
		{"", "e3b0c44298fc1c149afbf4c8996fb924", 2, 227, 889, 58288},
		{"a", "ca978112ca1bbdcafac231b39a23dc4d", 2, 202, 791, 51863},
		{"user:42", "ea3fd43be1e57d62e163dae19fc740bd", 2, 234, 915, 59967},
		{"{user:42}:cart", "ea3fd43be1e57d62e163dae19fc740bd", 2, 234, 915, 59967},
		{"{user:42}:likes", "ea3fd43be1e57d62e163dae19fc740bd", 2, 234, 915, 59967},
		{"{}", "44136fa355b3678a1146ad16f7e8649e", 0, 68, 265, 17427},
		{"{}{a}", "9cd9c438c6c33fc42f747c0d5e66e549", 1, 156, 612, 40153},
		{"{a", "da8e2f20d7ae084263b04bc11b13810e", 2, 218, 853, 55950},
		{"}a{", "9c1bde3e01d4371c921065e4ebcf838b", 1, 156, 609, 39963},
		{"{{a}}", "da8e2f20d7ae084263b04bc11b13810e", 2, 218, 853, 55950},
		{"x{a}{b}", "ca978112ca1bbdcafac231b39a23dc4d", 2, 202, 791, 51863},
		{"/favicon.ico", "b18036488649e7cc8a55b0a02c8b737a", 2, 177, 693, 45440},
		{"Zoë", "c6a12698582fc1104ea24107a2d72681", 2, 198, 775, 50849},
		{"\x00", "6e340b9cffb37a989ca544e6bb780a2c", 1, 110, 430, 28212},
	} {
		if got := ring.Locate(test.key).String(); got != test.position {
			t.Errorf("%q stands at %s, want %s", test.key, got, test.position)
		}
		for shards, want := range map[int]int{1: 0, 3: test.of3, 256: test.of256, 1000: test.of1000, 65536: test.of65536} {
			if got := ring.Shard(test.key, shards); got != want {
				t.Errorf("%q belongs to shard %d of %d, want %d", test.key, got, shards, want)
			}
		}
	}
}

// Arcs are equal to a position, and there is one for every position.
func TestShardsAreEqualArcs(t *testing.T) {
	circle := new(big.Int).Lsh(big.NewInt(1), 128)
	position := func(n *big.Int) ring.Position {
		return ring.Position{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0))).Uint64()}
	}
	one := big.NewInt(1)
	for _, shards := range []int{1, 2, 3, 7, 256, 1000, 65535, 65536} {
		for _, s := range []int{0, 1, 2, shards / 3, shards / 2, shards - 1} {
			if s >= shards {
				continue
			}
			// The least position p with p * shards >= s * 2^128.
			start := new(big.Int).Mul(big.NewInt(int64(s)), circle)
			start.Add(start, big.NewInt(int64(shards-1))).Div(start, big.NewInt(int64(shards)))
			if got := position(start).Shard(shards); got != s {
				t.Errorf("start of shard %d of %d is in shard %d", s, shards, got)
			}
			if s > 0 {
				if got := position(new(big.Int).Sub(start, one)).Shard(shards); got != s-1 {
					t.Errorf("the position before shard %d of %d is in shard %d", s, shards, got)
				}
			}
		}
		if got := position(new(big.Int).Sub(circle, one)).Shard(shards); got != shards-1 {
			t.Errorf("the last position is in shard %d of %d", got, shards)
		}
	}
}

func TestShardRefusesImpossibleNumbers(t *testing.T) {
	for _, shards := range []int{-1, 0, 65537} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Shard(key, %d) did not panic", shards)
				}
			}()
			ring.Shard("key", shards)
		}()
	}
}

func BenchmarkShard(b *testing.B) {
	for b.Loop() {
		ring.Shard("{user:42}:cart", 256)
	}
}
