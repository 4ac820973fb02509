package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/atolldb/atoll/internal/allocs"
)

// FuzzBlocks: of a file made of blocks that have their checksums, and an end that
// comes to their sum or what there is, all is told that is in it, in its order, or
// it is refused in one line. A script is blocks: kind, length of the payload in 2
// bytes, payload.
func FuzzBlocks(f *testing.F) {
	block := func(kind byte, payload ...byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(payload))), payload...)
	}
	header := block('H', []byte(`{"shards":1,"member":"eu","identity":"e30="}`)...)
	pair := []byte{0, 0, 0, 1, 0, 0, 0, 2, 'k', 'v', 'v'}
	good := bytes.Join([][]byte{header, block('S', 0, 0), block('P', append(pair, pair...)...), block('S', 0, 1)}, nil)
	f.Add(good, uint64(2), uint64(6))
	f.Add(good, uint64(2), uint64(7))
	f.Add(append(good, block('P', pair[:10]...)...), uint64(3), uint64(9))
	f.Add(append(good, block('P', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)...), uint64(3), uint64(9))
	f.Add(append(good, block('S', 0, 2)...), uint64(2), uint64(6))
	f.Add(block('H', []byte(`{"shards":-1}`)...), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, script []byte, pairs, size uint64) {
		file := scripted(script, pairs, size)
		var told Total
		shards := 0
		var h Header
		var total Total
		var err error
		allocs.Check(t, len(file), 1<<20, 400, func() {
			h, total, err = Read(bytes.NewReader(file), Visitor{
				Shard: func(shard int) error {
					if shard != shards {
						t.Errorf("shard %d comes after %d others", shard, shards)
					}
					shards++
					return nil
				},
				Pair: func(key, value []byte) error {
					told.Pairs++
					told.Bytes += uint64(len(key) + len(value))
					return nil
				},
			})
		})
		switch {
		case err != nil && (!errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n")):
			t.Errorf("the error is not one line of ErrDamaged: %q", err)
		case err == nil && (told.Pairs != total.Pairs || told.Bytes != total.Bytes || told.Pairs != pairs || told.Bytes != size || shards != h.Shards+1):
			t.Errorf("told %+v of %d shards, the total says %+v of %d", told, shards, total, h.Shards)
		}
	})
}

// scripted returns the file of a script, with an end that says how many pairs and
// bytes there are.
func scripted(script []byte, pairs, size uint64) []byte {
	var file bytes.Buffer
	w := &Writer{w: &file, sum: sha256.New()}
	// Writing to a buffer does not fail.
	_ = w.write(append([]byte(magic), version))
	for len(script) >= 3 {
		kind, n := script[0], int(binary.BigEndian.Uint16(script[1:]))
		script = script[3:]
		n = min(n, len(script))
		_ = w.put(kind, script[:n])
		script = script[n:]
	}
	sum := w.sum.Sum(nil)
	_ = w.put('E', append(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, pairs), size), sum...))
	return file.Bytes()
}
