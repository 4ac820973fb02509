package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/atolldb/atoll/internal/backup"
)

var header = backup.Header{Cluster: "c", Shards: 1, Member: "eu", Region: "eu", Identity: []byte("{}")}

// file returns a backup of two shards, and what was put.
func file(t testing.TB, big int) (data []byte, put []string, sum string) {
	t.Helper()
	var b bytes.Buffer
	w, err := backup.NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for shard := range 2 {
		if err := w.Shard(shard); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			key, value := []byte{byte(shard), 0, byte(i), 0xff}, bytes.Repeat([]byte{byte(i)}, i*big)
			put = append(put, fmt.Sprintf("%d %x %x", shard, key, value))
			if err := w.Put(key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	total, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), put, total.Sum
}

func TestRoundTrip(t *testing.T) {
	for _, big := range []int{0, 1, 1 << 20} {
		data, put, sum := file(t, big)
		var got []string
		current := -1
		h, total, err := backup.Read(bytes.NewReader(data), backup.Visitor{
			Shard: func(shard int) error { current = shard; return nil },
			Pair: func(key, value []byte) error {
				got = append(got, fmt.Sprintf("%d %x %x", current, key, value))
				return nil
			},
		})
		if err != nil || fmt.Sprint(h) != fmt.Sprint(header) || total.Sum != sum || fmt.Sprint(got) != fmt.Sprint(put) {
			t.Errorf("values of %d bytes: %v, %+v, %+v, %d of %d pairs", big, err, h, total, len(got), len(put))
		}
	}
}

// TestDamage: no byte can change, go or come.
func TestDamage(t *testing.T) {
	data, _, _ := file(t, 5)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refused := func(what string, data []byte) {
		t.Helper()
		if _, _, err := backup.Read(bytes.NewReader(data), backup.Visitor{}); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1 << random.IntN(8)
		refused(fmt.Sprint("a bit of byte ", i), flipped)
		refused(fmt.Sprint("cut off at ", i), data[:i])
	}
	refused("one byte more", append(bytes.Clone(data), 0))
}

func FuzzRead(f *testing.F) {
	data, _, _ := file(f, 5)
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte("ATOLLBAK\x01H\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs := uint64(0)
		_, total, err := backup.Read(bytes.NewReader(data), backup.Visitor{Pair: func(_, _ []byte) error { pairs++; return nil }})
		if err == nil && total.Pairs != pairs {
			t.Errorf("%d pairs, the total says %d", pairs, total.Pairs)
		}
	})
}

// TestSpliced: blocks that are sound by themselves do not pass in another file.
func TestSpliced(t *testing.T) {
	mine, _, _ := file(t, 5)
	was := header
	header.Cluster = "d"
	theirs, _, _ := file(t, 5)
	header = was
	end := 9 + 5 + int(mine[13]) + 4 // of the header's block
	if _, _, err := backup.Read(bytes.NewReader(append(bytes.Clone(theirs[:end]), mine[end:]...)), backup.Visitor{}); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("a header of another file: %v", err)
	}
}
